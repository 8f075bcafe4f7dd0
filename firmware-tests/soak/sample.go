package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// sample is what the gateway takes at one moment.
type sample struct {
	resident, goroutines, descriptors, heap, files int64
}

const header = "   time  resident MB   heap MB  goroutines  descriptors  files MB"

func (s *sample) line(at time.Duration) string {
	return fmt.Sprintf("%7s %12.1f %9.1f %11d %12d %9.1f", at.Round(time.Second), float64(s.resident)/1e6, float64(s.heap)/1e6,
		s.goroutines, s.descriptors, float64(s.files)/1e6)
}

// measure is one that must be flat, but for slack.
type measure struct {
	name  string
	of    func(*sample) int64
	slack int64
}

var measures = []measure{
	{"resident", func(s *sample) int64 { return s.resident }, 8 << 20},
	{"heap", func(s *sample) int64 { return s.heap }, 4 << 20},
	{"goroutines", func(s *sample) int64 { return s.goroutines }, 40},
	{"descriptors", func(s *sample) int64 { return s.descriptors }, 20},
	{"files", func(s *sample) int64 { return s.files }, 8 << 20},
}

func median(list []sample, m measure) int64 {
	values := make([]int64, len(list))
	for i := range list {
		values[i] = m.of(&list[i])
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func takeSample(ctx context.Context, g *rig.Gateway) (s sample, err error) {
	if s.resident, err = rig.Memory(g.Pid(), "VmRSS"); err != nil {
		return s, err
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.Pid()))
	if err != nil {
		return s, err
	}
	s.descriptors = int64(len(open))
	err = filepath.WalkDir(filepath.Join(g.Dir, "state"), func(_ string, e os.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // it was removed meanwhile
			err = nil
		} else if err == nil && e.Type().IsRegular() {
			if info, gone := e.Info(); gone == nil {
				s.files += info.Size()
			}
		}
		return err
	})
	if err != nil {
		return s, err
	}
	figures, err := g.Metrics(ctx)
	if err != nil {
		return s, err
	}
	s.goroutines, s.heap = int64(figures["go_goroutines"]), int64(figures["go_memstats_heap_inuse_bytes"])
	if s.goroutines == 0 || s.heap == 0 {
		return s, fmt.Errorf("/metrics shows %d goroutines and a heap of %d bytes", s.goroutines, s.heap)
	}
	return s, nil
}
