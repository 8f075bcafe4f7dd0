package server

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// drops is a body that gives one byte at a time.
type drops struct{}

func (drops) Read(b []byte) (int, error) { return copy(b[:1], "x"), nil }

// A tenant has never all places for uploads, and none that hardly moves.
func TestUploadsOfOneTenant(t *testing.T) {
	p := &places{ofTenant: map[string]int{}}
	for i, want := range []bool{true, true, true, false} {
		if got := p.enter("acme"); got != want {
			t.Errorf("upload %d: %v", i, got)
		}
	}
	if !p.enter("other") {
		t.Error("another tenant has no place")
	}
	for range 3 {
		p.leave("acme")
	}
	if p.leave("other"); p.all != 0 || len(p.ofTenant) != 0 {
		t.Errorf("%+v", p)
	}
	now := time.Unix(0, 0)
	clock := func() time.Time { return now }
	body := &patient{Reader: drops{}, control: http.NewResponseController(httptest.NewRecorder()), now: clock, began: now}
	for range 100 {
		now = now.Add(50 * time.Second)
		if _, err := io.CopyN(io.Discard, body, 1); err != nil {
			if !errors.Is(err, errSlow) || now.Unix() > 120 {
				t.Errorf("after %v: %v", now, err)
			}
			return
		}
	}
	t.Error("a byte every 50 seconds is an upload")
}
