package main

import (
	"time"

	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// sample is what the kernel knows of a process.
type sample struct {
	cpu      time.Duration
	resident int64
	written  int64
}

func sampleProcess(pid int) (s sample, err error) {
	if s.cpu, err = rig.CPU(pid); err != nil {
		return s, err
	}
	if s.resident, err = rig.Memory(pid, "VmRSS"); err != nil {
		return s, err
	}
	s.written, err = rig.ProcField(pid, "io", "write_bytes:")
	return s, err
}
