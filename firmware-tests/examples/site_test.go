//go:build e2e

package examples

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// site is a gateway that has the example's functions, and the world around it.
type site struct {
	*rig.Gateway
	// Web is where its routes are.
	Web string

	devices   map[string]device
	passwords map[string]string
	key       string
	// until gives up after quiet, counted from when the gateway had nothing to
	// do any more; after hopeless where the complaint is missed, which a gateway
	// that tries for ever would not change; and after limit in any case.
	quiet  time.Duration
	missed string
	report []string
}

// addKey makes the key that curl shows.
func (s *site) addKey(t *testing.T, scopes []string) {
	t.Helper()
	if len(scopes) == 0 {
		return
	}
	args := []string{"token", "add", "test", "--json"}
	for _, scope := range scopes {
		args = append(args, "--scope", scope)
	}
	out, err := s.Run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	var made struct{ Secret string }
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	s.key = made.Secret
}

func (s *site) setSecret(t *testing.T, function, name, value string) {
	t.Helper()
	cmd := s.command(t.Context(), s.Binary, "secret", "set", function, name)
	cmd.Stdin = strings.NewReader(value)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func (s *site) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "HEADGATE_HOST="+s.Host(), "HEADGATE_HOME="+s.Dir)
	return cmd
}

// say keeps a line for the run's report.
func (s *site) say(format string, args ...any) {
	s.report = append(s.report, fmt.Sprintf(format, args...))
}

// until asks again and again until done has no fault left, and else returns
// the last one. It waits on while functions have work.
func (s *site) until(ctx context.Context, done func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var before uint64
	started := time.Now()
	idle := started
	for {
		fault := done()
		if fault == nil {
			return nil
		}
		if s.missed != "" && strings.Contains(fault.Error(), s.missed) && time.Since(started) > hopeless {
			return fault
		}
		work, busy, err := s.work(ctx)
		switch {
		case ctx.Err() != nil:
			return fault
		case err != nil:
			return errors.Join(fault, err)
		case busy || work != before:
			before, idle = work, time.Now()
		case time.Since(idle) > s.quiet:
			return fault
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// did is what the functions did, for who has to find out why a check fails.
func (s *site) did(ctx context.Context) string {
	logs, _ := s.Run(ctx, "logs")        // it is empty where it cannot be had
	done, _ := s.Run(ctx, "invocations") // so is this
	return fmt.Sprintf("\nwhat the functions logged:\n%s\nwhat they did:\n%s", logs, done)
}

// work is how many invocations there were, and whether further ones wait.
func (s *site) work(ctx context.Context) (invocations uint64, busy bool, err error) {
	list, err := s.Functions(ctx)
	for _, f := range list {
		invocations += f.Counters.Invocations
		busy = busy || f.Counters.Queued > 0
	}
	return invocations, busy, err
}

// answer is what curl got.
type answer struct {
	status      int
	contentType string
	body        []byte
}

func (a answer) String() string { return fmt.Sprintf("%d %s %.300q", a.status, a.contentType, a.body) }

// curl sends a request to one of the gateway's routes, without a key.
func (s *site) curl(ctx context.Context, path string, args ...string) (answer, error) {
	const tail = "\n%{http_code} %{content_type}"
	args = append([]string{"-sS", "--max-time", "30", "-w", tail, "http://" + s.Web + path}, args...)
	cmd := exec.CommandContext(ctx, "curl", args...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return answer{}, fmt.Errorf("curl %s: %w: %s", path, err, complaint.String())
	}
	cut := bytes.LastIndexByte(out.Bytes(), '\n')
	code, contentType, _ := strings.Cut(string(out.Bytes()[cut+1:]), " ")
	status, err := strconv.Atoi(code)
	return answer{status, contentType, out.Bytes()[:cut]}, err
}

// call is curl with the test's key.
func (s *site) call(ctx context.Context, path string, args ...string) (answer, error) {
	return s.curl(ctx, path, append([]string{"-H", "X-Api-Key: " + s.key}, args...)...)
}

// demand compares an answer's status and, where want is not nil, its JSON.
func (a answer) demand(what string, status int, want any) error {
	if a.status != status {
		return fmt.Errorf("%s: answered %v, want %d", what, a, status)
	}
	if want == nil {
		return nil
	}
	return sameJSON(what, a.body, want)
}

// sameJSON compares text with a value, by what they are in JSON.
func sameJSON(what string, text []byte, want any) error {
	b, err := json.Marshal(want)
	if err != nil {
		return err
	}
	var is, should any
	if err := json.Unmarshal(text, &is); err != nil {
		return fmt.Errorf("%s: %w in %.300q", what, err, text)
	}
	if err := json.Unmarshal(b, &should); err != nil {
		return err
	}
	if text, err := json.Marshal(is); err != nil || !bytes.Equal(text, mustCanonical(should)) {
		return fmt.Errorf("%s: is %s, want %s", what, text, b)
	}
	return nil
}

func mustCanonical(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // it came out of json.Unmarshal
	}
	return b
}

// state is the JSON of one key of a function; nil where there is none.
func (s *site) state(ctx context.Context, function, key string) ([]byte, error) {
	out, err := s.Run(ctx, "state", "get", function, key)
	if err != nil && strings.Contains(out, "not found") {
		return nil, nil
	}
	return bytes.TrimSpace([]byte(out)), err
}
