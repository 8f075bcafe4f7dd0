package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// sample is what the kernel knows of a process.
type sample struct {
	cpu      time.Duration
	resident int64
	written  int64
}

// clockTick is the unit of /proc/PID/stat: USER_HZ, 100 on every Linux port
// (proc(5)).
const clockTick = 10 * time.Millisecond

func sampleProcess(pid int) (s sample, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return s, err
	}
	// Field 2 is the name in brackets and may contain spaces.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	for _, f := range fields[11:13] { // utime and stime, fields 14 and 15
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return s, err
		}
		s.cpu += time.Duration(n) * clockTick
	}
	if s.resident, err = procField(pid, "status", "VmRSS:"); err != nil {
		return s, err
	}
	s.resident <<= 10
	s.written, err = procField(pid, "io", "write_bytes:")
	return s, err
}

func procField(pid int, file, name string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/%d/%s has no %s", pid, file, name)
}
