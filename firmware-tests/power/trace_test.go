package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What a trace says is there is there, and nothing else; a call counts from its
// beginning, and one that failed not at all.
func TestNames(t *testing.T) {
	for trace, there := range map[string][]string{
		"7     openat(AT_FDCWD, \"ROOT/new\", O_RDWR|O_CREAT|O_EXCL, 0600) = 3\n":                                                    {"old", "new"},
		"7     openat(AT_FDCWD, \"ROOT/new\", O_RDWR|O_CREAT|O_EXCL, 0600 <unfinished ...>\n7     <... openat resumed>) = 3\n":       {"old", "new"},
		"7     openat(AT_FDCWD, \"ROOT/new\", O_RDWR|O_CREAT|O_EXCL, 0600) = -1 ENOSPC (No space left on device)\n":                  {"old"},
		"7     unlinkat(AT_FDCWD, \"ROOT/old\", 0 <unfinished ...>\n7     <... unlinkat resumed>) = 0\n":                             {},
		"7     unlinkat(AT_FDCWD, \"ROOT/old\", 0 <unfinished ...>\n7     <... unlinkat resumed>) = -1 EROFS (Read-only)\n":          {"old"},
		"7     renameat(AT_FDCWD, \"ROOT/old\", AT_FDCWD, \"ROOT/new\") = 0\n":                                                       {"new"},
		"7     write(4<TCP:[127.0.0.1:1->127.0.0.1:2]>, \"x\", 1 <unfinished ...>\n7     <... write resumed>) = -1 EPIPE (Broken)\n": {"old"},
	} {
		if err := after(t, trace, there); err != nil {
			t.Errorf("%q there after %q: %v", there, trace, err)
		}
		if after(t, trace, slices.Concat(there, []string{"foreign"})) == nil {
			t.Errorf("a file that nobody made is taken after %q", trace)
		}
		for i := range there {
			if after(t, trace, slices.Delete(slices.Clone(there), i, i+1)) == nil {
				t.Errorf("without %s it is taken too after %q", there[i], trace)
			}
		}
	}
}

// A trace that ends within a call says too little.
func TestEndedWithin(t *testing.T) {
	for _, trace := range []string{
		"7     unlinkat(AT_FDCWD, \"ROOT/old\", 0 <unfinished ...>\n",
		"7     fsync(3<ROOT/old> <unfinished ...>\n",
	} {
		if err := after(t, trace, []string{"old"}); err == nil || !strings.Contains(err.Error(), "within a call") {
			t.Errorf("after %q: %v", trace, err)
		}
	}
}

// after has a folder with the file old, a trace, and what is there after it.
func after(t *testing.T, trace string, there []string) error {
	t.Helper()
	root := t.TempDir()
	put := func(name string) {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("old")
	d, err := newDisk(root)
	if err != nil {
		t.Fatal(err)
	}
	calls, err := readTrace(strings.NewReader(strings.ReplaceAll(trace, "ROOT", root)), root)
	if err != nil {
		return err
	}
	for i := range calls {
		d.apply(i, &calls[i])
	}
	if err := os.Remove(filepath.Join(root, "old")); err != nil {
		t.Fatal(err)
	}
	for _, name := range there {
		put(name)
	}
	return d.same(root)
}
