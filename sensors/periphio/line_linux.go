package periphio

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flags of a line (linux/gpio.h, enum gpio_v2_line_flag).
const (
	flagUsed        = 1 << 0
	flagActiveLow   = 1 << 1
	flagInput       = 1 << 2
	flagOutput      = 1 << 3
	flagEdgeRising  = 1 << 4
	flagEdgeFalling = 1 << 5
	flagPullUp      = 1 << 8
	flagPullDown    = 1 << 9
	flagPullNone    = 1 << 10
)

// edgeBuffer is how many edges the
// kernel keeps for us.
const edgeBuffer = 1024

// Linux returns the kernel's own chips (linux/gpio.h, version 2 of the
// interface, Linux 5.10 and later).
func Linux() Kernel { return linux{} }

type linux struct{}

func (linux) OpenChip(path string) (ChipDevice, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &linuxChip{f}, nil
}

type linuxChip struct{ f *os.File }

func (c *linuxChip) Close() error { return c.f.Close() }

func (c *linuxChip) Info() (ChipInfo, error) {
	var i unix.GPIOChipInfo
	if err := ioctl(c.f, unix.GPIO_GET_CHIPINFO_IOCTL, unsafe.Pointer(&i)); err != nil {
		return ChipInfo{}, err
	}
	info := ChipInfo{Name: text(i.Name[:]), Label: text(i.Label[:]), Lines: int(i.Lines)}
	if info.Label == "" {
		info.Label = info.Name
	}
	return info, nil
}

func (c *linuxChip) Line(offset int) (LineInfo, error) {
	i := unix.GPIOV2LineInfo{Offset: uint32(offset)}
	if err := ioctl(c.f, unix.GPIO_V2_GET_LINEINFO_IOCTL, unsafe.Pointer(&i)); err != nil {
		return LineInfo{}, err
	}
	return LineInfo{
		Offset: offset, Name: text(i.Name[:]), Consumer: text(i.Consumer[:]),
		Used: i.Flags&flagUsed != 0, Output: i.Flags&flagOutput != 0,
	}, nil
}

func (c *linuxChip) Request(offset int, consumer string, cfg LineConfig) (Line, error) {
	r := lineRequest(offset, consumer, cfg)
	if err := ioctl(c.f, unix.GPIO_V2_GET_LINE_IOCTL, unsafe.Pointer(&r)); err != nil {
		return nil, err
	}
	// Non-blocking, so that the runtime waits for edges and a close ends that.
	if err := unix.SetNonblock(int(r.Fd), true); err != nil {
		_ = unix.Close(int(r.Fd))
		return nil, err
	}
	return &linuxLine{f: os.NewFile(uintptr(r.Fd), fmt.Sprintf("gpio line %d", offset))}, nil
}

// lineRequest is the kernel's form of a request.
func lineRequest(offset int, consumer string, cfg LineConfig) unix.GPIOV2LineRequest {
	r := unix.GPIOV2LineRequest{Num_lines: 1}
	r.Offsets[0] = uint32(offset)
	copy(r.Consumer[:len(r.Consumer)-1], consumer)
	r.Config.Flags = lineFlags(cfg)
	if cfg.Rising || cfg.Falling {
		r.Event_buffer_size = edgeBuffer
	}
	attr := func(id uint32, value uint64) {
		r.Config.Attrs[r.Config.Num_attrs] = unix.GPIOV2LineConfigAttribute{
			Attr: unix.GPIOV2LineAttribute{Id: id, Flags: value}, Mask: 1,
		}
		r.Config.Num_attrs++
	}
	if cfg.Output && cfg.Initial {
		attr(unix.GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES, 1)
	}
	if cfg.DebounceMicros > 0 && !cfg.Output {
		attr(unix.GPIO_V2_LINE_ATTR_ID_DEBOUNCE, debounceUnion(cfg.DebounceMicros))
	}
	return r
}

// debounceUnion places a 32-bit member in the attribute's union, whose first
// bytes it is in either byte order.
func debounceUnion(micros uint32) uint64 {
	var b [8]byte
	binary.NativeEndian.PutUint32(b[:], micros)
	return binary.NativeEndian.Uint64(b[:])
}

func lineFlags(cfg LineConfig) uint64 {
	var flags uint64
	set := func(on bool, flag uint64) {
		if on {
			flags |= flag
		}
	}
	set(cfg.ActiveLow, flagActiveLow)
	set(cfg.Output, flagOutput)
	set(!cfg.Output, flagInput)
	set(cfg.Rising && !cfg.Output, flagEdgeRising)
	set(cfg.Falling && !cfg.Output, flagEdgeFalling)
	set(cfg.Pull == PullUp, flagPullUp)
	set(cfg.Pull == PullDown, flagPullDown)
	set(cfg.Pull == PullNone, flagPullNone)
	return flags
}

type linuxLine struct{ f *os.File }

var _ Line = (*linuxLine)(nil)

func (l *linuxLine) Close() error { return l.f.Close() }

func (l *linuxLine) Get() (bool, error) {
	v := unix.GPIOV2LineValues{Mask: 1}
	if err := ioctl(l.f, unix.GPIO_V2_LINE_GET_VALUES_IOCTL, unsafe.Pointer(&v)); err != nil {
		return false, fmt.Errorf("read %s: %w", l.f.Name(), err)
	}
	return v.Bits&1 != 0, nil
}

func (l *linuxLine) Set(active bool) error {
	v := unix.GPIOV2LineValues{Mask: 1}
	if active {
		v.Bits = 1
	}
	if err := ioctl(l.f, unix.GPIO_V2_LINE_SET_VALUES_IOCTL, unsafe.Pointer(&v)); err != nil {
		return fmt.Errorf("set %s: %w", l.f.Name(), err)
	}
	return nil
}

func (l *linuxLine) Next(deadline time.Time) (Edge, error) {
	if err := l.f.SetReadDeadline(deadline); err != nil {
		return Edge{}, err
	}
	var b [unsafe.Sizeof(unix.GPIOV2LineEvent{})]byte
	// The kernel hands out whole events only.
	if _, err := l.f.Read(b[:]); err != nil {
		return Edge{}, err
	}
	order := binary.NativeEndian
	return Edge{
		At:       time.Duration(order.Uint64(b[0:])),
		Active:   order.Uint32(b[8:]) == unix.GPIO_V2_LINE_EVENT_RISING_EDGE,
		Sequence: order.Uint32(b[20:]),
	}, nil
}

// ioctl goes through the file's own guard, so that a close in another goroutine
// cannot make it act on somebody else's descriptor.
func ioctl(f *os.File, request uint, arg unsafe.Pointer) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno unix.Errno
	err = conn.Control(func(fd uintptr) {
		for {
			_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(arg))
			if errno != unix.EINTR {
				return
			}
		}
	})
	runtime.KeepAlive(arg)
	if err != nil {
		return err
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// text is a C string.
func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
