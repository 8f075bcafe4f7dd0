package client

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPinned(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }))
	s.StartTLS()
	defer s.Close()
	sum := sha256.Sum256(s.Certificate().Raw)
	right := hex.EncodeToString(sum[:])
	try := func(host string) error {
		c, err := New(host, "token")
		if err != nil {
			return err
		}
		defer c.Close()
		return c.Do(t.Context(), http.MethodGet, "/readyz", nil, nil)
	}
	if err := try(s.URL + "#sha256=" + right); err != nil {
		t.Error(err)
	}
	if err := try(s.URL + "#sha256=" + strings.Repeat("00", 32)); !errors.Is(err, errOtherCertificate) {
		t.Error(err)
	}
	if err := try(s.URL); err == nil || !strings.Contains(err.Error(), "#sha256=") {
		t.Error(err)
	}
	for _, bad := range []string{"#sha256=12", "#md5=" + right, "#" + right} {
		if _, err := New(s.URL+bad, ""); err == nil || !strings.Contains(err.Error(), "64 digits") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
