package headgate

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Errno is why a call to the host failed. The reason in words is in the
// function's log.
type Errno int32

// The errnos of ABI v1.
const (
	ErrNotFound    Errno = -1
	ErrDenied      Errno = -2
	ErrLimit       Errno = -3
	ErrInvalid     Errno = -4
	ErrUnsupported Errno = -5
	ErrUnavailable Errno = -6
)

var errnoTexts = [...]string{"not found", "permission denied", "limit reached", "invalid argument", "not supported by this gateway", "not available now"}

// Error returns the errno's text.
func (e Errno) Error() string {
	if i := -int(e) - 1; i >= 0 && i < len(errnoTexts) {
		return errnoTexts[i]
	}
	return fmt.Sprintf("errno %d", int32(e))
}

// Level is the severity of a log line.
type Level int32

// The levels of Context.Log.
const (
	Debug Level = iota
	Info
	Warn
	Error
)

var (
	handler func(*Context) error
	warmUps []func()
)

// Handle registers the function that handles events. Call it once, from init.
func Handle(f func(*Context) error) { handler = f }

// HandleJSON is Handle for events whose data is a T in JSON. What the decoder
// has to learn about T it learns once, before the clean state is taken, and
// not in every event.
func HandleJSON[T any](f func(*Context, T) error) {
	Warm(func() {
		defer func() { _ = recover() }()                // a T may object to being empty
		if b, err := json.Marshal(new(T)); err == nil { // an example with every field
			_ = json.Unmarshal(b, new(T))
		}
	})
	Handle(func(ctx *Context) error {
		var v T
		if err := ctx.JSON(&v); err != nil {
			return err
		}
		return f(ctx, v)
	})
}

// Warm has f run once, before the clean state is taken. What it computes and
// caches every event finds there. It may log and read config; nothing else is
// available yet.
func Warm(f func()) { warmUps = append(warmUps, f) }

// Context is one event and what its handler may do. It is valid until the
// handler returns.
type Context struct {
	data   []byte
	loaded bool
	random *rand.Rand
}

// Data is the event's payload, as it came.
func (c *Context) Data() []byte {
	if !c.loaded {
		c.data = make([]byte, inputLen())
		inputRead(c.data)
		c.loaded = true
	}
	return c.data
}

// JSON decodes the payload into v.
func (c *Context) JSON(v any) error {
	if err := json.Unmarshal(c.Data(), v); err != nil {
		return fmt.Errorf("event data: %w", err)
	}
	return nil
}

// Meta returns an attribute of the event: id, source, type, subject, time,
// datacontenttype, function, version, attempt, hops, params.<name>.
func (c *Context) Meta(key string) (string, bool) {
	v, err := read(64, func(dst []byte) int32 { return metaRead([]byte(key), dst) })
	return string(v), err == nil
}

func (c *Context) attribute(key string) string {
	v, _ := c.Meta(key)
	return v
}

// ID is the event's id, unique within Source.
func (c *Context) ID() string { return c.attribute("id") }

// Source says where the event comes from.
func (c *Context) Source() string { return c.attribute("source") }

// Type is the kind of event.
func (c *Context) Type() string { return c.attribute("type") }

// Subject is what the event is about: for MQTT the topic.
func (c *Context) Subject() string { return c.attribute("subject") }

// Param is a capture of the trigger: {field} in its topic filter.
func (c *Context) Param(name string) string { return c.attribute("params." + name) }

// Params are all captures of the trigger.
func (c *Context) Params() map[string]string {
	params := map[string]string{}
	if text, ok := c.Meta("params"); ok {
		_ = json.Unmarshal([]byte(text), &params) // the host wrote it
	}
	return params
}

// Now is the invocation's time. It stands still while the handler computes.
func (c *Context) Now() time.Time { return time.UnixMilli(nowMillis()) }

// Rand is a generator of its own for every event.
func (c *Context) Rand() *rand.Rand {
	if c.random == nil {
		var seed [32]byte
		randomRead(seed[:])
		c.random = rand.New(rand.NewChaCha8(seed))
	}
	return c.random
}

// Config decodes a config value of the manifest into v; it reports false when
// there is none.
func (c *Context) Config(key string, v any) (bool, error) {
	raw, err := read(64, func(dst []byte) int32 { return configRead([]byte(key), dst) })
	return found("config "+key, raw, err, v)
}

// Secret returns a secret that the manifest declares, or ErrNotFound while it is
// not set.
func (c *Context) Secret(name string) ([]byte, error) {
	v, err := read(64, func(dst []byte) int32 { return secretRead([]byte(name), dst) })
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", name, err)
	}
	return v, nil
}

// Log writes one line to the function's log.
func (c *Context) Log(level Level, format string, args ...any) {
	logLine(int32(level), fmt.Appendf(nil, format, args...))
}

// Metric reports a value.
func (c *Context) Metric(name string, value float64) { metricValue([]byte(name), value) }

// Get returns what is stored under key, or ErrNotFound.
func (c *Context) Get(key string) ([]byte, error) {
	v, err := read(256, func(dst []byte) int32 { return kvGet([]byte(key), dst) })
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	return v, nil
}

// GetJSON decodes what is stored under key into v; it reports false when
// there is nothing.
func (c *Context) GetJSON(key string, v any) (bool, error) {
	raw, err := read(256, func(dst []byte) int32 { return kvGet([]byte(key), dst) })
	return found("get "+key, raw, err, v)
}

func found(what string, raw []byte, err error, v any) (bool, error) {
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("%s: %w", what, err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return true, fmt.Errorf("%s: %w", what, err)
	}
	return true, nil
}

// Set stores a value: a string or []byte as it is, anything else as JSON.
func (c *Context) Set(key string, value any) error { return c.SetFor(key, value, 0) }

// notNegative refuses a duration that the gateway would take for another.
func notNegative(d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("%s is no duration to wait or to last", d)
	}
	return nil
}

// SetFor stores a value that goes away after ttl; 0 keeps it.
func (c *Context) SetFor(key string, value any, ttl time.Duration) error {
	b, err := payload(value)
	if err == nil {
		err = notNegative(ttl)
	}
	if err == nil {
		err = check(kvSet([]byte(key), b, wholeSeconds(ttl)))
	}
	return wrap("set", key, err)
}

// Delete removes a key. One that does not exist is no error.
func (c *Context) Delete(key string) error { return wrap("delete", key, check(kvDel([]byte(key)))) }

// List returns the stored keys that start with prefix, in order.
func (c *Context) List(prefix string) ([]string, error) {
	var keys []string
	for cursor := uint32(0); ; {
		page, err := read(1024, func(dst []byte) int32 { return kvList([]byte(prefix), cursor, dst) })
		if err != nil {
			return nil, wrap("list", prefix, err)
		}
		cursor, keys = parsePage(page, keys)
		if cursor == 0 {
			return keys, nil
		}
	}
}

// parsePage appends the keys of a page and returns the next cursor.
func parsePage(page []byte, keys []string) (uint32, []string) {
	if len(page) < 4 {
		return 0, keys
	}
	next := binary.LittleEndian.Uint32(page)
	for page = page[4:]; len(page) >= 4; {
		n := binary.LittleEndian.Uint32(page)
		page = page[4:]
		if uint64(n) > uint64(len(page)) {
			break
		}
		keys, page = append(keys, string(page[:n])), page[n:]
	}
	return next, keys
}

// PublishOption changes how a message is published.
type PublishOption func(*publishOptions)

type publishOptions struct {
	flags  uint32
	expiry time.Duration
}

// QoS sets the quality of service: 0, 1 or 2. The default is 0.
func QoS(q byte) PublishOption { return func(o *publishOptions) { o.flags |= min(uint32(q), 3) } }

// Retain asks the broker to keep the message.
func Retain() PublishOption { return func(o *publishOptions) { o.flags |= 4 } }

// Expiry sets the message's expiry.
func Expiry(d time.Duration) PublishOption { return func(o *publishOptions) { o.expiry = d } }

// Publish sends an MQTT message when the event is settled. The payload is a
// string or []byte as it is, anything else as JSON.
func (c *Context) Publish(topic string, message any, options ...PublishOption) error {
	var o publishOptions
	for _, option := range options {
		option(&o)
	}
	b, err := payload(message)
	if err == nil {
		err = notNegative(o.expiry)
	}
	if err == nil {
		err = check(publish([]byte(topic), b, o.flags, wholeSeconds(o.expiry)))
	}
	return wrap("publish", topic, err)
}

// Enqueue puts a message on a named durable queue.
func (c *Context) Enqueue(queue string, message any, delay time.Duration) error {
	b, err := payload(message)
	if err == nil {
		err = notNegative(delay)
	}
	if err == nil {
		err = check(enqueue([]byte(queue), b, wholeSeconds(delay)))
	}
	return wrap("enqueue", queue, err)
}

// Actuate switches an actuator "on" or "off", or to a fraction such as "0.4"
// where it can be dimmed, for a lease; without one the actuator's own default
// counts. It returns how long it is granted for. ErrUnavailable says that an
// interlock forbids it now: the log says which. The actuator moves when the event
// is settled, off moves at once.
func (c *Context) Actuate(name, value string, lease time.Duration) (granted time.Duration, err error) {
	if err = notNegative(lease); err == nil {
		ms := actuate([]byte(name), []byte(value), uint32(min(lease.Milliseconds(), 1<<32-1)))
		granted, err = time.Duration(max(ms, 0))*time.Millisecond, check(min(ms, 0))
	}
	return granted, wrap("actuate", name, err)
}

// Invoke starts another function with message as its data, after this event
// is settled.
func (c *Context) Invoke(function string, message any) error {
	b, err := payload(message)
	if err == nil {
		err = check(invoke([]byte(function), b))
	}
	return wrap("invoke", function, err)
}

// Output sets the result: a string or []byte as it is, anything else as JSON.
func (c *Context) Output(value any) error {
	b, err := payload(value)
	if err != nil {
		return wrap("output", "", err)
	}
	output(b)
	return nil
}

// OutputMeta sets an attribute of the result.
func (c *Context) OutputMeta(key, value string) error {
	return wrap("output attribute", key, check(outputMeta([]byte(key), []byte(value))))
}

func payload(v any) ([]byte, error) {
	switch v := v.(type) {
	case []byte:
		return v, nil
	case string:
		return []byte(v), nil
	}
	return json.Marshal(v)
}

func wholeSeconds(d time.Duration) uint32 {
	return uint32(min(max((d+time.Second-1)/time.Second, 0), 1<<32-1))
}

func check(rc int32) error {
	if rc < 0 {
		return Errno(rc)
	}
	return nil
}

func wrap(what, name string, err error) error {
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, name, err)
	}
	return nil
}

// read calls f with room for size bytes, and again with more when it needs it.
func read(size int, f func(dst []byte) int32) ([]byte, error) {
	for {
		dst := make([]byte, size)
		n := f(dst)
		if n < 0 {
			return nil, Errno(n)
		}
		if int(n) <= size {
			return dst[:n], nil
		}
		size = int(n)
	}
}
