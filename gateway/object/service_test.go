package object_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/object"
	"github.com/headgate-io/headgate/gateway/store"
)

// slowDispatcher commits after it was let go, unless its caller leaves before.
type slowDispatcher struct {
	asked, let chan struct{}
	store      *store.Store
}

func (d *slowDispatcher) Decide(ctx context.Context, _, _ string, decide func(*store.View) (function.Effects, error)) error {
	v := d.store.View()
	defer v.Release()
	e, err := decide(v)
	if err != nil {
		return err
	}
	close(d.asked)
	select {
	case <-d.let:
	case <-ctx.Done():
	}
	done := make(chan error, 1)
	_, err = d.store.Seal(&store.Unit{Slots: []store.Slot{{View: v, Writes: e.Stored()}}, Done: func(err error) { done <- err }})
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return <-done
}

// TestUploaderLeaves keeps the content of an upload whose uploader has left
// until it is known what became of its row.
func TestUploaderLeaves(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(dir, "headgate.db")})
	if err != nil {
		t.Fatal(err)
	}
	v, err := object.New(object.Config{Dir: filepath.Join(dir, "objects"), Buckets: []object.Bucket{{Name: "b", Quota: 100, MaxObject: 100, MaxObjects: 10}}}, s)
	if err != nil {
		t.Fatal(err)
	}
	d := &slowDispatcher{asked: make(chan struct{}), let: make(chan struct{}), store: s}
	v.Start(d, func() string { return "1" })
	t.Cleanup(func() {
		v.Close()
		if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	ctx, leave := context.WithCancel(t.Context())
	put := make(chan error, 1)
	go func() {
		_, err := v.Put(ctx, object.Upload{Bucket: "b", Key: "k", Body: strings.NewReader("content"), Length: 7})
		put <- err
	}()
	<-d.asked
	leave()
	select {
	case err := <-put:
		t.Fatalf("the upload ended before its row was decided on: %v", err)
	case <-time.After(50 * time.Millisecond): // nothing is to happen
	}
	close(d.let)
	if err := <-put; err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	o, f, err := v.Open(t.Context(), "b", "k")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := os.ReadFile(f.Name()); err != nil || string(b) != "content" || o.Size != 7 {
		t.Errorf("%q, %v, %+v", b, err, o)
	}
}
