package functest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/once"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
)

// Subject is a function under test: its spec and its built files.
type Subject struct {
	Spec function.Spec
	Code map[string][]byte
}

// Report is what became of one case.
type Report struct {
	Case *Case
	// Faults is empty when the case passed.
	Faults []string
	Result function.Result
	Logs   []function.LogLine
}

// Run runs one case in a fresh instance.
func Run(ctx context.Context, engine *sandbox.Engine, s Subject, c *Case) (*Report, error) {
	r := &Report{Case: c}
	spec := s.Spec
	spec.Config = maps.Clone(spec.Config)
	if spec.Config == nil {
		spec.Config = map[string]any{}
	}
	maps.Copy(spec.Config, c.Config)

	m, data, err := match(&spec, c)
	if err != nil {
		return nil, err
	}
	if want := c.Expect.Matched == nil || *c.Expect.Matched; want != (m != nil && m.Starts) {
		r.fault("%s", explainMatch(m, want))
		return r, nil
	}
	if m == nil || !m.Starts {
		return r, nil
	}
	st, err := newState(spec.Name, c.State)
	if err != nil {
		return nil, fmt.Errorf("%s: state: %w", c.Name, err)
	}
	contents := blobs{}
	if err := contents.fill(st, c.Objects); err != nil {
		return nil, fmt.Errorf("%s: objects: %w", c.Name, err)
	}
	in := invocation(&spec, c, m, data, st)
	in.Blobs = contents
	calls, err := invoke(ctx, engine, &spec, s.Code, in, c.Secrets, r)
	if err != nil {
		return nil, err
	}
	r.judge(calls, st, contents)
	return r, nil
}

// match asks the function's triggers about the event; nil means that none is
// on its topic.
func match(spec *function.Spec, c *Case) (*trigger.Explanation, []byte, error) {
	t := trigger.NewTable()
	if err := t.Set(trigger.Function{Name: spec.Name, Config: jsonConfig(spec.Config), Triggers: spec.Triggers}); err != nil {
		return nil, nil, err
	}
	data, err := payload(c.Event.Data, c.Event.Text)
	if err == nil && c.Event.File != "" && data == nil {
		data, err = c.objectData()
	}
	if err == nil && c.Event.Sensor != "" && data == nil {
		if data, _, err = testSensors(c.Sensors).Sensor(c.Event.Sensor); data == nil && err == nil {
			err = fmt.Errorf("give the reading of %s under sensors", c.Event.Sensor)
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: event.data: %w", c.Name, err)
	}
	if c.Event.Invoke {
		return &trigger.Explanation{Function: spec.Name, Starts: true}, data, nil
	}
	msg, err := c.Event.message(spec, data)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	if c.Event.QoS != nil {
		msg.QoS = byte(*c.Event.QoS)
	}
	for k, v := range c.Event.Properties {
		msg.User = append(msg.User, broker.UserProperty{Name: k, Value: v})
	}
	var nearest *trigger.Explanation
	for _, x := range t.Explain(msg) {
		if x.Starts {
			return &x, data, nil
		}
		if nearest == nil || x.Params != nil {
			nearest = &x
		}
	}
	if c.onFailure {
		return &trigger.Explanation{Function: spec.Name, Filter: msg.Topic, Starts: true}, data, nil
	}
	return nearest, data, nil
}

// jsonConfig gives conditions the types that the gateway gives them, which
// reads the spec from JSON.
func jsonConfig(config map[string]any) map[string]any {
	var out map[string]any
	b, err := json.Marshal(config)
	if err != nil || json.Unmarshal(b, &out) != nil {
		return config
	}
	return out
}

func explainMatch(x *trigger.Explanation, want bool) string {
	switch {
	case want && x == nil:
		return "the function has no trigger of this kind"
	case want:
		return "no trigger starts the function: " + x.Reason
	default:
		return "the trigger on " + x.Filter + " started the function"
	}
}

func invocation(spec *function.Spec, c *Case, x *trigger.Explanation, data []byte, st host.State) host.Invocation {
	ev := c.Event.event(spec)
	m := meta{
		abi.MetaID: ev.ID, abi.MetaSource: ev.Source, abi.MetaType: ev.Type, abi.MetaSubject: ev.Subject,
		abi.MetaTime: time.Now().UTC().Format(time.RFC3339Nano), abi.MetaFunction: spec.Name, abi.MetaVersion: "1",
		abi.MetaAttempt: "1", abi.MetaHops: "0", abi.MetaParams: jsonText(x.Params),
	}
	for k, v := range x.Params {
		m[abi.MetaParamPrefix+k] = v
	}
	maps.Copy(m, ev.Extensions)
	if ev.DataContentType != "" {
		m[abi.MetaContentType] = ev.DataContentType
	}
	return host.Invocation{Input: data, Meta: m, State: st, Actuators: willing{}}
}

// meta answers what a guest asks about its event.
type meta map[string]string

// Lookup returns one attribute.
func (m meta) Lookup(key string) (string, bool) {
	v, ok := m[key]
	return v, ok
}

// testSecrets are the values that a test gives.
type testSecrets map[string]string

var _ host.Secrets = testSecrets(nil)

// Secret returns a copy.
func (s testSecrets) Secret(name string) ([]byte, bool, error) {
	v, ok := s[name]
	return []byte(v), ok, nil
}

func invoke(ctx context.Context, engine *sandbox.Engine, spec *function.Spec, files map[string][]byte, in host.Invocation, secrets map[string]string, r *Report) (*host.Calls, error) {
	f := &fetcher{r: r, left: r.Case.Fetch}
	calls, result, err := once.Run(ctx, engine, spec, files, once.Outside{Secrets: testSecrets(secrets), Fetcher: f, Sensors: testSensors(r.Case.Sensors)}, in)
	if calls == nil {
		return nil, err
	}
	f.missing()
	result.Output = append([]byte(nil), result.Output...)
	r.Result, r.Logs = result, calls.Logs()
	return calls, err
}

func (r *Report) fault(format string, args ...any) {
	r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
}

// judge compares what the invocation asked for with what was expected.
func (r *Report) judge(calls *host.Calls, st *state, contents blobs) {
	want := &r.Case.Expect
	failed := r.Result.Outcome != function.OK
	switch {
	case failed && want.Error == "":
		r.fault("it ended %s: %s", r.Result.Outcome, r.Result.Error)
		return
	case want.Error != "" && !strings.Contains(r.Result.Error, want.Error):
		r.fault("error: want one with %q, got %q", want.Error, r.Result.Error)
	}
	effects := &function.Effects{}
	if !failed {
		effects = calls.Effects()
	}
	r.judgeEffects(effects)
	st.apply(effects.Writes)
	if want.Objects != nil {
		r.judgeObjects(*want.Objects, effects.Objects, contents)
	}
	if want.State != nil {
		r.compare("state", *want.State, st.stored())
	}
	if want.Output != nil {
		r.compare("output", want.Output, decode(r.Result.Output))
	}
	r.judgeReply(calls)
	if want.Log != "" && !logged(r.Logs, want.Log) {
		r.fault("log: no line has %q", want.Log)
	}
}

func logged(lines []function.LogLine, text string) bool {
	for _, l := range lines {
		if strings.Contains(l.Text, text) {
			return true
		}
	}
	return false
}

// normal gives v the types that decoded JSON has.
func normal(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return v
	}
	return decode(b)
}

func same(a, b any) bool { return reflect.DeepEqual(normal(a), normal(b)) }

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
