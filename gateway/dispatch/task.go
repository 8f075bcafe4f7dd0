package dispatch

import (
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
	"github.com/headgate-io/headgate/sensors/actuate"
)

// kind is what was promised about a task.
type kind uint8

const (
	volatile kind = iota // nothing
	durable              // runs to an end, whatever happens
	reply                // somebody waits for the result
)

// task is one function's share of one event. Who holds it owns it: a list of
// its function (under the function's mutex), a worker, or the settle.
type task struct {
	fn     *fn
	kind   kind
	ev     *event.Event // nil while it is on disk alone
	params trigger.Params
	key    string
	// order is the place among the tasks of the function.
	order int64

	// arr is the arrival that the task still belongs to; guarded by arr.mu,
	// as are state and gen.
	arr   *arrival
	state state
	gen   uint64 // generation of the uncommitted row, 0 when there is none

	// row is the task's place in the queue; its id is taken at the arrival.
	// stored is true once the row is sealed.
	row    store.QueueRow
	stored atomic.Bool

	call *call
	// lease is what its invocation has reserved; nil is nothing.
	lease *actuate.Lease
	// stage holds what its invocations have put; nil is nothing.
	stage     Stage
	version   *version
	out       *outcome // from its first attempt on
	rerun     bool     // parked because of a conflict
	conflicts int
	tries     int                // reruns after rollbacks
	answer    func(Reply, error) // of kind reply
	// wanted is the version that must run, 0 for the one that traffic falls to;
	// shareOf is one more than share, once that was asked for.
	wanted  int
	shareOf uint32

	// sealing is held from before the seal until the sealer has done its part,
	// which the commit's callback waits for.
	sealing sync.Mutex

	list       *list
	prev, next *task
	lane       *lane
	free       bool // holds the place of keyless tasks
	// Among the function's waiting volatile tasks where counted, among its
	// durable ones where aging.
	older, newer   *task
	counted, aging bool
	// nap is not 0 while the task waits for its next attempt.
	nap uint64
}

// state is where a task stands within its arrival.
type state uint8

const (
	waiting   state = iota // not run, running, or to be run again
	decided                // has an outcome that awaits the seal
	parked                 // decided while the arrival was being sealed
	orphaned               // decided, but what it read or builds on was taken back
	discarded              // the arrival was refused
)

// outcome is what came of an attempt.
type outcome struct {
	ok bool
	// asked is true where an actuator's answer changed: it has to be run again.
	asked   bool
	result  function.Result
	effects function.Effects
	// starts are what the effects start, or what a failure does.
	starts
	// plans are those of effects.Publishes, by index; nil when there is none.
	plans  []*broker.Plan
	output []byte
	// sent and received are what the attempt fetched.
	sent, received int64
	logs           []function.LogLine
	attrs          []host.Attribute
	// retryAt and giveUp say what follows a failure.
	retryAt time.Time
	giveUp  string
	// at is when the attempt ended, and how sure that is; steady the same on
	// the scale of ages. due is retryAt on that scale, wake by the runtime's.
	at                time.Time
	trust             event.Trust
	steady, due, wake time.Time
	// untried is true of an event that is given up without an attempt.
	untried bool
	// counted is true while row.Attempt includes this attempt, blocked while
	// the key waits for the dead letter.
	counted, blocked bool
}

func (t *task) bytes() int64 {
	if t.ev == nil {
		return 0
	}
	return int64(len(t.ev.Data)) + 256
}

// Lookup implements host.Meta with the keys of package abi.
func (t *task) Lookup(key string) (string, bool) {
	e := t.ev
	switch key {
	case abi.MetaID:
		return e.ID, true
	case abi.MetaSource:
		return e.Source, true
	case abi.MetaType:
		return e.Type, true
	case abi.MetaSubject:
		return e.Subject, e.Subject != ""
	case abi.MetaTime:
		return e.Time.UTC().Format(time.RFC3339Nano), true
	case abi.MetaContentType:
		return e.DataContentType, e.DataContentType != ""
	case abi.MetaFunction:
		return t.fn.name, true
	case abi.MetaVersion:
		return strconv.Itoa(t.version.Version), true
	case abi.MetaAttempt:
		return strconv.Itoa(t.row.Attempt + 1), true
	case abi.MetaHops:
		return strconv.Itoa(e.Hops), true
	case abi.MetaParams:
		m := make(map[string]string, t.params.Len())
		for i := range t.params.Len() {
			k, v := t.params.At(i)
			m[k] = v
		}
		b, err := json.Marshal(m)
		return string(b), err == nil
	}
	if name, ok := strings.CutPrefix(key, abi.MetaParamPrefix); ok {
		return t.params.Lookup(name)
	}
	if key == event.ExtTrust {
		return e.Trust.String(), true
	}
	v, ok := e.Extensions[key]
	return v, ok
}

func storedParams(p trigger.Params) []store.Param {
	if p.Len() == 0 {
		return nil
	}
	out := make([]store.Param, p.Len())
	for i := range out {
		out[i].Name, out[i].Value = p.At(i)
	}
	return out
}

func loadedParams(ps []store.Param) trigger.Params {
	names, values := make([]string, len(ps)), make([]string, len(ps))
	for i, p := range ps {
		names[i], values[i] = p.Name, p.Value
	}
	return trigger.NewParams(names, values)
}

// list is a queue of tasks from which any can be taken out. Its function's
// mutex guards it.
type list struct {
	head, tail *task
	n          int
}

func (l *list) push(t *task) {
	t.list, t.prev, t.next = l, l.tail, nil
	if l.tail != nil {
		l.tail.next = t
	} else {
		l.head = t
	}
	l.tail = t
	l.n++
}

// insert puts t where its order says; nearly always at the end.
func (l *list) insert(t *task) {
	at := l.tail
	for at != nil && at.order > t.order {
		at = at.prev
	}
	if at == l.tail {
		l.push(t)
		return
	}
	t.list, t.prev = l, at
	if at == nil {
		t.next, l.head = l.head, t
	} else {
		t.next, at.next = at.next, t
	}
	t.next.prev = t
	l.n++
}

func (l *list) remove(t *task) {
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		l.head = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	} else {
		l.tail = t.prev
	}
	t.list, t.prev, t.next = nil, nil, nil
	l.n--
}

func (l *list) pop() *task {
	t := l.head
	if t != nil {
		l.remove(t)
	}
	return t
}
