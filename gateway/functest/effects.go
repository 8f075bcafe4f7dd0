package functest

import (
	"fmt"
	"strings"
	"time"

	"github.com/headgate-io/headgate/function"
)

// expected is one effect as a test wants it: only what it says is looked at.
type expected struct {
	// to is the topic, the queue or the function.
	to string
	// data is the payload as JSON's value, where looked is true.
	data   any
	looked bool
	// also is what else must be so.
	also []attribute
}

// attribute is a property of an effect, such as its QoS.
type attribute struct {
	name string
	want string
	got  func(j int) string // of the effect j
}

func (x *expected) String() string {
	s := x.to
	if x.looked {
		s += " " + jsonText(x.data)
	}
	for _, a := range x.also {
		s += " " + a.name + " " + a.want
	}
	return s
}

func (x *expected) is(to string, payload []byte, j int) bool {
	if x.to != to || x.looked && !same(decode(payload), x.data) {
		return false
	}
	for _, a := range x.also {
		if a.want != a.got(j) {
			return false
		}
	}
	return true
}

// expect reads an effect of a test, with data or text.
func expect(to string, data any, text *string, also ...attribute) *expected {
	x := &expected{to: to, looked: data != nil || text != nil, also: also}
	switch {
	case text != nil:
		x.data = decode([]byte(*text))
	case data != nil:
		x.data = normal(data)
	}
	return x
}

func attributeOf[T comparable](name string, want T, got func(j int) T) attribute {
	return attribute{name, fmt.Sprint(want), func(j int) string { return fmt.Sprint(got(j)) }}
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
		var wants []*expected
		for _, w := range *want.Invoke {
			wants = append(wants, expect(w.Function, w.Data, w.Text))
		}
		r.judgeList("invoke", wants, len(e.Invokes), func(j int) (string, []byte, string) {
			return e.Invokes[j].Function, e.Invokes[j].Payload, ""
		})
	}
}

func (r *Report) judgePublishes(want []Publish, got []function.Publish) {
	var wants []*expected
	qos, retain := false, false
	for _, w := range want {
		var also []attribute
		if w.QoS != nil {
			also, qos = append(also, attributeOf("qos", *w.QoS, func(j int) int { return int(got[j].QoS) })), true
		}
		if w.Retain != nil {
			also, retain = append(also, attributeOf("retain", *w.Retain, func(j int) bool { return got[j].Retain })), true
		}
		wants = append(wants, expect(w.Topic, w.Data, w.Text, also...))
	}
	r.judgeList("publish", wants, len(got), func(j int) (string, []byte, string) {
		var about []string
		if qos {
			about = append(about, fmt.Sprintf("qos %d", got[j].QoS))
		}
		if retain {
			about = append(about, fmt.Sprintf("retain %t", got[j].Retain))
		}
		return got[j].Topic, got[j].Payload, strings.Join(about, " ")
	})
}

func (r *Report) judgeEnqueues(want []Enqueue, got []function.Enqueue) {
	var wants []*expected
	delay := false
	for _, w := range want {
		var also []attribute
		if w.Delay != nil {
			also, delay = append(also, attributeOf("delay", w.Delay.Std(), func(j int) time.Duration { return got[j].Delay })), true
		}
		wants = append(wants, expect(w.Queue, w.Data, w.Text, also...))
	}
	r.judgeList("enqueue", wants, len(got), func(j int) (string, []byte, string) {
		about := ""
		if delay {
			about = fmt.Sprintf("delay %v", got[j].Delay)
		}
		return got[j].Queue, got[j].Payload, about
	})
}

// judgeList compares a list of effects, in order.
func (r *Report) judgeList(what string, wants []*expected, n int, got func(j int) (to string, payload []byte, about string)) {
	r.differ(what, sides{
		wants: len(wants), gots: n,
		same: func(i, j int) bool {
			to, payload, _ := got(j)
			return wants[i].is(to, payload, j)
		},
		want: func(i int) string { return wants[i].String() },
		got: func(j int) string {
			to, payload, about := got(j)
			line := to
			if len(payload) > 0 {
				line += " " + jsonText(decode(payload))
			}
			return strings.TrimSuffix(line+" "+about, " ")
		},
	})
}
