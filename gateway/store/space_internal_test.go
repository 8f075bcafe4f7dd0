package store

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
)

// fakeDisk is a disk whose free space a test sets.
type fakeDisk struct{ free atomic.Int64 }

func (d *fakeDisk) space(string) (int64, int64, error) { return d.free.Load(), 1 << 40, nil }

func openOn(t *testing.T, d *fakeDisk) *Store {
	t.Helper()
	s, err := Open(context.Background(), Config{
		Path: filepath.Join(t.TempDir(), "headgate.db"), MinFreeBytes: 1000, BallastBytes: -1, SweepEvery: time.Hour, DiskEvery: time.Hour,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), freeSpace: d.space,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

// TestFallingSpace lets space fall and rise: classes stop in order, and come
// back by themselves, not at the very mark.
func TestFallingSpace(t *testing.T) {
	d := &fakeDisk{}
	d.free.Store(1 << 30)
	s := openOn(t, d)
	var told []Class // by OnSpace; on this goroutine
	s.OnSpace(func(sp Space) { told = sp.Stopped })
	for _, step := range []struct {
		free    int64
		stopped []Class
	}{
		{8000, nil},
		{7999, []Class{Recordings}},
		{5999, []Class{Recordings, Logs}},
		{3999, []Class{Recordings, Logs, Telemetry}},
		{1999, []Class{Recordings, Logs, Telemetry, Blobs}},
		{999, []Class{Recordings, Logs, Telemetry, Blobs, Events}},
		{1001, []Class{Recordings, Logs, Telemetry, Blobs, Events}},
		{1125, []Class{Recordings, Logs, Telemetry, Blobs}},
		{8999, []Class{Recordings}},
		{9000, nil},
	} {
		d.free.Store(step.free)
		s.checkDisk()
		if got := s.Space().Stopped; !slices.Equal(got, step.stopped) {
			t.Errorf("%d free: stopped %v, want %v", step.free, got, step.stopped)
		}
		if !slices.Equal(told, step.stopped) {
			t.Errorf("%d free: told of %v, want %v", step.free, told, step.stopped)
		}
	}
}

// TestFullDiskClasses fills the disk: what grows is refused, what shrinks goes
// on.
func TestFullDiskClasses(t *testing.T) {
	ctx := context.Background()
	d := &fakeDisk{}
	d.free.Store(1 << 30)
	s := openOn(t, d)
	if err := s.SetState(ctx, "fn", "old", []byte("value"), 0); err != nil {
		t.Fatal(err)
	}
	row := &QueueRow{Function: s.Function("fn"), Arrived: time.Now(), Event: &event.Event{ID: "1", Data: []byte("data")}}
	seal := func(u *Unit) error {
		done := make(chan error, 1)
		u.Done = func(err error) { done <- err }
		if _, err := s.Seal(u); err != nil {
			return err
		}
		return <-done
	}
	if err := seal(&Unit{Insert: []*QueueRow{row}}); err != nil {
		t.Fatal(err)
	}
	d.free.Store(10)
	s.checkDisk()

	full := func(what string, err error) {
		var quota *QuotaError
		if !errors.As(err, &quota) || quota.What != "disk" {
			t.Errorf("%s: %v", what, err)
		}
	}
	full("a new row", seal(&Unit{Insert: []*QueueRow{{Function: row.Function, Arrived: time.Now(), Event: row.Event}}}))
	full("growing state", s.SetState(ctx, "fn", "new", []byte("value"), 0))
	_, err := s.PutVersion(ctx, Version{Function: "fn"}, []byte("bundle"))
	full("a new version", err)
	full("a backup", s.Backup(ctx, filepath.Join(t.TempDir(), "copy")))

	if _, found, err := s.GetState(ctx, "fn", "old"); err != nil || !found {
		t.Errorf("reading: %v, %v", found, err)
	}
	grow := function.Write{Namespace: "fn", Key: "sum", Value: []byte("bigger than before")}
	if err := seal(&Unit{Delete: []*QueueRow{row}, Slots: []Slot{{Writes: []function.Write{grow}}}}); err != nil {
		t.Errorf("settling a row: %v", err)
	}
	if err := s.DeleteState(ctx, "fn", "old"); err != nil {
		t.Errorf("deleting: %v", err)
	}
	d.free.Store(1 << 30)
	s.checkDisk()
	if err := s.SetState(ctx, "fn", "new", []byte("value"), 0); err != nil {
		t.Errorf("after there is room: %v", err)
	}
}

// TestFunctionQuota refuses functions beyond the bounds, and keeps what is
// there.
func TestFunctionQuota(t *testing.T) {
	ctx := context.Background()
	s, err := Open(ctx, Config{Path: filepath.Join(t.TempDir(), "headgate.db"), MinFreeBytes: -1, MaxFunctions: 3, MaxBundleBytes: 1000, MaxVersions: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close(ctx) }()
	put := func(name string, bytes int) error {
		_, err := s.PutVersion(ctx, Version{Function: name}, make([]byte, bytes), "live")
		return err
	}
	for _, name := range []string{"a", "b", "c", "a", "a"} {
		if err := put(name, 100); err != nil {
			t.Fatal(err)
		}
	}
	var quota *QuotaError
	if err := put("d", 100); !errors.As(err, &quota) || quota.What != "functions" || quota.Limit != 3 {
		t.Errorf("a fourth function: %v", err)
	}
	if err := put("c", 700); !errors.As(err, &quota) || quota.Limit != 1000 {
		t.Errorf("more bytes than there may be: %v", err)
	}
	if v, err := s.Versions(ctx, "c"); err != nil || len(v) != 1 {
		t.Errorf("after the refusal c has %v, %v", v, err)
	}
}
