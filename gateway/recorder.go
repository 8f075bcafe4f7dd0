package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/recording"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/sandbox"
)

func (g *Gateway) openRecorder() (err error) {
	if g.recordings, err = recording.OpenShelf(filepath.Join(g.cfg.StateDir, "recordings")); err != nil {
		return err
	}
	g.recorder = recording.New(recording.Config{
		Shelf: g.recordings, Logger: g.log, Now: g.now, Gateway: Version(), Sandbox: sandbox.Fingerprint(),
		Subject: func(name string, version int) (recording.Subject, bool) { return g.registry.Subject(name, version) },
		Stopped: func() bool { return g.store.Stopped(store.Recordings) },
	})
	return nil
}

// listeners lets the dispatcher's invocations be recorded.
type listeners struct{ *recording.Recorder }

var _ dispatch.Recorder = listeners{}

// Listener is what listens to the next invocation of a function version.
func (l listeners) Listener(function string, version int) dispatch.Listener {
	if listener := l.Recorder.Listener(function, version); listener != nil {
		return listener
	}
	return nil
}

// recordingAdmin is the recordings as the admin API shows them.
type recordingAdmin struct{ g *Gateway }

var _ admin.Recordings = recordingAdmin{}

// Start records a function's next invocations.
func (a recordingAdmin) Start(ctx context.Context, function string, order api.RecordOrder) error {
	if _, err := a.g.registry.Describe(ctx, function); err != nil {
		return err
	}
	o := recording.Order{Failures: order.Failures, Count: order.Count}
	if order.For > 0 {
		o.Until = time.Now().Add(order.For)
	}
	if err := a.g.recorder.Start(function, o); err != nil {
		return admin.Refusal(err)
	}
	return nil
}

// Stop ends that.
func (a recordingAdmin) Stop(function string) error {
	if !a.g.recorder.Stop(function) {
		return fmt.Errorf("recording of %s: %w: it is not being recorded", function, store.ErrNotFound)
	}
	return nil
}

// List shows what was recorded, newest first.
func (a recordingAdmin) List(function string) []api.Recording {
	return a.g.recordings.List(function)
}

// File is a recording, with the code that ran where that is asked for.
func (a recordingAdmin) File(ctx context.Context, id string, code bool) ([]byte, error) {
	r, err := a.g.recordings.Get(id)
	if err != nil {
		return nil, missing(err)
	}
	if code {
		if r.Bundle, err = a.g.store.Bundle(ctx, r.Spec.Name, r.Version); err != nil {
			return nil, fmt.Errorf("code of recording %s, %s@%d: %w; ask for the recording without its code", id, r.Spec.Name, r.Version, err)
		}
	}
	var file bytes.Buffer
	err = r.Encode(&file)
	return file.Bytes(), err
}

// Drop deletes a recording.
func (a recordingAdmin) Drop(id string) error { return missing(a.g.recordings.Drop(id)) }

func missing(err error) error {
	if errors.Is(err, recording.ErrNotFound) {
		return admin.Missing(err)
	}
	return err
}
