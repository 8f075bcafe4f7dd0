package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"syscall"
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
		"strace", "-D", "-f", "--seccomp-bpf", "-yy", "-xx", "-s", "16777216", "-e", "signal=SIGSTOP", "-o", trace,
		"-e", "trace=?open,openat,pwrite64,pwritev,pwritev2,write,writev,ftruncate,fallocate,fsync,fdatasync,sync_file_range,copy_file_range,sendfile,rename,renameat,renameat2,unlink,unlinkat",
	}
	if err := g.Start(ctx); err != nil {
		return nil, err
	}
	publish(ctx, g, pubs, up, p.load)
	if err := errors.Join(standStill(ctx, g.Pid(), trace), g.Kill()); err != nil {
		return nil, err
	}
	for _, pub := range pubs {
		pub.Disconnect()
		rec.publishers[pub.Address] = pub
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

var stopped = regexp.MustCompile(`(?m)^(\d+) +--- stopped by SIGSTOP ---$`)

// standStill stops the gateway where none of its threads is within a call: the
// trace then has all that it did, and how it ended.
func standStill(ctx context.Context, pid int, trace string) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, 2*time.Minute)
	defer stop()
	for {
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return err
		}
		text, err := os.ReadFile(trace)
		if err != nil {
			return err
		}
		still := map[string]bool{}
		for _, m := range stopped.FindAllSubmatch(text, -1) {
			still[string(m[1])] = true
		}
		moving := slices.DeleteFunc(threads, func(thread os.DirEntry) bool { return still[thread.Name()] })
		if len(moving) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of the gateway's threads do not stop", len(moving))
		case <-time.After(100 * time.Millisecond):
		}
	}
}
