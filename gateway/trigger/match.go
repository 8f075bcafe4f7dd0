package trigger

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/expr-lang/expr/vm"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sensors"
)

// Message is what a trigger looks at.
type Message struct {
	Kind Kind
	// Topic is the subject within the kind: for MQTT the topic.
	Topic   string
	Payload []byte
	// QoS is, for kinds other than MQTT, 1 for an event with a promise and 0
	// for a volatile one.
	QoS byte
	// Retained is true for a stored retained message; a message that is
	// published with RETAIN now triggers like any other.
	Retained bool
	User     []broker.UserProperty
	// Client is the one that published the message; Source, where set, is
	// where else it comes from.
	Client, Source string
	// Reading is what a sensor gave; nil for other kinds.
	Reading *sensors.Reading
	// Event is what it is; nil for a message of MQTT, whose event is made when
	// it starts something.
	Event *event.Event
}

// Match is one function that a message starts.
type Match struct {
	Function string
	// Version is the one whose trigger matched.
	Version int
	Params  Params
	// Key is the ordering key; empty is none.
	Key string
	// Durable is true when publisher and trigger both ask for QoS 1 or 2.
	Durable bool

	index int
}

// Params are the named captures of a match.
type Params struct {
	names, values []string
}

// NewParams pairs names with values.
func NewParams(names, values []string) Params { return Params{names, values} }

// Lookup returns the capture called name.
func (p Params) Lookup(name string) (string, bool) {
	for i, n := range p.names {
		if n == name {
			return p.values[i], true
		}
	}
	return "", false
}

// Len returns how many captures there are, and At the i-th.
func (p Params) Len() int { return len(p.names) }

// At returns the name and value of capture i, in the order of the topic.
func (p Params) At(i int) (name, value string) { return p.names[i], p.values[i] }

func (p Params) toMap() map[string]string {
	m := make(map[string]string, len(p.names))
	for i, n := range p.names {
		m[n] = p.values[i]
	}
	return m
}

// matcher is the working memory of one lookup.
type matcher struct {
	t       *Table
	vm      *vm.VM
	rules   []*rule
	env     env
	decoded bool
	props   bool
}

// Match appends to dst the functions that m starts, each once: of a function's
// triggers the first that holds counts. It is safe for concurrent use.
func (t *Table) Match(m *Message, dst []Match) []Match {
	ma := t.matchers.Get().(*matcher)
	ma.find(m.Kind, m.Topic)
	from := len(dst)
	for _, r := range ma.rules {
		if ma.holds(r, m) == nil && r.passes(m) {
			dst = ma.add(dst, from, r, m)
		}
	}
	if ma.decoded || ma.props {
		ma.env, ma.decoded, ma.props = env{}, false, false
	}
	clear(ma.rules)
	t.matchers.Put(ma)
	return dst
}

// find looks up the live rules for a subject. A lookup that a change of the
// table has overlapped is made again, in the end with changes held off.
func (ma *matcher) find(kind Kind, name string) {
	t := ma.t
	for range 4 {
		before := t.changes.Load()
		ma.lookUp(kind, name)
		if before%2 == 0 && t.changes.Load() == before {
			return
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	ma.lookUp(kind, name)
}

func (ma *matcher) lookUp(kind Kind, name string) {
	ma.rules = ma.t.trees[kind].Match(name, ma.rules[:0])
	ma.rules = slices.DeleteFunc(ma.rules, func(r *rule) bool { return r.set.slot.live.Load() != r.set })
}

func (ma *matcher) add(dst []Match, from int, r *rule, m *Message) []Match {
	at := len(dst)
	if len(r.set.rules) > 1 {
		for i := from; i < len(dst); i++ {
			if dst[i].Function == r.set.slot.name {
				if dst[i].index < r.index {
					return dst
				}
				at = i
			}
		}
	}
	if at == len(dst) {
		dst = append(dst, Match{})
	}
	out := Match{Function: r.set.slot.name, Version: r.set.version, Durable: min(m.QoS, r.qos) >= 1, index: r.index}
	out.Params = r.params(m)
	switch {
	case r.order >= 0:
		out.Key = out.Params.values[r.order]
	case r.order == -1:
		if out.Key = ma.field(m, r.orderPath); out.Key == "" {
			ma.t.stats.noKey.Add(1)
		}
	}
	dst[at] = out
	return dst
}

func (r *rule) params(m *Message) Params {
	names := r.pattern.Names()
	if len(names) == 0 {
		return Params{}
	}
	return Params{names, r.pattern.Captures(m.Topic, make([]string, 0, len(names)))}
}

var (
	errRetained = errors.New("a stored retained message starts it only with retained: true")
	errFalse    = errors.New("the condition is false")
	errGlob     = errors.New("it is another one's")
	errChange   = errors.New("it is for another change: change says for which")
)

// holds says why r does not start on m; nil means that it does.
func (ma *matcher) holds(r *rule, m *Message) error {
	if m.Retained && !r.retained {
		return errRetained
	}
	if !r.means(m.Topic) {
		return errGlob
	}
	if r.change != "" && m.Event != nil && m.Event.Type != r.change {
		return errChange
	}
	if r.gate != nil && m.Reading != nil {
		if err := r.gate.judges(m.Reading); err != nil {
			return err
		}
	}
	if r.when == nil {
		return nil
	}
	e := &ma.env
	ma.decode(m)
	e.Topic, e.QoS, e.Retained, e.Config = m.Topic, int(m.QoS), m.Retained, r.set.config
	ma.properties(m)
	if r.when.attributes {
		ma.attributes(m)
	}
	e.Params = nil
	if r.when.params {
		e.Params = r.params(m).toMap()
	}
	ok, err := r.when.holds(ma.vm, e)
	switch {
	case errors.Is(err, errMissing):
		ma.t.stats.missing.Add(1)
		return err
	case err != nil:
		ma.t.stats.typeErrors.Add(1)
		return err
	case !ok:
		return errFalse
	}
	return nil
}

// properties fills Properties.
func (ma *matcher) properties(m *Message) {
	if ma.props {
		return
	}
	ma.props = true
	switch {
	case m.Event != nil:
		ma.env.Properties = m.Event.Extensions
	case len(m.User) > 0:
		ma.env.Properties = make(map[string]string, len(m.User))
		for _, u := range m.User {
			ma.env.Properties[u.Name] = u.Value
		}
	}
}

// attributes fills the attributes of the event. A message of MQTT has an id
// before it starts something only where its publisher gave it one, with a
// source (CloudEvents MQTT binding 1.0, section 3.1).
func (ma *matcher) attributes(m *Message) {
	e := &ma.env
	if m.Event != nil {
		e.ID, e.Source, e.Type, e.Subject = m.Event.ID, m.Event.Source, m.Event.Type, m.Event.Subject
		return
	}
	e.ID, e.Source, e.Type, e.Subject = "", m.Source, event.TypeMQTT, m.Topic
	if p := e.Properties; p["specversion"] == "1.0" && p["id"] != "" && p["source"] != "" {
		if e.ID, e.Source = p["id"], p["source"]; p["type"] != "" {
			e.Type = p["type"]
		}
	} else if e.Source == "" {
		e.Source = "/mqtt/" + m.Client
	}
}

// decode fills Data: JSON decoded, other text as a string, other bytes as nil.
func (ma *matcher) decode(m *Message) {
	if ma.decoded {
		return
	}
	ma.decoded = true
	if json.Unmarshal(m.Payload, &ma.env.Data) == nil {
		return
	}
	ma.env.Data = nil
	if utf8.Valid(m.Payload) {
		ma.env.Data = string(m.Payload)
	}
}

// field is a field of the data as text; empty when there is none.
func (ma *matcher) field(m *Message, names []string) string {
	ma.decode(m)
	v, _ := dig(ma.env.Data, names)
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	default:
		return ""
	}
}

// Explanation is what one trigger makes of a message.
type Explanation struct {
	Function string
	Version  int
	// Trigger is its index, Filter what it says: for MQTT the topic filter.
	Trigger int
	Filter  string
	// Starts is true when it starts the function; else Reason says why not.
	Starts bool
	Reason string
	// Values are the fields that a condition which is false speaks of, with what
	// they are.
	Values  map[string]any
	Params  map[string]string
	Key     string
	Durable bool
}

// Explain says for every trigger of m's kind whether m starts it, and if not
// why.
func (t *Table) Explain(m *Message) []Explanation {
	var out []Explanation
	t.mu.Lock()
	var sets []*ruleSet
	for _, s := range t.functions {
		if set := s.live.Load(); set != nil {
			sets = append(sets, set)
		}
	}
	t.mu.Unlock()
	hit := make(map[*rule]bool)
	for _, r := range t.trees[m.Kind].Match(m.Topic, nil) {
		hit[r] = true
	}
	for _, set := range sets {
		for _, r := range set.rules {
			if r.kind == m.Kind {
				out = append(out, t.explain(r, m, hit[r]))
			}
		}
	}
	sortExplanations(out)
	return out
}

func (t *Table) explain(r *rule, m *Message, hit bool) Explanation {
	x := Explanation{Function: r.set.slot.name, Version: r.set.version, Trigger: r.index, Filter: r.text}
	if !hit {
		x.Reason = "the " + subjectNames[m.Kind] + " does not match " + x.Filter
		return x
	}
	x.Params = r.params(m).toMap()
	ma := &matcher{t: &Table{}, vm: &vm.VM{}}
	if err := ma.holds(r, m); err != nil {
		x.Reason = err.Error()
		if r.when != nil {
			x.Reason += ": " + r.when.text
		}
		if errors.Is(err, errFalse) {
			x.Values = r.when.values(&ma.env)
		}
		return x
	}
	got := ma.add(nil, 0, r, m)
	x.Starts, x.Key, x.Durable = true, got[0].Key, got[0].Durable
	return x
}

// subjectNames are people's words for the subjects of each kind.
var subjectNames = [kinds]string{"topic", "request", "timer", "key", "queue", "event", "object", "function", "sensor"}

func sortExplanations(out []Explanation) {
	slices.SortFunc(out, func(a, b Explanation) int {
		if c := cmp.Compare(a.Function, b.Function); c != 0 {
			return c
		}
		return cmp.Compare(a.Trigger, b.Trigger)
	})
}
