package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/observer"
	"github.com/headgate-io/headgate/firmware-tests/rig"
)

const (
	publishers = 4
	absent     = "sub-0"
)

// recording is one run of a gateway: the disk before it, and its calls.
type recording struct {
	before     *disk
	calls      []call
	publishers map[string]*observer.Publisher // by address
}

// record runs a gateway under load and strace.
func record(ctx context.Context, p plan, dir string) (*recording, error) {
	g, err := observer.NewGateway(p.binary, dir)
	if err != nil {
		return nil, err
	}
	up, err := declareBucket(g)
	if err != nil {
		return nil, err
	}
	pubs, err := prepare(ctx, g, up)
	if err != nil {
		return nil, errors.Join(err, g.Kill())
	}
	state := filepath.Join(dir, "state")
	rec := &recording{publishers: map[string]*observer.Publisher{}}
	if rec.before, err = newDisk(state); err != nil {
		return nil, err
	}
	trace := filepath.Join(dir, "trace")
	g.Env = p.env
	// With -D the gateway stays this program's child, and strace its own.
	g.Wrap = []string{
		"strace", "-D", "-f", "--seccomp-bpf", "-yy", "-xx", "-s", "16777216", "-e", "signal=none", "-o", trace,
		"-e", "trace=?open,openat,pwrite64,pwritev,pwritev2,write,writev,ftruncate,fallocate,fsync,fdatasync,sync_file_range,copy_file_range,sendfile,rename,renameat,renameat2,unlink,unlinkat",
	}
	if err := g.Start(ctx); err != nil {
		return nil, err
	}
	publish(ctx, g, pubs, up, p.load)
	if err := g.Kill(); err != nil {
		return nil, err
	}
	for _, pub := range pubs {
		pub.Disconnect()
		rec.publishers[pub.Address] = pub
	}
	if err := waitComplete(ctx, trace); err != nil {
		return nil, err
	}
	f, err := os.Open(trace)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rec.calls, err = readTrace(f, state)
	return rec, err
}

// prepare deploys, adds the devices and the uploaders' key, and stops.
func prepare(ctx context.Context, g *rig.Gateway, up *uploads) ([]*observer.Publisher, error) {
	if err := g.Start(ctx); err != nil {
		return nil, err
	}
	pubs, err := observer.AddPublishers(ctx, g, publishers)
	if err != nil {
		return nil, err
	}
	// A durable subscriber that never comes back: all that is published is for
	// it, and stays.
	s := observer.NewSubscriber(absent, 1, "count/+", "out/+")
	if s.Password, err = g.AddDevice(ctx, s.Name, nil, s.Filters); err != nil {
		return nil, err
	}
	if err := s.Connect(ctx, g.Address); err != nil {
		return nil, err
	}
	s.Disconnect()
	if err := observer.DeployAlone(ctx, g); err != nil {
		return nil, err
	}
	if err := up.addKey(ctx, g); err != nil {
		return nil, err
	}
	return pubs, g.Stop()
}

func publish(ctx context.Context, g *rig.Gateway, pubs []*observer.Publisher, up *uploads, load time.Duration) {
	ctx, stop := context.WithTimeout(ctx, load)
	defer stop()
	var wg sync.WaitGroup
	for _, p := range pubs {
		wg.Go(func() { p.Run(ctx, g.Address, false) })
	}
	wg.Go(func() { up.run(ctx) })
	wg.Wait()
}

// waitComplete waits until strace has written the gateway's end.
func waitComplete(ctx context.Context, trace string) error {
	ctx, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	for size := int64(-1); ; {
		info, err := os.Stat(trace)
		if err != nil {
			return err
		}
		if info.Size() == size {
			return nil
		}
		size = info.Size()
		select {
		case <-ctx.Done():
			return errors.New("strace does not come to an end")
		case <-time.After(300 * time.Millisecond):
		}
	}
}
