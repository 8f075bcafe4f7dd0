package dispatch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/trigger"
)

// Change is the data of an event of type event.TypeState: what became of a key.
type Change struct {
	Namespace string `json:"namespace"`
	Key       string `json:"key"`
	// Created is true where the key was not there before, Deleted where it is
	// not there any more.
	Created bool `json:"created,omitempty"`
	Deleted bool `json:"deleted,omitempty"`
	// Old and New are the values: JSON as it is, other text as a string, null
	// where there is none. Other bytes are in OldBase64 and NewBase64.
	Old       json.RawMessage `json:"old"`
	New       json.RawMessage `json:"new"`
	OldBase64 []byte          `json:"old_base64,omitempty"`
	NewBase64 []byte          `json:"new_base64,omitempty"`
}

// changes starts who watches the keys that the writes change. The old values
// are read through the view: should another have written one meanwhile, the
// seal refuses, so that what an event calls old is what its change replaced.
func (c *cause) changes(v *store.View, writes []function.Write) error {
	router := c.d.cfg.Router
	for i := range writes {
		w := &writes[i]
		if v == nil || !router.Watches(w.Namespace) {
			continue
		}
		subject := trigger.StateSubject(w.Namespace, w.Key)
		if !router.Any(trigger.State, subject) {
			continue
		}
		old, found, err := v.Get(w.Namespace, w.Key)
		if err != nil {
			return fmt.Errorf("read %s:%s, which is watched, before its change: %w", w.Namespace, w.Key, err)
		}
		if w.Delete && !found || !w.Delete && found && bytes.Equal(old, w.Value) {
			continue // nothing changes
		}
		change, err := ChangeEvent(w, old, found)
		if err != nil {
			return err
		}
		ev := c.event(change.Type, change.Subject, change.Data)
		ev.DataContentType = change.DataContentType
		c.match(trigger.State, subject, ev, 0)
	}
	return nil
}

// ChangeEvent is the event of a write that replaces old, where that was there,
// without what tells of its cause.
func ChangeEvent(w *function.Write, old []byte, found bool) (*event.Event, error) {
	data, err := json.Marshal(newChange(w, old, found))
	if err != nil {
		return nil, fmt.Errorf("tell of the change of %s:%s: %w", w.Namespace, w.Key, err)
	}
	return &event.Event{Type: event.TypeState, Subject: w.Namespace + ":" + w.Key, DataContentType: "application/json", Data: data}, nil
}

func newChange(w *function.Write, old []byte, found bool) *Change {
	ch := &Change{Namespace: w.Namespace, Key: w.Key, Created: !found, Deleted: w.Delete}
	if found {
		ch.Old, ch.OldBase64 = embedded(old)
	}
	if !w.Delete {
		ch.New, ch.NewBase64 = embedded(w.Value)
	}
	return ch
}

// embedded is a value as a part of JSON.
func embedded(value []byte) (embedded json.RawMessage, other []byte) {
	switch {
	case json.Valid(value):
		return value, nil
	case utf8.Valid(value):
		text, err := json.Marshal(string(value))
		if err == nil {
			return text, nil
		}
	}
	return nil, value
}
