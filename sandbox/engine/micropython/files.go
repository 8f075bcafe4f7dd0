package micropython

import (
	"encoding/binary"
	"path"
	"strings"
)

// Error numbers and other constants of the C library that the engine was
// built with.
const (
	noEntry      = 44
	readOnly     = 69
	tooMany      = 33
	notSupported = 52

	modeDirectory = 0o40555
	modeFile      = 0o100444
	writeFlags    = 0o3 | 0o100 | 0o1000 // write, read and write, create, truncate

	statBytes = 96
)

const (
	maxPathBytes = 512
	maxOpenFiles = 16
	firstFD      = 3
)

// files is the read-only file system of a program: its own files, which are
// found from the project's folder and from that of the main file, and lib.
type files struct {
	content map[string][]byte
	own     map[string][]byte
	folders map[string]bool
	home    string // the folder of the main file
}

func newFiles(main string, own, library map[string][]byte) *files {
	f := &files{content: map[string][]byte{}, own: own, folders: map[string]bool{".": true}, home: path.Dir(main)}
	for _, list := range []map[string][]byte{own, library} {
		for name, b := range list {
			f.content[name] = b
			for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
				f.folders[dir] = true
			}
		}
	}
	return f
}

// find returns the name of the file or folder that a script calls by name.
func (f *files) find(name string) (found string, folder, ok bool) {
	clean := path.Clean("/" + name)[1:]
	if clean == "" {
		clean = "."
	}
	for _, candidate := range [...]string{clean, path.Join(f.home, clean)} {
		if _, ok := f.content[candidate]; ok {
			return candidate, false, true
		}
		if f.folders[candidate] {
			return candidate, true, true
		}
	}
	return "", false, false
}

// openFile is a file that a script reads.
type openFile struct {
	data     []byte
	position int
	used     bool
}

func fail(errno int32) uint64 { return uint64(uint32(-errno)) }

// addFiles defines the system calls of the file system. Writing calls are
// refused.
func (m *imports) addFiles() {
	stat := func(g *Guest, name, buf uint64) uint64 {
		found, folder, ok := g.state.files.find(g.cString(uint32(name)))
		if !ok {
			return fail(noEntry)
		}
		b := g.bytes(uint32(buf), statBytes)
		clear(b)
		mode := uint32(modeFile)
		if folder {
			mode = modeDirectory
		}
		binary.LittleEndian.PutUint32(b[4:], mode)
		binary.LittleEndian.PutUint64(b[24:], uint64(len(g.state.files.content[found])))
		return 0
	}
	m.add("__syscall_stat64", 2, 1, func(g *Guest, s []uint64) { s[0] = stat(g, s[0], s[1]) })
	m.add("__syscall_lstat64", 2, 1, func(g *Guest, s []uint64) { s[0] = stat(g, s[0], s[1]) })
	m.add("__syscall_newfstatat", 4, 1, func(g *Guest, s []uint64) { s[0] = stat(g, s[1], s[2]) })
	m.add("__syscall_openat", 4, 1, func(g *Guest, s []uint64) { s[0] = g.openFile(g.cString(uint32(s[1])), uint32(s[2])) })
	m.add("__syscall_getcwd", 2, 1, func(g *Guest, s []uint64) {
		if uint32(s[1]) >= 2 {
			copy(g.bytes(uint32(s[0]), 2), "/\x00")
		}
		s[0] = 2
	})
	for name, params := range map[string]int{"__syscall_mkdirat": 3, "__syscall_renameat": 4, "__syscall_rmdir": 1, "__syscall_unlinkat": 3} {
		m.add(name, params, 1, func(_ *Guest, s []uint64) { s[0] = fail(readOnly) })
	}
	for name, params := range map[string]int{"__syscall_chdir": 1, "__syscall_poll": 3, "__syscall_getdents64": 3, "__syscall_fstat64": 2, "__syscall_statfs64": 3} {
		m.add(name, params, 1, func(_ *Guest, s []uint64) { s[0] = fail(notSupported) })
	}
}

func (g *Guest) openFile(name string, flags uint32) uint64 {
	if flags&writeFlags != 0 {
		return fail(readOnly)
	}
	found, folder, ok := g.state.files.find(name)
	if !ok || folder {
		return fail(noEntry)
	}
	f := openFile{data: g.state.files.content[found], used: true}
	for i := range g.open {
		if !g.open[i].used {
			g.open[i] = f
			return uint64(firstFD + i)
		}
	}
	if len(g.open) == maxOpenFiles {
		return fail(tooMany)
	}
	g.open = append(g.open, f)
	return uint64(firstFD + len(g.open) - 1)
}

func (g *Guest) file(fd uint32) *openFile {
	if i := fd - firstFD; i < uint32(len(g.open)) && g.open[i].used {
		return &g.open[i]
	}
	return nil
}

// ReadFile reads on in an open file.
func (g *Guest) ReadFile(fd uint32, dst []byte) (int, bool) {
	f := g.file(fd)
	if f == nil {
		return 0, false
	}
	n := copy(dst, f.data[f.position:])
	f.position += n
	return n, true
}

// SeekFile moves in an open file: whence 0 counts from its start, 1 from
// where it is, 2 from its end.
func (g *Guest) SeekFile(fd uint32, offset int64, whence uint32) (int64, bool) {
	f := g.file(fd)
	if f == nil {
		return 0, false
	}
	switch whence {
	case 1:
		offset += int64(f.position)
	case 2:
		offset += int64(len(f.data))
	}
	f.position = int(min(max(offset, 0), int64(len(f.data))))
	return int64(f.position), true
}

// CloseFile closes an open file.
func (g *Guest) CloseFile(fd uint32) bool {
	f := g.file(fd)
	if f == nil {
		return false
	}
	*f = openFile{}
	return true
}

// maxFrames is how many places an error names, the innermost first.
const maxFrames = 3

// explain makes one line of a traceback: what was raised, and where in the
// author's files.
func (f *files) explain(kind, trace string) string {
	var frames []string
	message := strings.TrimSpace(trace)
	rest := strings.TrimPrefix(trace, "Traceback (most recent call last):\n")
	for {
		line, after, ok := strings.Cut(rest, "\n")
		place, isFrame := strings.CutPrefix(line, `  File "`)
		if !ok || !isFrame {
			break
		}
		rest = after
		message = strings.TrimSpace(rest)
		file, number, _ := strings.Cut(place, `", line `)
		number, function, _ := strings.Cut(number, ", in ")
		if _, own := f.own[strings.TrimPrefix(file, "/")]; !own {
			continue
		}
		at := file + ":" + number
		if function != "" && function != "<module>" {
			at = function + " (" + at + ")"
		}
		frames = append([]string{at}, frames...)
	}
	if kind == loadError {
		return strings.TrimPrefix(message, loadError+": ")
	}
	if message == "" {
		message = kind
	}
	if len(frames) == 0 {
		return message
	}
	return message + " at " + strings.Join(frames[:min(len(frames), maxFrames)], " < ")
}
