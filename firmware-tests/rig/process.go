package rig

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of /proc/PID/stat: USER_HZ, 100 on every Linux port
// (proc(5)).
const clockTick = 10 * time.Millisecond

// CPU is what a process has used.
func CPU(pid int) (used time.Duration, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// Field 2 is the name in brackets and may contain spaces.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	for _, f := range fields[11:13] { // utime and stime, fields 14 and 15
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		used += time.Duration(n) * clockTick
	}
	return used, nil
}

// Memory is a figure of /proc/PID/status that is told in kilobytes: VmRSS is
// what the process has resident, VmHWM the most it has had.
func Memory(pid int, name string) (int64, error) {
	kb, err := ProcField(pid, "status", name+":")
	return kb << 10, err
}

// ProcField is the number behind a name in a file below /proc/PID.
func ProcField(pid int, file, name string) (int64, error) {
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
