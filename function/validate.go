package function

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// NamePattern is what a function may be called.
const NamePattern = `^[a-z][a-z0-9-]{0,62}$`

var validName = regexp.MustCompile(NamePattern)

// ValidName reports whether name may name a function.
func ValidName(name string) bool { return validName.MatchString(name) }

// Bounds of what a manifest may ask for.
const (
	minMemory      ByteSize = 64 << 10
	maxMemory      ByteSize = 512 << 20
	maxTimeout              = Duration(15 * time.Minute)
	maxConcurrency          = 256
	maxAttempts             = 100
	maxTriggers             = 64
	maxSecrets              = 32
)

// Validate joins every fault of the manifest that can be told without looking
// at other files.
func (m *Manifest) Validate() error {
	if len(m.Functions) == 0 {
		return m.Fault("declares no function: add one under functions", "functions")
	}
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(m.Functions)) {
		at := func(message string, path ...any) {
			faults = append(faults, m.Fault(message, append([]any{"functions", name}, path...)...))
		}
		s := m.Functions[name]
		if s == nil {
			at("is empty: give it at least main")
			continue
		}
		if !ValidName(name) {
			at("a function's name starts with a letter and has only a-z, 0-9 and -, 63 at most")
		}
		s.validate(at)
	}
	return errors.Join(faults...)
}

// Validate joins every fault of a spec that did not come from a manifest here,
// each with its field.
func (s *Spec) Validate() error {
	var faults []error
	at := func(message string, path ...any) {
		faults = append(faults, fmt.Errorf("%s: %s", FieldPath(append([]any{s.Name}, path...)), message))
	}
	if !ValidName(s.Name) {
		at("a function's name starts with a letter and has only a-z, 0-9 and -, 63 at most")
	}
	s.validate(at)
	return errors.Join(faults...)
}

func (s *Spec) validate(at func(string, ...any)) {
	s.validateMain(at)
	if len(s.Triggers) > maxTriggers {
		at(fmt.Sprintf("%d triggers, more than the %d a function may have", len(s.Triggers), maxTriggers), "triggers")
	}
	for i := range s.Triggers {
		s.Triggers[i].validate(s, func(message string, path ...any) {
			at(message, append([]any{"triggers", i}, path...)...)
		})
		for j := range i {
			if s.Triggers[i].equal(&s.Triggers[j]) {
				at(fmt.Sprintf("says the same as triggers[%d]: remove one, an event starts a function once", j), "triggers", i)
				break
			}
		}
	}
	s.validateTimers(at)
	s.Limits.validate(at)
	s.Retry.validate(at)
	s.OnFailure.validate(s.Name, at)
	s.Permissions.validate(at)
	s.validateSecrets(at)
}

// validateTimers refuses what one timer cannot do both.
func (s *Spec) validateTimers(at func(string, ...any)) {
	first := make(map[string]int)
	for i := range s.Triggers {
		t := &s.Triggers[i]
		name, _, ok := t.Timer(s.Name)
		if !ok {
			continue
		}
		j, there := first[name]
		if !there {
			first[name] = i
			continue
		}
		if u := &s.Triggers[j]; t.Missed != u.Missed || t.OnEstimate != u.OnEstimate {
			at(fmt.Sprintf("has the times of triggers[%d] and another missed or on_estimate: there is one timer for both", j), "triggers", i)
		}
	}
}

var validSecret = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,62}$`)

// ValidSecret reports whether name may name a secret.
func ValidSecret(name string) bool { return validSecret.MatchString(name) }

func (s *Spec) validateSecrets(at func(string, ...any)) {
	if len(s.Secrets) > maxSecrets {
		at(fmt.Sprintf("%d secrets, more than the %d a function may have", len(s.Secrets), maxSecrets), "secrets")
	}
	for i, name := range s.Secrets {
		switch {
		case !ValidSecret(name):
			at(fmt.Sprintf("%q: a secret's name starts with a letter and has letters, digits, _ and -, 63 at most; its value is set on the gateway", name), "secrets", i)
		case slices.Contains(s.Secrets[:i], name):
			at(fmt.Sprintf("%q is there twice", name), "secrets", i)
		}
	}
}

func (s *Spec) validateMain(at func(string, ...any)) {
	switch {
	case s.Main == "":
		at("is missing: name the file that holds the function", "main")
	case path.IsAbs(s.Main) || !filepathIsLocal(s.Main):
		at("must be a path below the manifest's folder", "main")
	case s.Language() == "":
		at(fmt.Sprintf("%q: the ending must be .js, .py, .c, .rs, .ts, .go or .wasm", s.Main), "main")
	case s.Build != "" && s.Language() != "wasm":
		at("is for a main that ends in .wasm; .c, .rs, .ts, .go, .js and .py need none", "build")
	}
	switch {
	case s.Compiler == "":
	case s.Compiler != CompilerTinyGo:
		at(fmt.Sprintf("%q: the one to choose is tinygo; leave it out for the language's own", s.Compiler), "compiler")
	case s.Language() != CompilerTinyGo:
		at("tinygo builds a main that ends in .go", "compiler")
	}
	switch lang := s.Language(); {
	case s.Export == "":
	case lang == "javascript" || lang == "python":
		at("is for Extism plug-ins; a script's handler is what it exports", "export")
	case len(s.Export) > maxExportBytes || !utf8.ValidString(s.Export):
		at(fmt.Sprintf("must be the name of an exported function, %d bytes at most", maxExportBytes), "export")
	}
}

// maxExportBytes bounds the name of an export.
const maxExportBytes = 255

func filepathIsLocal(p string) bool {
	clean := path.Clean(strings.ReplaceAll(p, `\`, "/"))
	return clean != ".." && !strings.HasPrefix(clean, "../")
}

func (l *Limits) validate(at func(string, ...any)) {
	within(at, "memory", l.Memory, minMemory, maxMemory)
	within(at, "timeout", l.Timeout, Duration(time.Millisecond), maxTimeout)
	within(at, "fuel", l.Fuel, 1000, 1e15)
	within(at, "concurrency", l.Concurrency, 1, maxConcurrency)
	if l.MinInstances < 0 || l.MinInstances > l.Concurrency {
		at(fmt.Sprintf("%d is outside 0 to limits.concurrency, %d", l.MinInstances, l.Concurrency), "limits", "min_instances")
	}
	within(at, "idle", l.Idle, Duration(time.Millisecond), Duration(24*time.Hour))
	within(at, "state", l.State, 1, 1<<30)
	within(at, "output", l.Output, 1, 16<<20)
	within(at, "effects", l.Effects, 1, 1<<16)
	within(at, "effect_bytes", l.EffectBytes, 1, 64<<20)
	within(at, "object_bytes", l.ObjectBytes, 1, 256<<20)
	within(at, "log_bytes", l.LogBytes, 1, 1<<20)
}

func within[T int | ByteSize | Duration | Count](at func(string, ...any), field string, v, low, high T) {
	if v < low || v > high {
		at(fmt.Sprintf("%v is outside %v to %v", v, low, high), "limits", field)
	}
}

func (r *Retry) validate(at func(string, ...any)) {
	if r.Attempts < 1 || r.Attempts > maxAttempts {
		at(fmt.Sprintf("%d is outside 1 to %d", r.Attempts, maxAttempts), "retry", "attempts")
	}
	if r.MaxBackoff < r.Backoff {
		at(fmt.Sprintf("%v is shorter than backoff, %v", r.MaxBackoff, r.Backoff), "retry", "max_backoff")
	}
	if r.ThenKey != ThenSkip && r.ThenKey != ThenBlock {
		at(fmt.Sprintf("%q must be skip or block", r.ThenKey), "retry", "then_key")
	}
}

func (o *OnFailure) validate(name string, at func(string, ...any)) {
	switch {
	case o.Function != "" && o.Topic != "":
		at("has both function and topic: name one", "on_failure")
	case o.Function == name && name != "":
		at("a function cannot handle its own failures: name another", "on_failure", "function")
	case o.Function != "" && !ValidName(o.Function):
		at(fmt.Sprintf("%q is not a function's name", o.Function), "on_failure", "function")
	case strings.ContainsAny(o.Topic, "+#"):
		at(fmt.Sprintf("%q must be one topic, without wildcards", o.Topic), "on_failure", "topic")
	}
}

func (p *Permissions) validate(at func(string, ...any)) {
	names := func(list []string, path ...any) {
		for i, n := range list {
			if !validPattern(n) {
				at(fmt.Sprintf("%q is not a function's name", n), append(slices.Clone(path), i)...)
			}
		}
	}
	names(p.State.Read, "permissions", "state", "read")
	names(p.State.Write, "permissions", "state", "write")
	names(p.Invoke, "permissions", "invoke")
	p.validateFetch(at)
	p.Objects.validate(at)
	for i, f := range p.Publish {
		if f == "" {
			at("an empty filter matches nothing: remove it", "permissions", "publish", i)
		}
	}
}

func validPattern(n string) bool { return ValidName(strings.ReplaceAll(n, "*", "x")) }

// AnyMatches reports whether one of the patterns, in which * is any run of
// characters, matches the name.
func AnyMatches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return MatchName(p, name) })
}

// MatchName reports whether name is as the pattern says, * being any run of
// characters.
func MatchName(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return name == pattern
	}
	if len(name) < len(first)+len(last) || !strings.HasPrefix(name, first) || !strings.HasSuffix(name, last) {
		return false
	}
	name = name[len(first) : len(name)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
	return true
}
