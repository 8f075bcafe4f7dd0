package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fake is an adapter that notes what it is told.
type fake struct {
	told      []string
	connected bool
	lasted    time.Duration
	err       error // of the next Connected
	refuse    error // of Connect
}

func (f *fake) note(format string, args ...any) {
	f.told = append(f.told, fmt.Sprintf(format, args...))
}

func (f *fake) Name() string          { return "wlan0" }
func (f *fake) Up() error             { f.note("up"); return nil }
func (f *fake) Region(c string) error { f.note("region %s", c); return nil }
func (f *fake) Disconnect() error     { f.note("disconnect"); f.connected = false; return nil }
func (f *fake) Close() error          { f.note("close"); return nil }

func (f *fake) Connected() (time.Duration, bool, error) {
	err := f.err
	f.err = nil
	return f.lasted, f.connected, err
}

func (f *fake) Connect(n Network) error {
	f.note("connect %s %s", n.SSID, n.PSK)
	if f.refuse == nil {
		f.connected, f.lasted = true, 0
	}
	return f.refuse
}

// world is a station over a fake adapter.
type world struct {
	*station
	radio *fake
	said  []string
	// leases is how often an address was asked for, running how many ask now.
	leases, running int
}

func newWorld() *world {
	w := &world{radio: &fake{}}
	w.station = &station{
		open: func() (radio, error) { return w.radio, nil },
		dhcp: func(ctx context.Context, _ string) { w.leases++; w.running++; <-ctx.Done(); w.running-- },
		say:  func(format string, args ...any) { w.said = append(w.said, fmt.Sprintf(format, args...)) },
	}
	return w
}

var farm = Network{SSID: "Farm", PSK: "correct horse", Country: "ES"}

// steps takes n steps, five seconds apart.
func (w *world) steps(t *testing.T, n int, to Network) {
	for range n {
		w.step(t.Context(), to)
		synctest.Wait()
		w.radio.lasted += 5 * time.Second
	}
}

func (w *world) want(t *testing.T, told ...string) {
	t.Helper()
	if !reflect.DeepEqual(w.radio.told, told) {
		t.Errorf("the adapter was told %q, not %q", w.radio.told, told)
	}
	w.radio.told = nil
}

func TestJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		defer w.close()
		w.steps(t, 5, farm)
		w.want(t, "up", "region ES", "connect Farm correct horse")
		if w.leases != 1 || w.running != 1 {
			t.Errorf("an address was asked for %d times, %d still run", w.leases, w.running)
		}
		if want := []string{`connecting to "Farm"`, `wlan0 is connected to "Farm"`}; !reflect.DeepEqual(w.said, want) {
			t.Errorf("it said %q", w.said)
		}
	})
}

// TestComesBack: a connection that was lost is made again, and its address asked
// for anew; also where it came back by itself between two looks.
func TestComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		defer w.close()
		w.steps(t, 3, farm)
		w.radio.connected = false
		w.steps(t, 3, farm)
		w.want(t, "up", "region ES", "connect Farm correct horse", "connect Farm correct horse")
		if w.leases != 2 || w.running != 1 {
			t.Errorf("after a loss an address was asked for %d times, %d still run", w.leases, w.running)
		}
		w.radio.lasted = time.Second
		w.steps(t, 2, farm)
		w.want(t)
		if w.leases != 3 || w.running != 1 {
			t.Errorf("after a short loss an address was asked for %d times, %d still run", w.leases, w.running)
		}
	})
}

func TestOtherNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		defer w.close()
		w.steps(t, 3, farm)
		w.steps(t, 3, Network{SSID: "Barn"})
		w.want(t, "up", "region ES", "connect Farm correct horse", "disconnect", "connect Barn ")
		if w.leases != 2 || w.running != 1 {
			t.Errorf("an address was asked for %d times, %d still run", w.leases, w.running)
		}
	})
}

// TestWrongPassphrase: it goes on trying and says why once, not every time.
func TestWrongPassphrase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		defer w.close()
		w.radio.refuse = errors.New("refused")
		w.steps(t, 4, farm)
		w.want(t, "up", "region ES", "connect Farm correct horse", "connect Farm correct horse", "connect Farm correct horse", "connect Farm correct horse")
		if w.leases != 0 || !strings.Contains(strings.Join(w.said, "\n"), `connect to "Farm": refused`) {
			t.Errorf("%d leases; it said %q", w.leases, w.said)
		}
	})
}

// TestAdapterGoesAndComes: one that is pulled out is looked for anew.
func TestAdapterGoesAndComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		defer w.close()
		w.steps(t, 3, farm)
		w.radio.err = errors.New("no such device")
		there := w.open
		w.open = func() (radio, error) { return nil, nil }
		w.steps(t, 3, farm)
		if w.running != 0 {
			t.Error("an address is asked for on an adapter that is gone")
		}
		w.want(t, "up", "region ES", "connect Farm correct horse", "close")
		w.open = there
		w.steps(t, 3, farm)
		w.want(t, "up", "region ES", "connect Farm correct horse")
		absent := 0
		for _, s := range w.said {
			if strings.Contains(s, "no Wi-Fi adapter") {
				absent++
			}
		}
		if absent != 1 {
			t.Errorf("it said %q", w.said)
		}
	})
}

func TestReadNetwork(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wifi.json")
	if _, named, err := readNetwork(path); named || err != nil {
		t.Errorf("no file: %v %v", named, err)
	}
	for content, fault := range map[string]string{
		`{"ssid":"Farm","psk":"correct horse","country":"ES"}`: "",
		`{"ssid":""}`: "ssid is missing",
		`{"ssid":`:    "unexpected end",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		n, named, err := readNetwork(path)
		switch {
		case fault == "" && (err != nil || !named || n != farm):
			t.Errorf("%s: %+v %v %v", content, n, named, err)
		case fault != "" && (err == nil || !strings.Contains(err.Error(), fault)):
			t.Errorf("%s: %v", content, err)
		}
	}
}
