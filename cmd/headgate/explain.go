package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (a *app) explainCommand() *cobra.Command {
	var q api.Explain
	var properties []string
	c := &cobra.Command{
		Use: "explain SUBJECT [DATA]", Short: "Say which functions an event would start, and why others do not", Args: cobra.RangeArgs(1, 2),
		Long: "Say for every trigger whether an event would start its function, and if not why: the filter, the condition with the\n" +
			"values that it saw, a field that is missing; and what would keep the function from running at once. Nothing happens.\n" +
			"With --run the functions run, against the present state, and what they ask for is printed and thrown away.\n\n" +
			"SUBJECT is a topic; with --kind a queue, a key as FUNCTION:KEY (DATA is its new value), a function whose timers are\n" +
			"meant (timer), an object as BUCKET/KEY (file), a function that failed (failure), what happens (lifecycle), a sensor with its value (sensor), an actuator as NAME/off (actuator), or a request as 'GET /path' (http).",
		Example: "  headgate explain farm/3/moisture '{\"moisture\":27}' --run\n  headgate explain --kind sensor soil-1 12 --run\n  headgate explain --kind actuator valve-1/fault\n  headgate explain --kind state weather:today/rain 4",
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if q.Kind == "http" && !strings.Contains(args[0], " /") {
				return usageError{fmt.Errorf("%q is no request: write method and path as one argument, as in 'GET /fields/3?unit=mm'", args[0])}
			}
			if q.Subject = args[0]; len(args) == 2 {
				if q.Data, err = a.argument(args, 1); err != nil {
					return err
				}
			}
			if q.Properties, err = pairs(properties); err != nil {
				return usageError{fmt.Errorf("--property %w", err)}
			}
			var x api.Explained
			if err := a.call(cmd, http.MethodPost, "/v1/explain", q, &x); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(x)
			}
			a.printExplained(&x, q.Run)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&q.Kind, "kind", "mqtt", "mqtt, http, timer, state, queue, file, sensor, lifecycle, failure or actuator")
	f.BoolVar(&q.Run, "run", false, "let the functions run, and throw away what they ask for")
	f.IntVarP(&q.QoS, "qos", "q", 1, "quality of service of the message")
	f.BoolVar(&q.Retained, "retained", false, "as a stored retained message")
	f.StringVar(&q.Client, "client", "", "the device that it comes from")
	f.StringArrayVar(&properties, "property", nil, "a user property of the message, name=value; may be repeated")
	return c
}

func (a *app) printExplained(x *api.Explained, run bool) {
	for _, n := range x.Notes {
		fmt.Fprintf(a.out, "note: %s\n", n)
	}
	if len(x.Triggers) == 0 {
		fmt.Fprintf(a.out, "no function has a trigger of kind %s: 'headgate list' shows those there are\n", x.Kind)
	}
	for _, t := range x.Triggers {
		verdict := "starts it" + captures(t.Params)
		if !t.Starts {
			verdict = "no: " + t.Reason + seen(t.Values)
		}
		fmt.Fprintf(a.out, "%s@%d  %s  %s\n", t.Function, t.Version, t.Trigger, verdict)
	}
	for i := range x.Starts {
		a.printStart(&x.Starts[i], run)
	}
}

func captures(params map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(params)) {
		fmt.Fprintf(&b, "  %s=%s", k, params[k])
	}
	return b.String()
}

// seen are the values that a condition found.
func seen(values map[string]any) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(values)) {
		v, err := json.Marshal(values[k])
		if err != nil {
			continue
		}
		all = append(all, k+" is "+string(v))
	}
	if len(all) == 0 {
		return ""
	}
	return " (" + strings.Join(all, ", ") + ")"
}

func (a *app) printStart(s *api.Start, run bool) {
	how := "volatile"
	if s.Durable {
		how = "durable"
	}
	if s.Key != "" {
		how += ", key " + s.Key
	}
	fmt.Fprintf(a.out, "\n%s@%d would run (%s)\n", s.Function, s.Version, how)
	for _, h := range s.Hindrances {
		fmt.Fprintf(a.out, "  but: %s\n", h)
	}
	if r := s.Rehearsal; r != nil {
		a.printRehearsal(r)
	} else if !run {
		fmt.Fprintf(a.out, "  --run shows what it would do\n")
	}
}

func (a *app) printRehearsal(r *api.Rehearsal) {
	line := func(format string, args ...any) { fmt.Fprintf(a.out, "  "+format+"\n", args...) }
	for _, l := range r.Logs {
		line("logs      %s", l)
	}
	if r.Outcome != "ok" {
		line("ends      %s", failure(r.Outcome, r.Error))
		return
	}
	line("ends      ok after %s, fuel %s", millis(r.Duration), percent(r.Fuel, r.FuelLimit))
	if len(r.Output) > 0 {
		line("returns   %s", shown(payload(r.Output)))
	}
	for _, w := range r.State {
		if w.Delete {
			line("deletes   %s:%s", w.Namespace, w.Key)
			continue
		}
		line("writes    %s:%s = %s", w.Namespace, w.Key, shown(payload(w.Value)))
	}
	for _, p := range r.Publish {
		line("publishes %s %s", p.Topic, shown(payload(p.Payload)))
	}
	for _, e := range r.Enqueue {
		line("enqueues  %s %s", e.Queue, shown(payload(e.Payload)))
	}
	for _, i := range r.Invoke {
		line("invokes   %s %s", i.Function, shown(payload(i.Payload)))
	}
	for _, s := range r.Actuated {
		line("switches  %s", switched(s))
	}
	for _, o := range r.Objects {
		if o.Delete {
			line("deletes   object %s/%s", o.Bucket, o.Key)
			continue
		}
		line("puts      object %s/%s, %d bytes of %s", o.Bucket, o.Key, o.Size, o.Type)
	}
	if len(r.Starts) > 0 {
		line("starts    %s", strings.Join(r.Starts, ", "))
	}
	if r.Refused != "" {
		line("but       none of it could be settled: %s", r.Refused)
	}
}
