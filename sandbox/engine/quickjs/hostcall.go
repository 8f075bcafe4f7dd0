package quickjs

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"time"
	"unicode/utf8"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/engine"
	"github.com/headgate-io/headgate/sandbox/host"
)

// Numbers of the calls, as glue.js has them.
const (
	opInput = 1001 + iota
	opMeta
	opLog
	opNow
	opRandom
	opConfig
	opGet
	opSet
	opDel
	opList
	opPublish
	opEnqueue
	opInvoke
	opMetric
	opOutput
	opError
	opSecret
	opSensor
	opActuate
	opFetch
	opEncode
	opDecode
	opObjectGet
	opObjectRead
	opObjectPut
	opObjectStat
	opObjectDelete
	opObjectList
	opEnd
)

// Call returns the ABI's call behind a number, for its permissions.
func Call(op uint32) (*abi.Call, bool) {
	names := [...]string{
		"input_read", "meta", "log", "now_ms", "random", "config", "kv_get", "kv_set", "kv_del", "kv_list",
		"publish", "enqueue", "invoke", "metric", "output", "error",
		"secret", "sensor_read", "actuate", "http_fetch", "", "",
		"blob_get", "blob_read", "blob_put_typed", "blob_stat", "blob_delete", "blob_list",
	}
	if op == opEncode || op == opDecode {
		return &textCall, true
	}
	if op < opInput || op >= opEnd {
		return nil, false
	}
	return abi.Find(names[op-opInput])
}

// textCall stands for the glue's own calls, which turn text into bytes and back.
var textCall = abi.Call{Name: "text", Init: true}

// BufferBytes is the size of the glue's buffer.
const BufferBytes = 64

// Forms in which input and kv_get hand out bytes.
const (
	asTextIfUTF8 = iota // a string when it is UTF-8, else undefined or bytes
	asBytes
	asText
)

// border is one call in progress.
type border struct {
	ctx   context.Context
	wait  context.Context
	g     *Guest
	calls *host.Calls
	ptr   uint32 // the glue's buffer: 64 bytes
}

// HostCall serves one call of the glue. ptr is the address of its buffer.
// Memory faults end the call with a panic, like every trap. ctx is for calls back
// into the guest, and belongs to its instance; wait is that of who invoked it, for
// what may wait: others may hold on to it.
func (g *Guest) HostCall(ctx, wait context.Context, calls *host.Calls, op, ptr uint32) {
	b := border{ctx, wait, g, calls, ptr}
	e := b.serve(op)
	if e < 0 && e != abi.NotFound {
		reason := calls.Reason()
		if reason == "" {
			reason = e.Error()
		}
		b.setString(reason)
	}
	if e <= 0 {
		b.setNumber(float64(e))
	}
}

func (b *border) serve(op uint32) abi.Errno {
	c := b.calls
	switch op {
	case opInput:
		b.setForm(c.Input(), int(b.number(0)))
	case opMeta:
		v, e := c.Lookup(b.arg(0))
		if e == 0 {
			b.setString(v)
		}
		return e
	case opLog:
		c.LogBytes(function.Level(min(max(b.number(0), 0), 3)), b.arg(0))
	case opNow:
		b.setNumber(float64(c.Now().UnixMilli()))
		return 1
	case opRandom:
		b.random()
	case opConfig:
		b.setString(configJSON(c))
	case opGet:
		v, e := c.KVGet(b.arg(0))
		if e == 0 {
			b.setForm(v, int(b.number(0)))
		}
		return e
	case opSet:
		return c.KVSet(b.arg(0), b.arg(1), b.seconds(0))
	case opDel:
		return c.KVDel(b.arg(0))
	case opList:
		return b.list(c.KVList)
	case opPublish:
		return c.Publish(b.arg(0), b.arg(1), uint32(b.number(0)), b.seconds(1))
	case opEnqueue:
		return c.Enqueue(b.arg(0), b.arg(1), b.seconds(0))
	case opInvoke:
		return c.Invoke(b.arg(0), b.arg(1))
	case opMetric:
		c.Metric(b.arg(0), b.number(0))
	case opOutput:
		return b.output()
	case opError:
		c.SetFailure(b.arg(0))
	case opSecret:
		v, e := c.Secret(b.arg(0))
		if e == 0 {
			b.setForm(v, asText)
		}
		return e
	case opSensor:
		v, e := c.Sensor(b.arg(0))
		if e == 0 {
			b.setForm(v, asText)
		}
		return e
	case opActuate:
		granted, e := c.Actuate(b.arg(0), b.arg(1), time.Duration(min(max(b.number(0), 0), math.MaxUint32)*float64(time.Second)))
		if e == 0 {
			b.setNumber(float64(granted))
			return 1
		}
		return e
	case opFetch:
		return b.fetch()
	case opEncode:
		b.set(0, b.arg(0), (*Guest).newBytes)
	case opDecode:
		return b.decode()
	case opObjectGet, opObjectRead, opObjectPut, opObjectStat, opObjectDelete, opObjectList:
		return b.object(op)
	default:
		call, _ := Call(op)
		return c.Unsupported(call, b.arg(0))
	}
	return 0
}

func (b *border) memory(ptr, n uint32) []byte {
	m, ok := b.g.mod.Memory().Read(ptr, n)
	if !ok {
		panic(&engine.Exception{Text: "the script engine passed a pointer outside its memory"})
	}
	return m
}

func (b *border) number(i uint32) float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64(b.memory(b.ptr+8*i, 8)))
}

func (b *border) setNumber(v float64) {
	binary.LittleEndian.PutUint64(b.memory(b.ptr, 8), math.Float64bits(v))
}

func (b *border) seconds(i uint32) time.Duration {
	return time.Duration(min(max(b.number(i), 0), math.MaxUint32)) * time.Second
}

// arg copies argument i: a string's UTF-8, or bytes.
func (b *border) arg(i int) []byte {
	g, c := b.g, uint64(b.g.state.context)
	v := g.nestedCall(b.ctx, g.nested.getIndex, c, g.state.args, uint64(i))
	defer func() { g.nestedCall(b.ctx, g.nested.freeValue, c, v) }()
	switch tag(v) {
	case tagUndefined:
		return nil
	case tagObject:
		p := g.nestedCall(b.ctx, g.nested.getBytes, c, uint64(g.state.scratch), v)
		if uint32(p) == 0 {
			return nil
		}
		return append([]byte(nil), b.memory(uint32(p), b.length())...)
	}
	p := g.nestedCall(b.ctx, g.nested.toCString, c, uint64(g.state.scratch), v, 0)
	if uint32(p) == 0 {
		return nil
	}
	text := append([]byte(nil), b.memory(uint32(p), b.length())...)
	g.nestedCall(b.ctx, g.nested.freeCString, c, p)
	return text
}

func (b *border) length() uint32 { return binary.LittleEndian.Uint32(b.memory(b.g.state.scratch, 4)) }

// output takes the result of argument 0, and what argument 1 says of it: names
// and values with a NUL between them.
func (b *border) output() abi.Errno {
	b.calls.SetOutput(b.arg(0))
	for about := b.arg(1); about != nil; {
		name, rest, _ := bytes.Cut(about, []byte{0})
		value, next, more := bytes.Cut(rest, []byte{0})
		if e := b.calls.SetOutputMeta(name, value); e != 0 {
			return e
		}
		about = nil
		if more {
			about = next
		}
	}
	return 0
}

// random fills the bytes of argument 0, or 16 bytes of the buffer.
func (b *border) random() {
	g, c := b.g, uint64(b.g.state.context)
	v := g.nestedCall(b.ctx, g.nested.getIndex, c, g.state.args, 0)
	if tag(v) == tagObject {
		if p := g.nestedCall(b.ctx, g.nested.getBytes, c, uint64(g.state.scratch), v); uint32(p) != 0 {
			b.calls.ReadRandom(b.memory(uint32(p), b.length()))
		}
	} else {
		b.calls.ReadRandom(b.memory(b.ptr+16, 16))
	}
	g.nestedCall(b.ctx, g.nested.freeValue, c, v)
}

func (b *border) list(list func([]byte, uint32) ([]byte, abi.Errno)) abi.Errno {
	page, e := list(b.arg(0), uint32(b.number(0)))
	if e != 0 {
		return e
	}
	next, keys := abi.ParsePage(page)
	text, err := json.Marshal(keys)
	if err != nil {
		return abi.Invalid
	}
	b.setString(string(text))
	b.setNumber(float64(next))
	return 1
}

// setForm hands bytes to the script in the form it asked for.
func (b *border) setForm(v []byte, form int) {
	if form == asText || form == asTextIfUTF8 && utf8.Valid(v) {
		b.set(0, v, (*Guest).newString)
		return
	}
	if form == asTextIfUTF8 {
		b.store(0, undefined)
		return
	}
	b.set(0, v, (*Guest).newBytes)
}

func (b *border) setString(s string) { b.set(0, []byte(s), (*Guest).newString) }

// fetch sends the head and the body of arguments 0 and 1, and answers in the
// same way: the body is a string where it is UTF-8.
func (b *border) fetch() abi.Errno {
	request := append(append(b.arg(0), '\n'), b.arg(1)...)
	answer, e := b.calls.Fetch(b.wait, request, math.MaxInt)
	if e != 0 || b.calls.Aborted() != nil {
		return e
	}
	head, body, _ := bytes.Cut(answer, []byte{'\n'})
	b.set(0, head, (*Guest).newString)
	if utf8.Valid(body) {
		b.set(1, body, (*Guest).newString)
	} else {
		b.set(1, body, (*Guest).newBytes)
	}
	return 0
}

// decode makes text of bytes. The result is 1 where they were not UTF-8.
func (b *border) decode() abi.Errno {
	raw := b.arg(0)
	if utf8.Valid(raw) {
		b.set(0, raw, (*Guest).newString)
		return 0
	}
	b.setString(string([]rune(string(raw)))) // U+FFFD for each byte that is none
	b.setNumber(1)
	return 1
}

// set makes a value of v and stores it as argument i.
func (b *border) set(i uint64, v []byte, make func(*Guest, context.Context, uint64, int) uint64) {
	g := b.g
	p := g.nestedCall(b.ctx, g.nested.malloc, uint64(len(v)+1))
	if uint32(p) == 0 {
		b.store(i, undefined)
		return
	}
	copy(b.memory(uint32(p), uint32(len(v))), v)
	value := make(g, b.ctx, p, len(v))
	g.nestedCall(b.ctx, g.nested.free, p)
	b.store(i, value)
}

func (g *Guest) newString(ctx context.Context, p uint64, n int) uint64 {
	return g.nestedCall(ctx, g.nested.newString, uint64(g.state.context), p, uint64(n))
}

func (g *Guest) newBytes(ctx context.Context, p uint64, n int) uint64 {
	return g.nestedCall(ctx, g.nested.newBytes, uint64(g.state.context), p, uint64(n))
}

// store sets argument i; the array takes the reference over.
func (b *border) store(i, v uint64) {
	g := b.g
	if tag(v) == tagException {
		v = undefined
	}
	g.nestedCall(b.ctx, g.nested.setIndex, uint64(g.state.context), g.state.args, i, v)
}

// configJSON is the function's config as one JSON object.
func configJSON(c *host.Calls) string {
	object := map[string]json.RawMessage{}
	c.ConfigKeys(func(k string, v []byte) { object[k] = v })
	b, err := json.Marshal(object)
	if err != nil {
		return "{}"
	}
	return string(b)
}
