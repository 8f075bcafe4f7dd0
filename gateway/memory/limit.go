// Package memory keeps the gateway within the memory that it may take, so that
// the kernel's OOM killer never has to choose: it finds out how much that is,
// shares it out, and watches what is taken.
package memory

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Limit is how much memory there is for the gateway.
type Limit struct {
	// Bytes is the budget.
	Bytes int64
	// Source says where it is from, for people.
	Source string
}

// Of a control group the gateway takes nearly all, since nobody else is in it;
// of a machine half, since others work there.
const (
	ofGroup   = 90
	ofMachine = 50
)

// Detect returns the budget: what is configured, else a share of the control
// group's limit or of the machine's memory, whichever is less. root is the
// file system to look in, os.DirFS("/") but in tests.
func Detect(root fs.FS, configured int64) (Limit, error) {
	if configured > 0 {
		return Limit{configured, "memory.budget"}, nil
	}
	total, err := machine(root)
	if err != nil {
		return Limit{}, fmt.Errorf("find out how much memory there is: %w: set memory.budget", err)
	}
	l := Limit{total * ofMachine / 100, fmt.Sprintf("%d %% of the machine's %d MiB", ofMachine, total>>20)}
	if group, name := controlGroup(root); group > 0 && group*ofGroup/100 < l.Bytes {
		l = Limit{group * ofGroup / 100, fmt.Sprintf("%d %% of the %d MiB of control group %s", ofGroup, group>>20, name)}
	}
	return l, nil
}

// machine is MemTotal (proc_meminfo(5)).
func machine(root fs.FS) (int64, error) {
	text, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			return kilobytes(rest)
		}
	}
	return 0, fmt.Errorf("/proc/meminfo has no MemTotal")
}

// controlGroup is the smallest limit of the process's control group and those
// above it (cgroups(7)): memory.max of version 2, memory.limit_in_bytes of
// version 1. 0 is none.
func controlGroup(root fs.FS) (smallest int64, name string) {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0, ""
	}
	for line := range strings.Lines(strings.TrimSpace(string(text))) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		mount, file := "sys/fs/cgroup", "memory.max"
		switch controllers := strings.Split(fields[1], ","); {
		case fields[0] == "0" && fields[1] == "":
		case slices.Contains(controllers, "memory"):
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for dir := path.Clean("/" + fields[2]); ; dir = path.Dir(dir) {
			if n, ok := readLimit(root, path.Join(mount, dir, file)); ok && (smallest == 0 || n < smallest) {
				smallest, name = n, dir
			}
			if dir == "/" {
				break
			}
		}
	}
	return smallest, name
}

// kilobytes reads a figure of /proc: "  123 kB".
func kilobytes(text string) (bytes int64, err error) {
	kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "kB")), 10, 64)
	return kb << 10, err
}

// unlimited is about what version 1 says where there is no limit.
const unlimited = 1 << 60

func readLimit(root fs.FS, file string) (int64, bool) {
	text, err := fs.ReadFile(root, file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64) // "max" is none
	return n, err == nil && n > 0 && n < unlimited
}

// Resident is what the process takes now and the kernel cannot have back by
// itself: not the pages of the program's own file, which it drops when memory
// is scarce and reads again.
func Resident() (int64, error) { return resident(os.DirFS("/")) }

func resident(root fs.FS) (int64, error) {
	text, err := fs.ReadFile(root, "proc/self/status")
	if err != nil {
		return 0, err
	}
	sum, found := int64(0), false
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "RssAnon" && name != "RssShmem" {
			continue
		}
		n, err := kilobytes(value)
		if err != nil {
			return 0, fmt.Errorf("/proc/self/status: %q", line)
		}
		sum, found = sum+n, true
	}
	if !found {
		return 0, errors.New("/proc/self/status: no RssAnon")
	}
	return sum, nil
}
