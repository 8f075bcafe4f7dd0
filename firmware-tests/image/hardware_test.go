//go:build hardware

package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/observer"
	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// TestHardware makes the checks of a board's life that need no power switch on
// a real board that runs the image:
//
//	HEADGATE_HARDWARE='https://192.0.2.17:7070#sha256=FINGERPRINT' HEADGATE_TOKEN=TOKEN \
//	HEADGATE_HARDWARE_MQTT=192.0.2.17:1883 HEADGATE_HARDWARE_UPDATE=dist/headgate-linux-arm64 \
//	go test -count=1 -tags hardware ./firmware-tests/image
//
// Its setup file has admin.token and at least one device. What the test adds to
// it, it takes away again.
func TestHardware(t *testing.T) {
	host, mqtt, update := os.Getenv("HEADGATE_HARDWARE"), os.Getenv("HEADGATE_HARDWARE_MQTT"), os.Getenv("HEADGATE_HARDWARE_UPDATE")
	if host == "" || mqtt == "" || update == "" {
		t.Fatal("name the board: HEADGATE_HARDWARE, HEADGATE_HARDWARE_MQTT and HEADGATE_HARDWARE_UPDATE, as the comment says")
	}
	if !filepath.IsAbs(update) {
		update = filepath.Join("../..", update)
	}
	p := &plan{headgate: "../../bin/headgate", update: update}
	g, err := rig.NewRemote(p.headgate, t.TempDir(), mqtt, host, os.Getenv("HEADGATE_TOKEN"))
	if err != nil {
		t.Fatal(err)
	}
	l := &life{plan: p, board: &board{gateway: g, plan: p, dir: t.TempDir()}, judge: observer.Judge{Gateway: g}}
	t.Cleanup(func() { takeAway(t, l) })
	for _, step := range []struct {
		name string
		run  func(context.Context) (string, error)
	}{
		{"doctor finds nothing", l.allGreen},
		{"a message starts a function, which answers", l.answers},
		{"a good update is confirmed", l.goodUpdate},
		{"an update that crashes is taken back", l.crashingUpdate},
		{"an update that never is ready is taken back", l.deafUpdate},
	} {
		began := time.Now()
		detail, err := step.run(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		t.Logf("ok  %-50s %6.1f s  %s", step.name, time.Since(began).Seconds(), detail)
	}
}

// takeAway removes what the test has put on the board.
func takeAway(t *testing.T, l *life) {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	list, err := l.board.gateway.Functions(ctx)
	if err != nil {
		t.Error(err)
	}
	for _, f := range list {
		if err := l.board.gateway.Client.Do(ctx, http.MethodDelete, "/v1/functions/"+f.Name, nil, nil); err != nil {
			t.Error(err)
		}
	}
	for _, p := range l.judge.Publishers {
		if err := l.board.gateway.Client.Do(ctx, http.MethodDelete, "/v1/devices/"+p.Name, nil, nil); err != nil {
			t.Error(err)
		}
	}
	for _, s := range l.judge.Subscribers {
		if err := l.board.gateway.Client.Do(ctx, http.MethodDelete, "/v1/devices/"+s.Name, nil, nil); err != nil {
			t.Error(err)
		}
	}
}
