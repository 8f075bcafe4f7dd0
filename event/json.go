package event

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"time"
)

// MarshalJSON writes the event in the JSON format of CloudEvents 1.0: data
// that is JSON as it is, other data in data_base64.
func (e *Event) MarshalJSON() ([]byte, error) {
	m := make(map[string]any, 10+len(e.Extensions))
	for k, v := range e.Extensions {
		m[k] = v
	}
	maps.Copy(m, map[string]any{"specversion": "1.0", "id": e.ID, "source": e.Source, "type": e.Type})
	if !e.Time.IsZero() {
		m["time"] = e.Time.UTC().Format(time.RFC3339Nano)
		m[ExtTrust] = e.Trust.String()
	}
	for k, v := range map[string]string{"subject": e.Subject, "datacontenttype": e.DataContentType} {
		if v != "" {
			m[k] = v
		}
	}
	if e.Hops > 0 {
		m["hops"] = strconv.Itoa(e.Hops)
	}
	switch {
	case len(e.Data) == 0:
	case json.Valid(e.Data):
		m["data"] = json.RawMessage(e.Data)
	default:
		m["data_base64"] = e.Data
	}
	return json.Marshal(m)
}

// UnmarshalJSON reads what MarshalJSON writes. Attributes that are not text
// are refused.
func (e *Event) UnmarshalJSON(b []byte) error {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	*e = Event{Data: m["data"]}
	if raw, ok := m["data_base64"]; ok {
		if err := json.Unmarshal(raw, &e.Data); err != nil {
			return fmt.Errorf("%w: data_base64: %w", ErrInvalid, err)
		}
	}
	known := map[string]*string{"id": &e.ID, "source": &e.Source, "type": &e.Type, "subject": &e.Subject, "datacontenttype": &e.DataContentType}
	for k, raw := range m {
		var text string
		if k == "data" || k == "data_base64" {
			continue
		}
		if err := json.Unmarshal(raw, &text); err != nil {
			return fmt.Errorf("%w: attribute %s: %w", ErrInvalid, k, err)
		}
		var err error
		switch field := known[k]; {
		case field != nil:
			*field = text
		case k == "specversion":
		case k == "time":
			e.Time, err = time.Parse(time.RFC3339Nano, text)
		case k == ExtTrust:
			e.Trust, err = ParseTrust(text)
		case k == "hops":
			e.Hops, err = strconv.Atoi(text)
		default:
			if e.Extensions == nil {
				e.Extensions = make(map[string]string)
			}
			e.Extensions[k] = text
		}
		if err != nil {
			return fmt.Errorf("%w: attribute %s: %w", ErrInvalid, k, err)
		}
	}
	return nil
}
