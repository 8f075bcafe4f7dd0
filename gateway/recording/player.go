package recording

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
)

// Player gives an invocation the answers of a recording.
type Player struct {
	rec       *Recording
	meta      map[string]string
	params    map[string]string
	secrets   map[string]string
	remaining []int64
	// actuated counts the answers about actuators that were given.
	actuated int
	// asked is what the recording has no answer to.
	asked []string
	// put is what the replayed code has put, by digest.
	put map[string][]byte
}

var (
	_ host.State   = (*Player)(nil)
	_ host.Meta    = (*Player)(nil)
	_ host.Secrets = (*Player)(nil)
	_ host.Fetcher = (*Player)(nil)
	_ host.Blobs   = (*Player)(nil)
	_ host.Sensors = (*Player)(nil)

	_ host.Actuators = (*Player)(nil)
)

// Play prepares a replay. secrets are the values of secrets that the function
// reads; one that is not there is a placeholder of the recorded length.
func (r *Recording) Play(secrets map[string]string) (*Player, error) {
	p := &Player{rec: r, meta: r.Meta, secrets: secrets, remaining: r.Answers.Remaining}
	if text := r.Meta[abi.MetaParams]; text != "" {
		if err := json.Unmarshal([]byte(text), &p.params); err != nil {
			return nil, fmt.Errorf("recording: meta.params: %w", err)
		}
	}
	return p, nil
}

// Invocation is what the sandbox runs.
func (p *Player) Invocation() host.Invocation {
	seed := p.rec.Answers.Random
	if len(seed) == 0 {
		// Other code may ask where the recorded code did not: something, and
		// the same each time.
		sum := sha256.Sum256([]byte(p.rec.ID))
		seed = sum[:]
	}
	return host.Invocation{Input: p.rec.Data, Meta: p, State: p, Blobs: p, Actuators: p, Now: p.now, Random: bytes.NewReader(seed), Remaining: p.left}
}

// left answers how many milliseconds are left: the last answer stays.
func (p *Player) left() int64 {
	if len(p.remaining) == 0 {
		return time.Duration(p.rec.Spec.Limits.WithDefaults().Timeout).Milliseconds()
	}
	left := p.remaining[0]
	if len(p.remaining) > 1 {
		p.remaining = p.remaining[1:]
	}
	return left
}

func (p *Player) now() time.Time {
	if p.rec.Answers.Now.IsZero() {
		return p.rec.Time
	}
	return p.rec.Answers.Now
}

// Unanswered are the questions that the recording has no answer to: the
// replayed code asks what the recorded code did not.
func (p *Player) Unanswered() []string { return p.asked }

// Lookup implements host.Meta.
func (p *Player) Lookup(key string) (string, bool) {
	if v, ok := p.meta[key]; ok {
		return v, true
	}
	if name, ok := strings.CutPrefix(key, abi.MetaParamPrefix); ok {
		v, ok := p.params[name]
		return v, ok
	}
	v, ok := p.rec.Event.Extensions[key]
	return v, ok
}

// Get implements host.State.
func (p *Player) Get(ns, key string) ([]byte, bool, error) {
	for i := range p.rec.Answers.State {
		if a := &p.rec.Answers.State[i]; a.Namespace == ns && a.Key == key {
			return a.Value, a.Found, nil
		}
	}
	return nil, false, p.unanswered("the value of state key %s:%s", ns, key)
}

// List implements host.State.
func (p *Player) List(ns, prefix, after string, limit int) ([]string, bool, error) {
	for i := range p.rec.Answers.Lists {
		a := &p.rec.Answers.Lists[i]
		if a.Namespace == ns && a.Prefix == prefix && a.After == after && a.Limit == limit {
			return a.Keys, a.More, nil
		}
	}
	return nil, false, p.unanswered("the state keys %s:%s* after %q", ns, prefix, after)
}

// unanswered ends the replay.
func (p *Player) unanswered(format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if !slices.Contains(p.asked, what) {
		p.asked = append(p.asked, what)
	}
	return &host.Abort{Outcome: function.Failed, Reason: "the recording does not say " + what}
}

// Secret implements host.Secrets.
func (p *Player) Secret(name string) ([]byte, bool, error) {
	if v, ok := p.secrets[name]; ok {
		return []byte(v), true, nil
	}
	n, ok := p.rec.Answers.Secrets[name]
	return placeholder(name, n), ok, nil
}

// Fetch implements host.Fetcher: the answer to the same request at the same
// place.
func (p *Player) Fetch(_ context.Context, f *host.Fetch) (host.FetchResult, error) {
	raw, err := f.Request.Append(nil)
	if err != nil {
		return host.FetchResult{}, err
	}
	request := p.redact(raw)
	if f.Call >= len(p.rec.Answers.Fetches) || !p.sameRequest(p.rec.Answers.Fetches[f.Call].Request, request) {
		return host.FetchResult{}, p.unanswered("the answer to fetch %d, %s %s", f.Call+1, cmp.Or(f.Request.Method, "GET"), host.Shown(f.URL))
	}
	a := &p.rec.Answers.Fetches[f.Call]
	if a.Errno != 0 {
		reason := strings.TrimPrefix(a.Reason, "http_fetch: "+host.Shown(f.URL)+": ")
		return host.FetchResult{}, &host.FetchError{Errno: abi.Errno(a.Errno), Reason: reason}
	}
	answer, err := abi.ParseFetchAnswer(a.Answer)
	return host.FetchResult{Answer: answer}, err
}

// Actuate implements host.Actuators: the answers come in the order in which the
// recorded code asked.
func (p *Player) Actuate(_ []function.Actuation, a function.Actuation) (granted, until time.Duration, err error) {
	if p.actuated >= len(p.rec.Answers.Actuators) || p.rec.Answers.Actuators[p.actuated].Actuator != a.Actuator {
		return 0, 0, p.unanswered("what actuator %s may", a.Actuator)
	}
	answer := &p.rec.Answers.Actuators[p.actuated]
	p.actuated++
	switch {
	case answer.Errno == int32(abi.NotFound):
		return 0, 0, host.UnknownActuator(a.Actuator)
	case answer.Errno != 0:
		return 0, 0, errors.New(answer.Reason)
	}
	return answer.Granted, answer.Granted, nil
}

// Sensor implements host.Sensors.
func (p *Player) Sensor(name string) ([]byte, bool, error) {
	reading, ok := p.rec.Answers.Sensors[name]
	if !ok {
		return nil, false, p.unanswered("the reading of sensor %s", name)
	}
	// A recording is indented for people; the guest heard one line.
	var line bytes.Buffer
	if err := json.Compact(&line, reading); err != nil {
		return nil, false, err
	}
	return line.Bytes(), line.String() != "null", nil
}

// sameRequest compares what requests say: the recorded one is as the guest wrote
// it.
func (p *Player) sameRequest(recorded, request []byte) bool {
	r, err := abi.ParseFetchRequest(recorded)
	if err != nil {
		return false
	}
	again, err := r.Append(nil)
	return err == nil && bytes.Equal(again, request)
}

// redact takes out the secrets, as the recording did.
func (p *Player) redact(b []byte) []byte {
	for name := range p.rec.Answers.Secrets {
		if value, ok, _ := p.Secret(name); ok && len(value) >= host.MinRedacted {
			b = bytes.ReplaceAll(b, value, []byte("[secret "+name+"]"))
		}
	}
	return b
}

// placeholder is text of the given length that nothing else is likely to hold.
func placeholder(name string, length int) []byte {
	var out []byte
	for block := 0; len(out) < length; block++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", name, block))
		out = append(out, base32.StdEncoding.EncodeToString(sum[:20])...)
	}
	return out[:length]
}
