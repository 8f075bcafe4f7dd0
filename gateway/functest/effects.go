package functest

import (
	"fmt"
	"maps"
	"slices"

	"github.com/headgate-io/headgate/function"
)

// effect is one effect, as a test wants it or as it was done. Of what is wanted
// only what it says is looked at.
type effect struct {
	// to is the topic, the queue or the function.
	to string
	// data is the payload as JSON's value; there is none where has is false.
	data any
	has  bool
	// also are its properties, such as the QoS.
	also map[string]string
}

// wanted reads an effect of a test, with data or text.
func wanted(to string, data any, text *string) effect {
	x := effect{to: to, has: data != nil || text != nil, also: map[string]string{}}
	switch {
	case text != nil:
		x.data = decode([]byte(*text))
	case data != nil:
		x.data = normal(data)
	}
	return x
}

func done(to string, payload []byte, also map[string]string) effect {
	return effect{to: to, data: decode(payload), has: len(payload) > 0, also: also}
}

// meets reports whether what was done is what x wants.
func (x *effect) meets(got *effect) bool {
	if x.to != got.to || x.has && !same(got.data, x.data) {
		return false
	}
	for name, want := range x.also {
		if want != got.also[name] {
			return false
		}
	}
	return true
}

// line is the effect with those of its properties.
func (x *effect) line(names []string) string {
	s := x.to
	if x.has {
		s += " " + jsonText(x.data)
	}
	for _, name := range names {
		if value, ok := x.also[name]; ok {
			s += " " + name + " " + value
		}
	}
	return s
}

// judgeEffects compares messages, what was put on queues, and which functions
// were started, with what was expected.
func (r *Report) judgeEffects(e *function.Effects) {
	want := &r.Case.Expect
	if want.Publish != nil {
		r.judgePublishes(*want.Publish, e.Publishes)
	}
	if want.Enqueue != nil {
		r.judgeEnqueues(*want.Enqueue, e.Enqueues)
	}
	if want.Invoke != nil {
		r.judgeInvokes(*want.Invoke, e.Invokes)
	}
	if want.Actuate != nil {
		r.judgeActuations(*want.Actuate, e.Actuations)
	}
}

func (r *Report) judgePublishes(want []Publish, got []function.Publish) {
	var wants, gots []effect
	for _, w := range want {
		x := wanted(w.Topic, w.Data, w.Text)
		if w.QoS != nil {
			x.also["qos"] = fmt.Sprint(*w.QoS)
		}
		if w.Retain != nil {
			x.also["retain"] = fmt.Sprint(*w.Retain)
		}
		wants = append(wants, x)
	}
	for _, g := range got {
		gots = append(gots, done(g.Topic, g.Payload, map[string]string{"qos": fmt.Sprint(g.QoS), "retain": fmt.Sprint(g.Retain)}))
	}
	r.judgeList("publish", wants, gots)
}

func (r *Report) judgeEnqueues(want []Enqueue, got []function.Enqueue) {
	var wants, gots []effect
	for _, w := range want {
		x := wanted(w.Queue, w.Data, w.Text)
		if w.Delay != nil {
			x.also["delay"] = w.Delay.String()
		}
		wants = append(wants, x)
	}
	for _, g := range got {
		gots = append(gots, done(g.Queue, g.Payload, map[string]string{"delay": g.Delay.String()}))
	}
	r.judgeList("enqueue", wants, gots)
}

func (r *Report) judgeInvokes(want []Invoke, got []function.Invoke) {
	var wants, gots []effect
	for _, w := range want {
		wants = append(wants, wanted(w.Function, w.Data, w.Text))
	}
	for _, g := range got {
		gots = append(gots, done(g.Function, g.Payload, nil))
	}
	r.judgeList("invoke", wants, gots)
}

// judgeList compares a list of effects, in order. It shows those properties
// that one of them is wanted to have.
func (r *Report) judgeList(what string, wants, gots []effect) {
	looked := map[string]string{}
	for _, w := range wants {
		maps.Copy(looked, w.also)
	}
	names := slices.Sorted(maps.Keys(looked))
	r.differ(what, sides{
		wants: len(wants), gots: len(gots),
		same: func(i, j int) bool { return wants[i].meets(&gots[j]) },
		want: func(i int) string { return wants[i].line(names) },
		got:  func(j int) string { return gots[j].line(names) },
	})
}
