package recording_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/once"
	"github.com/headgate-io/headgate/gateway/recording"
	"github.com/headgate-io/headgate/sandbox/host"
)

// content is one object's bytes; what is put is forgotten.
type content []byte

func (content) MaxObject(string) int64 { return 1 << 30 }
func (content) PutBlob(data []byte) (string, error) {
	sum := sha256.Sum256(data)
	return function.DigestOf(sum[:]), nil
}

func (c content) ReadBlob(_ string, offset int64, p []byte) (int, error) {
	return copy(p, c[offset:]), nil
}

// TestReplayReadsObjects gives a replay the bytes of the objects that were
// read, and says when it asks for others or for more than was kept.
func TestReplayReadsObjects(t *testing.T) {
	spec := function.Spec{
		Name: "thumb", Main: "soil.js",
		Permissions: function.Permissions{Objects: function.ObjectPermissions{Read: []string{"camera"}, Write: []string{"camera"}}},
	}
	const source = `export default (event, {objects}) => {
	  const whole = objects.get("camera", "a"), part = objects.read("camera", "a", 5, 3);
	  objects.put("camera", "b", part);
	  return [whole.text().length, part.length, objects.get("camera", "b").size, objects.list("camera").length].join(" ");
	};`
	record := func(size int) *recording.Recording {
		t.Helper()
		data := bytes.Repeat([]byte("x"), size)
		about := function.Object{Digest: "sha256:aa", Size: int64(size), Type: "text/plain", Modified: time.UnixMilli(1).UTC()}
		var tape recording.Tape
		ev := &event.Event{ID: "7", Source: "/s", Type: "t", Data: []byte("{}")}
		calls, result, err := once.Run(t.Context(), engine, &spec, files(source), once.Outside{}, host.Invocation{
			Input: ev.Data, Meta: attributes{}, Recorded: true, Blobs: content(data), State: tape.Listen(kept{"bucket/camera:a": string(about.Encode())}),
		})
		if err != nil || result.Outcome != function.OK {
			t.Fatal(err, result.Error)
		}
		rec := tape.Cut(&spec, ev, attributes{}, calls, &result)
		rec.ID, rec.Time = "r", time.Now()
		return carried(t, rec)
	}
	rec := record(1000)
	got, err := rec.Run(t.Context(), engine, rec.Spec, files(source), nil, true)
	if err != nil || len(got.Differences) > 0 || len(got.Unanswered) > 0 || string(got.Outcome.Output) != "1000 3 3 2" {
		t.Errorf("%v, %+v, %q", err, got, got.Outcome.Output)
	}
	other, err := rec.Run(t.Context(), engine, rec.Spec, files(`export default (e, {objects}) => objects.read("camera", "a", 990, 20).length`), nil, false)
	if err != nil || len(other.Unanswered) != 1 {
		t.Errorf("a read beyond what was recorded: %v, %+v", err, other)
	}
	large, err := record(2<<20).Run(t.Context(), engine, rec.Spec, files(source), nil, true)
	if err != nil || len(large.Unanswered) != 1 {
		t.Errorf("a large object: %v, %+v", err, large)
	}
	for _, made := range []struct{ size, offset int64 }{{-5, 0}, {math.MinInt64, 0}, {math.MaxInt64, -(math.MaxInt64 - 1<<52)}, {1 << 53, math.MinInt64}, {1 << 53, 1 << 52}} {
		lie := record(10)
		for i := range lie.Answers.State {
			lie.Answers.State[i].Value = fmt.Appendf(nil, `{"digest":"sha256:aa","size":%d,"type":"text/plain"}`, made.size)
		}
		for i := range lie.Answers.Blobs {
			lie.Answers.Blobs[i].Offset = made.offset
		}
		for _, call := range []string{`objects.get("camera", "a").text()`, `objects.get("camera", "a").bytes()`, fmt.Sprintf(`objects.read("camera", "a", %d, 3)`, int64(1)<<52)} {
			got, err := lie.Run(t.Context(), engine, rec.Spec, files(`export default (e, {objects}) => { try { `+call+` } catch (e) { return e.message } }`), nil, false)
			if err != nil || got.Outcome.Outcome == "trapped" {
				t.Errorf("%s of a made-up recording, %+v: %v, %+v", call, made, err, got)
			}
		}
	}
	if err := rec.Redact("objects"); err != nil || bytes.Count(rec.Answers.Blobs[0].Data, []byte("x")) != 1000 || len(rec.Redacted) != 1 {
		t.Errorf("redact: %v", err)
	}
}
