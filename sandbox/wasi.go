package sandbox

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/engine"
	"github.com/headgate-io/headgate/sandbox/engine/quickjs"
	"github.com/headgate-io/headgate/sandbox/host"
)

// wasiModule is WASI preview 1. A guest gets its clock and random from the
// invocation, standard output and error become log lines, and there is
// nothing else: no files, no sockets; arguments and environment for commands.
const wasiModule = "wasi_snapshot_preview1"

// Error numbers of WASI preview 1.
const (
	wasiOK    = 0
	wasiBadf  = 8
	wasiFault = 21
	wasiInval = 28
	wasiNosys = 52
)

// wasiCall is one function of WASI. Without a body it answers ENOSYS, or
// EBADF where its first argument is a descriptor.
type wasiCall struct {
	name   string
	params []api.ValueType
	body   func(in *instance, s []uint64) uint32
}

// types spells parameter lists: i is i32, l is i64.
func types(spec string) []api.ValueType {
	var out []api.ValueType
	for _, c := range spec {
		if c == 'l' {
			out = append(out, api.ValueTypeI64)
		} else {
			out = append(out, api.ValueTypeI32)
		}
	}
	return out
}

// wasiCalls is all of preview 1 except proc_exit, which returns nothing.
var wasiCalls = []wasiCall{
	{"args_get", types("ii"), wasiList((*instance).arguments)},
	{"args_sizes_get", types("ii"), wasiSizes((*instance).arguments)},
	{"environ_get", types("ii"), wasiList((*instance).environment)},
	{"environ_sizes_get", types("ii"), wasiSizes((*instance).environment)},
	{"clock_res_get", types("ii"), wasiClockRes},
	{"clock_time_get", types("ili"), wasiClockTime},
	{"fd_advise", types("illi"), nil},
	{"fd_allocate", types("ill"), nil},
	{"fd_close", types("i"), wasiClose},
	{"fd_datasync", types("i"), nil},
	{"fd_fdstat_get", types("ii"), wasiFdstat},
	{"fd_fdstat_set_flags", types("ii"), wasiStdioOnly},
	{"fd_fdstat_set_rights", types("ill"), nil},
	{"fd_filestat_get", types("ii"), nil},
	{"fd_filestat_set_size", types("il"), nil},
	{"fd_filestat_set_times", types("illi"), nil},
	{"fd_pread", types("iiili"), nil},
	{"fd_prestat_get", types("ii"), nil},
	{"fd_prestat_dir_name", types("iii"), nil},
	{"fd_pwrite", types("iiili"), nil},
	{"fd_read", types("iiii"), wasiRead},
	{"fd_readdir", types("iiili"), nil},
	{"fd_renumber", types("ii"), nil},
	{"fd_seek", types("ilii"), wasiSeek},
	{"fd_sync", types("i"), nil},
	{"fd_tell", types("ii"), nil},
	{"fd_write", types("iiii"), wasiWrite},
	{"path_create_directory", types("iii"), nil},
	{"path_filestat_get", types("iiiii"), nil},
	{"path_filestat_set_times", types("iiiilli"), nil},
	{"path_link", types("iiiiiii"), nil},
	{"path_open", types("iiiiillii"), nil},
	{"path_readlink", types("iiiiii"), nil},
	{"path_remove_directory", types("iii"), nil},
	{"path_rename", types("iiiiii"), nil},
	{"path_symlink", types("iiiii"), nil},
	{"path_unlink_file", types("iii"), nil},
	{"poll_oneoff", types("iiii"), wasiPoll},
	{"proc_raise", types("i"), nil},
	{"random_get", types("ii"), wasiRandom},
	{"sched_yield", nil, wasiNothing},
	{"sock_accept", types("iii"), nil},
	{"sock_recv", types("iiiiii"), nil},
	{"sock_send", types("iiiii"), nil},
	{"sock_shutdown", types("ii"), nil},
}

func (e *Engine) addWASI(ctx context.Context) error {
	b := e.runtime.NewHostModuleBuilder(wasiModule)
	result := []api.ValueType{api.ValueTypeI32}
	for _, c := range wasiCalls {
		b.NewFunctionBuilder().WithGoFunction(wasiFunction(c), c.params, result).Export(c.name)
	}
	exit := api.GoFunc(func(_ context.Context, s []uint64) {
		panic(&stop{outcome: function.Trapped, exit: true, code: uint32(s[0]), reason: fmt.Sprintf("the guest exited with code %d instead of returning", uint32(s[0]))})
	})
	b.NewFunctionBuilder().WithGoFunction(exit, []api.ValueType{api.ValueTypeI32}, nil).Export("proc_exit")
	if _, err := b.Instantiate(ctx); err != nil {
		return fmt.Errorf("define %s: %w", wasiModule, err)
	}
	return nil
}

func wasiFunction(c wasiCall) api.GoFunc {
	missing := uint64(wasiNosys)
	if len(c.name) > 3 && (c.name[:3] == "fd_" || c.name[:5] == "path_" || c.name[:5] == "sock_") {
		missing = wasiBadf
	}
	return func(ctx context.Context, s []uint64) {
		in := instanceOf(ctx)
		in.burn(hostCallFuel)
		if c.body == nil {
			s[0] = missing
			return
		}
		s[0] = uint64(c.body(in, s))
		in.abortIfAsked()
	}
}

func wasiNothing(*instance, []uint64) uint32 { return wasiOK }

func wasiClockRes(in *instance, s []uint64) uint32 {
	if !in.linear.WriteUint64Le(uint32(s[1]), uint64(time.Millisecond)) {
		return wasiFault
	}
	return wasiOK
}

func wasiClockTime(in *instance, s []uint64) uint32 {
	if !in.linear.WriteUint64Le(uint32(s[2]), uint64(in.calls.Now().UnixNano())) {
		return wasiFault
	}
	return wasiOK
}

func isStdio(fd uint64) bool { return uint32(fd) <= 2 }

func wasiStdioOnly(_ *instance, s []uint64) uint32 {
	if !isStdio(s[0]) {
		return wasiBadf
	}
	return wasiOK
}

// wasiFdstat says that the standard streams are character devices.
func wasiFdstat(in *instance, s []uint64) uint32 {
	if !isStdio(s[0]) {
		return wasiBadf
	}
	b, ok := in.linear.Read(uint32(s[1]), 24)
	if !ok {
		return wasiFault
	}
	clear(b)
	b[0] = 2                                        // character device
	binary.LittleEndian.PutUint64(b[8:], 1<<1|1<<6) // rights: read, write
	return wasiOK
}

// eachBuffer walks an iovec list.
func (in *instance) eachBuffer(list, count uint64, visit func([]byte) bool) bool {
	for i := range uint64(min(uint32(count), 1024)) {
		v, ok := in.linear.Read(uint32(list+8*i), 8)
		if !ok {
			return false
		}
		b, ok := in.linear.Read(binary.LittleEndian.Uint32(v), binary.LittleEndian.Uint32(v[4:]))
		if !ok {
			return false
		}
		in.burn(int64(len(b) >> 3))
		if !visit(b) {
			break
		}
	}
	return true
}

// wasiRead finds the end of standard input at once, except for a command, and
// reads the files of a script. Of JavaScript it is the way to the host: the engine's read(2)
// reaches it with the call's number as the descriptor, and the buffer of the
// glue.
func wasiRead(in *instance, s []uint64) uint32 {
	n := uint32(0)
	if fd := uint32(s[0]); fd == 0 && in.module.code.kind == command {
		var ok bool
		if n, ok = in.readInput(s[1], s[2]); !ok {
			return wasiFault
		}
	} else if fd != 0 {
		var ok bool
		if n, ok = in.readFile(fd, s[1], s[2]); !ok {
			v, readable := in.linear.Read(uint32(s[1]), 8)
			if !readable {
				return wasiFault
			}
			n = binary.LittleEndian.Uint32(v[4:])
			if n != quickjs.BufferBytes || !in.scriptCall(fd, binary.LittleEndian.Uint32(v)) {
				return wasiBadf
			}
		}
	}
	if !in.linear.WriteUint32Le(uint32(s[3]), n) {
		return wasiFault
	}
	return wasiOK
}

// readFile reads an open file of a script into the buffers of a list; ok is
// false when it is none.
func (in *instance) readFile(fd uint32, list, count uint64) (total uint32, ok bool) {
	files, ok := in.script.(engine.FileReader)
	if !ok {
		return 0, false
	}
	if _, ok = files.SeekFile(fd, 0, seekCurrent); !ok {
		return 0, false
	}
	ok = in.eachBuffer(list, count, func(b []byte) bool {
		n, _ := files.ReadFile(fd, b)
		total += uint32(n)
		return n == len(b)
	})
	return total, ok
}

// seekCurrent is the whence that counts from where the file is.
const seekCurrent = 1

func wasiSeek(in *instance, s []uint64) uint32 {
	files, ok := in.script.(engine.FileReader)
	if !ok {
		return wasiBadf
	}
	at, ok := files.SeekFile(uint32(s[0]), int64(s[1]), uint32(s[2]))
	if !ok {
		return wasiBadf
	}
	if !in.linear.WriteUint64Le(uint32(s[3]), uint64(at)) {
		return wasiFault
	}
	return wasiOK
}

func wasiClose(in *instance, s []uint64) uint32 {
	if files, ok := in.script.(engine.FileReader); !ok || !files.CloseFile(uint32(s[0])) {
		return wasiBadf
	}
	return wasiOK
}

func wasiWrite(in *instance, s []uint64) uint32 {
	stream := host.Stdout
	switch uint32(s[0]) {
	case 1:
	case 2:
		stream = host.Stderr
	default:
		return wasiBadf
	}
	total := uint32(0)
	ok := in.eachBuffer(s[1], s[2], func(b []byte) bool {
		if stream == host.Stdout && in.module.code.kind == command {
			in.writeOutput(b)
		} else {
			in.calls.Write(stream, b)
		}
		total += uint32(len(b))
		return true
	})
	if !ok || !in.linear.WriteUint32Le(uint32(s[3]), total) {
		return wasiFault
	}
	return wasiOK
}

func wasiRandom(in *instance, s []uint64) uint32 {
	b, ok := in.linear.Read(uint32(s[0]), uint32(s[1]))
	if !ok {
		return wasiFault
	}
	in.burn(int64(len(b) >> 3))
	in.calls.ReadRandom(b)
	return wasiOK
}

// wasiPoll sleeps: it waits for the nearest clock among the subscriptions,
// but never past the deadline. A stream is always ready.
func wasiPoll(in *instance, s []uint64) uint32 {
	count := uint32(s[2])
	if count == 0 || count > 1024 {
		return wasiInval
	}
	subs, ok := in.linear.Read(uint32(s[0]), count*48)
	if !ok {
		return wasiFault
	}
	events, ok := in.linear.Read(uint32(s[1]), count*32)
	if !ok {
		return wasiFault
	}
	nearest, wait := -1, time.Duration(0)
	for i := range int(count) {
		sub := subs[i*48:]
		d := time.Duration(0)
		if sub[8] == 0 { // clock
			d = in.clockWait(sub)
		}
		if nearest < 0 || d < wait {
			nearest, wait = i, d
		}
	}
	in.sleep(wait)
	sub, event := subs[nearest*48:], events[:32]
	clear(event)
	copy(event, sub[:8]) // user data
	event[10] = sub[8]   // type
	if !in.linear.WriteUint32Le(uint32(s[3]), 1) {
		return wasiFault
	}
	return wasiOK
}

// clockWait is how long a clock subscription has to wait.
func (in *instance) clockWait(sub []byte) time.Duration {
	timeout := binary.LittleEndian.Uint64(sub[24:])
	if binary.LittleEndian.Uint16(sub[40:])&1 != 0 { // absolute
		timeout -= min(timeout, uint64(in.calls.Now().UnixNano()))
	}
	return time.Duration(min(timeout, 1<<62))
}

// sleep lets the guest's time pass.
func (in *instance) sleep(d time.Duration) {
	if d > 0 {
		left := time.Until(in.deadline)
		t := time.NewTimer(min(d, left))
		select {
		case <-t.C:
		case <-in.ctx.Context.Done():
			t.Stop()
		}
		in.calls.Slept(d)
		if left < d {
			panic(in.timeout())
		}
	}
	in.checkTime()
}
