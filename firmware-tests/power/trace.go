package main

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// kind is what a system call did.
type kind byte

const (
	opWrite kind = iota
	opTruncate
	opSync     // of a file or a folder; call.started says what it covers
	opCreate   // of a file
	opUnlink   // of a file
	opRename   // from path to to
	opAnswered // bytes to a client
	opNothing  // it failed
)

// call is one system call of the gateway. For what changes a file its place in
// the trace is where it began: from then on it may be on the disk. For a sync it
// is where it returned: from then on what came before started is.
type call struct {
	kind    kind
	path    string // below the state folder, or the client's address
	to      string
	offset  int64
	data    []byte // what was written; for opTruncate offset is the size
	started int
}

// traceReader reads what strace -f -yy -xx wrote.
type traceReader struct {
	root    string // the state folder
	calls   []call
	pending map[string]pendingCall // by thread: entered, not yet returned
	offsets map[string]int64       // of files that are written without a position
}

type pendingCall struct {
	text  string
	began int
	at    int // place of a call that was put at its beginning, or -1
}

var (
	resumed = regexp.MustCompile(`^<\.\.\. (\w+) resumed>(.*)$`)
	padded  = regexp.MustCompile(`\)\s+= `) // where strace lines results up
)

// readTrace returns the calls that concern files below root, and what was
// sent to clients. All of them have returned: the gateway was stopped before its
// end.
func readTrace(r io.Reader, root string) ([]call, error) {
	t := &traceReader{root: root, pending: map[string]pendingCall{}, offsets: map[string]int64{}}
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 1<<20), 64<<20)
	for n := 1; scan.Scan(); n++ {
		thread, text, ok := strings.Cut(strings.TrimSpace(scan.Text()), " ")
		if !ok {
			continue
		}
		if err := t.line(thread, strings.TrimSpace(text)); err != nil {
			return nil, fmt.Errorf("trace line %d: %w", n, err)
		}
	}
	for _, p := range t.pending {
		if _, ours, err := t.parse(p.text + ") = ?"); err != nil || ours {
			return nil, fmt.Errorf("the gateway was ended within a call: %.120s", p.text)
		}
	}
	return t.calls, scan.Err()
}

func (t *traceReader) line(thread, text string) error {
	if m := resumed.FindStringSubmatch(text); m != nil {
		p, ok := t.pending[thread]
		if !ok {
			return nil
		}
		delete(t.pending, thread)
		return t.done(p.text+padded.ReplaceAllString(m[2], ") = "), p)
	}
	if head, ok := strings.CutSuffix(text, " <unfinished ...>"); ok {
		p := pendingCall{text: head, began: len(t.calls), at: -1}
		// Its arguments are complete; what it changes may be on disk from now.
		if c, ok, err := t.parse(head + ") = ?"); err != nil {
			return err
		} else if ok && c.kind != opSync && c.kind != opCreate {
			p.at = len(t.calls)
			t.calls = append(t.calls, c)
		}
		t.pending[thread] = p
		return nil
	}
	return t.done(text, pendingCall{began: len(t.calls), at: -1})
}

// done takes a call that has returned.
func (t *traceReader) done(text string, p pendingCall) error {
	if strings.Contains(text, ") = -1 ") {
		if p.at >= 0 {
			t.calls[p.at].kind = opNothing // as when a file is removed that is not there, or a client has gone
		}
		return nil
	}
	if p.at >= 0 {
		return nil // it was taken at its beginning
	}
	c, ok, err := t.parse(text)
	if err != nil || !ok {
		return err
	}
	c.started = p.began
	t.calls = append(t.calls, c)
	return nil
}

var (
	openFile   = regexp.MustCompile(`^open(?:at)?\((?:[^",]*, )?"([^"]*)", ([A-Z_|]+).*\) = [\d?]`)
	positioned = regexp.MustCompile(`^pwrite64\(\d+<([^>]*)>(\S*), "([^"]*)"(\.\.\.)?, (\d+), (\d+)`)
	plain      = regexp.MustCompile(`^write\(\d+<(TCP:\[[^\]]*\]|[^>]*)>(\S*), "([^"]*)"(\.\.\.)?, (\d+)`)
	truncate   = regexp.MustCompile(`^ftruncate\(\d+<([^>]*)>, (\d+)`)
	syncing    = regexp.MustCompile(`^(?:fsync|fdatasync)\(\d+<([^>]*)>`)
	unlink     = regexp.MustCompile(`^unlink(?:at)?\((?:[^"]*, )?"([^"]*)"`)
	rename     = regexp.MustCompile(`^rename(?:at|at2)?\((?:[^"]*, )?"([^"]*)", (?:[^"]*, )?"([^"]*)"`)
	unhandled  = regexp.MustCompile(`^(?:pwritev2?|writev|fallocate|sync_file_range|copy_file_range|sendfile)\(\d+<([^>]*)>`)
)

// parse reads one call. ok is false for one that does not matter.
func (t *traceReader) parse(text string) (c call, ok bool, err error) {
	name, _, _ := strings.Cut(text, "(")
	switch name {
	case "open", "openat":
		if m := openFile.FindStringSubmatch(text); m != nil && strings.Contains(m[2], "O_CREAT") {
			c = call{kind: opCreate, path: plainText(m[1])}
			t.offsets[c.path] = 0
			return t.below(c)
		}
	case "pwrite64":
		if m := positioned.FindStringSubmatch(text); m == nil {
			return c, false, fmt.Errorf("a write that strace did not read: %.80s", text)
		} else if m[2] == "" {
			c, err = written(m[1], m[3], m[4], m[5])
			c.offset, _ = strconv.ParseInt(m[6], 10, 64)
			return t.checked(c, err)
		}
	case "write":
		return t.parseWrite(text)
	case "ftruncate":
		if m := truncate.FindStringSubmatch(text); m != nil {
			c = call{kind: opTruncate, path: plainText(m[1])}
			c.offset, _ = strconv.ParseInt(m[2], 10, 64)
			return t.below(c)
		}
	case "fsync", "fdatasync":
		if m := syncing.FindStringSubmatch(text); m != nil {
			return t.below(call{kind: opSync, path: plainText(m[1])})
		}
	case "unlink", "unlinkat":
		if m := unlink.FindStringSubmatch(text); m != nil {
			return t.below(call{kind: opUnlink, path: plainText(m[1])})
		}
	case "rename", "renameat", "renameat2":
		if m := rename.FindStringSubmatch(text); m != nil {
			c = call{kind: opRename, path: plainText(m[1])}
			if c.to, ok = t.relative(plainText(m[2])); !ok {
				return c, false, fmt.Errorf("renamed to outside of the state folder: %.120s", text)
			}
			return t.below(c)
		}
	default:
		if m := unhandled.FindStringSubmatch(text); m != nil {
			if _, inside := t.relative(plainText(m[1])); inside {
				return c, false, fmt.Errorf("no model of this call: %.80s", text)
			}
		}
	}
	return c, false, nil
}

func (t *traceReader) parseWrite(text string) (c call, ok bool, err error) {
	m := plain.FindStringSubmatch(text)
	if m == nil || m[2] != "" {
		return c, false, nil
	}
	if c, err = written(m[1], m[3], m[4], m[5]); err != nil {
		return c, false, err
	}
	if _, peer, tcp := strings.Cut(m[1], "->"); tcp && strings.HasPrefix(m[1], "TCP:[") {
		c.kind, c.path = opAnswered, strings.TrimSuffix(peer, "]")
		return c, true, nil
	}
	c.offset = t.offsets[c.path]
	t.offsets[c.path] += int64(len(c.data))
	return t.below(c)
}

func (t *traceReader) checked(c call, err error) (call, bool, error) {
	if err != nil {
		return c, false, err
	}
	return t.below(c)
}

// below keeps calls on files in the state folder, by their relative names.
func (t *traceReader) below(c call) (call, bool, error) {
	var ok bool
	c.path, ok = t.relative(c.path)
	return c, ok, nil
}

func (t *traceReader) relative(path string) (string, bool) {
	rel, err := filepath.Rel(t.root, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return path, false
	}
	return rel, true
}

func written(path, data, cut, size string) (call, error) {
	if cut != "" {
		return call{}, fmt.Errorf("strace cut a write of %s bytes short", size)
	}
	return call{kind: opWrite, path: plainText(path), data: []byte(plainText(data))}, nil
}

// plainText undoes \xNN.
func plainText(s string) string {
	if !strings.HasPrefix(s, `\x`) {
		return s
	}
	out := make([]byte, 0, len(s)/4)
	for i := 0; i+3 < len(s); i += 4 {
		n, err := strconv.ParseUint(s[i+2:i+4], 16, 8)
		if err != nil {
			return s
		}
		out = append(out, byte(n))
	}
	return string(out)
}
