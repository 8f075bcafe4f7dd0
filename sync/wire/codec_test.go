package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/headgate-io/headgate/sync/wire"
)

var update = flag.Bool("update", false, "write the golden vectors")

func codec(t testing.TB) *wire.Codec {
	t.Helper()
	c, err := wire.NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var stream = wire.Stream{Hardware: "MHWYQJRBOCVC2PMPDX2YSTKLQE", Epoch: 3}

// vectors are one message of each kind, with every field.
var vectors = map[string]any{
	"hello": &wire.Hello{
		Streams: []wire.Held{{Stream: stream, First: 17, Next: 19}}, Version: "1.4.0", Arch: "arm64", Time: 1_790_000_000_000_000, Trust: 2, Session: 7,
	},
	"usage": &wire.Usage{
		Stream: stream, Seq: 17, Prev: bytes.Repeat([]byte{1}, 32), Link: bytes.Repeat([]byte{2}, 32), Data: []byte("columns"), Signature: []byte("signature"),
	},
	"health": &wire.Health{
		Time: 1_790_000_000_000_000, Uptime: 3600, MemoryBytes: 30 << 20, DiskFree: 1 << 30, QueueRows: 1, DeadLetters: 2, Waiting: 3,
		WaitingBytes: 4000, Functions: 10, BytesToday: 40_000,
	},
	"reported": &wire.Reported{
		Revision: 4, Time: 1_790_000_000_000_000, Start: 9, Seq: 2, Error: "a secret does not open", Faults: 1,
		Functions: []wire.ReportedFunction{{
			Name: "irrigate", Version: 3, Digest: bytes.Repeat([]byte{3}, 32), Target: "irrigate/3.hgb", Attempt: "d1", Stage: "canary", Note: "10%",
			Old: wire.Counts{Invocations: 100, Failures: 1, Crashes: 1, Busy: 9000}, New: wire.Counts{Invocations: 10}, Config: bytes.Repeat([]byte{4}, 32),
		}},
		System: wire.ReportedSystem{Version: "1.4.0", SHA256: bytes.Repeat([]byte{5}, 32), Trial: true, Failed: bytes.Repeat([]byte{6}, 32), Note: "not ready"},
	},
	"reported-fixed": &wire.Reported{Start: 9, Seq: 3, System: wire.ReportedSystem{Version: "1.4.0", Fixed: wire.Package, FailedAttempt: wire.NoAttempt}},
	"desired-system": &wire.Desired{Revision: 6, System: "system/arm64/1.5.0", SystemAttempt: "d3"},
	"answer":         &wire.Answer{ID: "a1", Body: []byte("zstd"), Error: "no", Cut: true},
	"telemetry":      &wire.Telemetry{Start: 9, Seq: 3, Values: []wire.Value{{Topic: "farm/level", Payload: []byte("12.5"), Time: 1_790_000_000_000_000, Count: 6}}},
	"desired": &wire.Desired{
		Revision: 5, System: "system/arm64/1.5.0", Every: 30,
		Functions: []wire.DesiredFunction{{Name: "irrigate", Target: "irrigate/4.hgb", SHA256: bytes.Repeat([]byte{7}, 32), Config: []byte(`{"target":28}`), Attempt: "d2"}},
		Secrets:   []wire.SealedSecret{{Function: "irrigate", Name: "API_KEY", Revision: 2, Sealed: []byte("sealed")}},
	},
	"ask":     &wire.Ask{ID: "a1", What: wire.AskLogs, Function: "irrigate", Lines: 50, Expires: 1_790_000_000_000_000},
	"taken":   &wire.Taken{Start: 9, Seq: 3},
	"welcome": &wire.Welcome{Marks: []wire.Mark{{Stream: stream, UpTo: 16}}, Time: 1_790_000_000_000_001, Session: 7},
	"ack": &wire.Ack{
		Marks: []wire.Mark{{Stream: stream, UpTo: 18}}, Refused: []wire.Refusal{{Stream: stream, Seq: 19, Reason: "the signature is not by the gateway's key"}},
	},
}

// What was written once is read for ever, and written the same again.
func TestGoldenVectors(t *testing.T) {
	c := codec(t)
	for name, message := range vectors {
		t.Run(name, func(t *testing.T) {
			got, err := c.Encode(message)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".hex")
			if *update {
				if err := os.WriteFile(file, []byte(hex.EncodeToString(got)+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want, err := hex.DecodeString(string(bytes.TrimSpace(text)))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("encoded as\n%x, want\n%x", got, want)
			}
			back, err := c.Decode(want)
			if err != nil || !reflect.DeepEqual(back, message) {
				t.Errorf("decoded as %+v, %v; want %+v", back, err, message)
			}
		})
	}
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := cbor.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestUnknownFieldsAreIgnoredAndVersionsRefused(t *testing.T) {
	c := codec(t)
	body := map[int]any{2: 5, 99: "from the future", 3: 7}
	m, err := c.Decode(marshal(t, map[int]any{1: 1, 2: 16, 3: body, 42: true}))
	if err != nil {
		t.Fatal(err)
	}
	if w := m.(*wire.Welcome); w.Time != 5 || w.Session != 7 {
		t.Errorf("welcome %+v", w)
	}
	if _, err := c.Decode(marshal(t, map[int]any{1: 2, 2: 16, 3: body})); !errors.Is(err, wire.ErrVersion) {
		t.Errorf("version 2: %v", err)
	}
	if _, err := c.Decode(marshal(t, map[int]any{1: 1, 2: 200, 3: body})); !errors.Is(err, wire.ErrKind) {
		t.Errorf("kind 200: %v", err)
	}
}

func TestHostileMessages(t *testing.T) {
	c := codec(t)
	for name, b := range map[string][]byte{
		"nothing":              {},
		"too long":             make([]byte, wire.MaxMessage+1),
		"a huge array":         {0x9b, 0, 0, 0, 1, 0, 0, 0, 0},
		"a huge text":          {0xa1, 0x02, 0x7b, 0, 0, 0, 1, 0, 0, 0, 0},
		"an indefinite length": {0xbf, 1, 1, 2, 16, 3, 0xa0, 0xff},
		"a key twice":          {0xa4, 1, 1, 1, 1, 2, 16, 3, 0xa0},
		"deep":                 append(bytes.Repeat([]byte{0x81}, 64), 0),
		"more after it":        {0xa3, 1, 1, 2, 16, 3, 0xa0, 0},
	} {
		if m, err := c.Decode(b); err == nil {
			t.Errorf("%s: decoded as %+v", name, m)
		}
	}
}

func TestTopics(t *testing.T) {
	if id, ok := wire.Speaker(wire.UpTopic("abc")); !ok || id != "abc" {
		t.Errorf("speaker %q %v", id, ok)
	}
	for _, topic := range []string{"headgate/1/abc/down", "headgate/1//up", "headgate/1/a/b/up", "headgate/2/abc/up", "headgate/1/+/up"} {
		if id, ok := wire.Speaker(topic); ok {
			t.Errorf("%s: speaker %q", topic, id)
		}
	}
}

func FuzzDecode(f *testing.F) {
	c := codec(f)
	for _, m := range vectors {
		b, err := c.Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := c.Decode(b)
		if err != nil {
			return
		}
		again, err := c.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		back, err := c.Decode(again)
		if err != nil || !reflect.DeepEqual(back, m) {
			t.Fatalf("%+v came back as %+v, %v", m, back, err)
		}
	})
}
