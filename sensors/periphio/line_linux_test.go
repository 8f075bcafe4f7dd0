package periphio

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestRequestForm compares requests with the kernel's own description of them
// (linux/gpio.h).
func TestRequestForm(t *testing.T) {
	r := lineRequest(5, "headgate", LineConfig{Output: true, ActiveLow: true, Initial: true})
	if r.Num_lines != 1 || r.Offsets[0] != 5 || text(r.Consumer[:]) != "headgate" {
		t.Errorf("request %+v", r)
	}
	// GPIO_V2_LINE_FLAG_ACTIVE_LOW | GPIO_V2_LINE_FLAG_OUTPUT; the initial
	// value is an attribute of the same request.
	if r.Config.Flags != 1<<1|1<<3 || r.Config.Num_attrs != 1 || r.Config.Attrs[0].Mask != 1 ||
		r.Config.Attrs[0].Attr.Id != unix.GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES || r.Config.Attrs[0].Attr.Flags != 1 {
		t.Errorf("output: %+v", r.Config)
	}
	r = lineRequest(0, "a name that is longer than the kernel keeps of it", LineConfig{Rising: true, Falling: true, Pull: PullUp, DebounceMicros: 20000})
	// INPUT | EDGE_RISING | EDGE_FALLING | BIAS_PULL_UP.
	if r.Config.Flags != 1<<2|1<<4|1<<5|1<<8 || r.Event_buffer_size != edgeBuffer || r.Consumer[31] != 0 {
		t.Errorf("input: %+v", r)
	}
	a := r.Config.Attrs[0].Attr
	if micros := *(*uint32)(unsafe.Pointer(&a.Flags)); r.Config.Num_attrs != 1 || a.Id != unix.GPIO_V2_LINE_ATTR_ID_DEBOUNCE || micros != 20000 {
		t.Errorf("debounce: %+v (%d µs)", a, micros)
	}
	// The sizes that the ioctl numbers carry.
	for name, size := range map[string][2]uintptr{
		"request": {unsafe.Sizeof(unix.GPIOV2LineRequest{}), unix.GPIO_V2_GET_LINE_IOCTL >> 16 & 0x3fff},
		"info":    {unsafe.Sizeof(unix.GPIOV2LineInfo{}), unix.GPIO_V2_GET_LINEINFO_IOCTL >> 16 & 0x3fff},
		"values":  {unsafe.Sizeof(unix.GPIOV2LineValues{}), unix.GPIO_V2_LINE_GET_VALUES_IOCTL >> 16 & 0x3fff},
		"event":   {unsafe.Sizeof(unix.GPIOV2LineEvent{}), 48},
	} {
		if size[0] != size[1] {
			t.Errorf("%s has %d bytes, the kernel's %d", name, size[0], size[1])
		}
	}
	var e unix.GPIOV2LineEvent
	if unsafe.Offsetof(e.Id) != 8 || unsafe.Offsetof(e.Line_seqno) != 20 {
		t.Error("the layout of an event is another")
	}
}
