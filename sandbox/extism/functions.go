package extism

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"math"
	"slices"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
)

// Import modules of plug-ins.
const (
	// Module has the functions that every Extism host offers.
	Module = "extism:host/env"
	// UserModule has those that a host offers on its own account: this one none.
	UserModule = "extism:host/user"
)

// Fuel that a call costs, apart from what it moves.
const (
	wordFuel = 40  // for one byte or word, which PDKs move all data by
	callFuel = 200 // as any other host call
)

// Function is one function of Module.
type Function struct {
	Name string
	// Params and Results are spelled with i for i32 and l for i64.
	Params, Results string
	Fuel            int64
	// Like is the call of the ABI whose rules it follows; empty for none.
	Like string
	// Waits is true where the host may take its time.
	Waits bool
	// Call gets its parameters in s and leaves its result in s[0]. An error,
	// always a *host.Abort, ends the invocation.
	Call func(k *Kernel, s []uint64) error
}

// Functions are all functions of Extism's kernel and host.
var Functions = [...]Function{
	{"alloc", "l", "l", callFuel, "", false, func(k *Kernel, s []uint64) error { s[0] = k.alloc(s[0]); return nil }},
	{"free", "l", "", callFuel, "", false, func(k *Kernel, s []uint64) error { k.release(s[0]); return nil }},
	{"length", "l", "l", wordFuel, "", false, func(k *Kernel, s []uint64) error { s[0] = k.length(s[0]); return nil }},
	{"length_unsafe", "l", "l", wordFuel, "", false, func(k *Kernel, s []uint64) error { s[0] = k.length(s[0]); return nil }},
	{"load_u8", "l", "i", wordFuel, "", false, func(k *Kernel, s []uint64) (err error) { s[0], err = k.load("load_u8", s[0], 1); return err }},
	{"load_u64", "l", "l", wordFuel, "", false, func(k *Kernel, s []uint64) (err error) { s[0], err = k.load("load_u64", s[0], 8); return err }},
	{"store_u8", "li", "", wordFuel, "", false, storeByte},
	{"store_u64", "ll", "", wordFuel, "", false, storeWord},
	{"input_length", "", "l", wordFuel, "", false, func(k *Kernel, s []uint64) error { s[0] = uint64(len(k.calls.Input())); return nil }},
	{"input_offset", "", "l", callFuel, "", false, inputOffset},
	{"input_load_u8", "l", "i", wordFuel, "", false, func(k *Kernel, s []uint64) (err error) {
		s[0], err = k.loadInput("input_load_u8", s[0], 1)
		return err
	}},
	{"input_load_u64", "l", "l", wordFuel, "", false, func(k *Kernel, s []uint64) (err error) {
		s[0], err = k.loadInput("input_load_u64", s[0], 8)
		return err
	}},
	{"output_set", "ll", "", callFuel, "", false, outputSet},
	{"output_offset", "", "l", wordFuel, "", false, func(k *Kernel, s []uint64) error { s[0] = k.outputAt; return nil }},
	{"output_length", "", "l", wordFuel, "", false, func(k *Kernel, s []uint64) error { s[0] = k.outputSize; return nil }},
	{"error_set", "l", "", callFuel, "", false, errorSet},
	{"error_get", "", "l", wordFuel, "", false, func(k *Kernel, s []uint64) error { s[0] = k.failure; return nil }},
	{"memory_bytes", "", "l", wordFuel, "", false, func(k *Kernel, s []uint64) error { s[0] = k.mapped(); return nil }},
	{"reset", "", "", callFuel, "", false, reset},
	{"config_get", "l", "l", callFuel, "config", false, configGet},
	{"var_get", "l", "l", callFuel, "kv_get", true, varGet},
	{"var_set", "ll", "", callFuel, "kv_set", false, varSet},
	{"http_request", "ll", "l", callFuel, "http_fetch", true, httpRequest},
	{"http_status_code", "", "i", wordFuel, "", false, func(k *Kernel, s []uint64) error { s[0] = uint64(uint32(k.status)); return nil }},
	{"http_headers", "", "l", callFuel, "", false, httpHeaders},
	{"log_trace", "l", "", callFuel, "log", false, func(k *Kernel, s []uint64) error { _, err := k.bytes("log_trace", s[0]); return err }},
	{"log_debug", "l", "", callFuel, "log", false, log("log_debug", function.Debug)},
	{"log_info", "l", "", callFuel, "log", false, log("log_info", function.Info)},
	{"log_warn", "l", "", callFuel, "log", false, log("log_warn", function.Warn)},
	{"log_error", "l", "", callFuel, "log", false, log("log_error", function.Error)},
	{"get_log_level", "", "i", wordFuel, "", false, func(_ *Kernel, s []uint64) error { s[0] = levelDebug; return nil }},
}

// levelDebug is Extism's number of the lowest level that is kept; trace is not.
const levelDebug = 1

func storeByte(k *Kernel, s []uint64) error {
	b, err := k.span("store_u8", s[0], 1, true)
	if err == nil {
		b[0] = byte(s[1])
	}
	return err
}

func storeWord(k *Kernel, s []uint64) error {
	b, err := k.span("store_u64", s[0], 8, true)
	if err == nil {
		binary.LittleEndian.PutUint64(b, s[1])
	}
	return err
}

// inputOffset puts the input where a plug-in can read it as any other block.
func inputOffset(k *Kernel, s []uint64) (err error) {
	if k.input == 0 {
		k.input, err = k.put("input_offset", k.calls.Input())
	}
	s[0] = k.input
	return err
}

func outputSet(k *Kernel, s []uint64) error {
	if s[1] == 0 {
		k.outputAt, k.outputSize = 0, 0
		return nil
	}
	if _, err := k.span("output_set", s[0], s[1], false); err != nil {
		return err
	}
	k.outputAt, k.outputSize = s[0], s[1]
	return nil
}

// errorSet keeps the text at once: PDKs free it while the plug-in ends.
func errorSet(k *Kernel, s []uint64) error {
	if s[0] == 0 {
		k.failure = 0
		k.calls.SetFailure(nil)
		return nil
	}
	text, err := k.bytes("error_set", s[0])
	if err != nil {
		return err
	}
	k.failure = s[0]
	k.calls.SetFailure(text)
	return nil
}

func reset(k *Kernel, _ []uint64) error {
	k.limits.Charge(int64(k.written >> 3))
	k.forget()
	k.calls.SetFailure(nil)
	return nil
}

func log(name string, level function.Level) func(*Kernel, []uint64) error {
	return func(k *Kernel, s []uint64) error {
		text, err := k.bytes(name, s[0])
		if err == nil {
			k.calls.LogBytes(level, text)
		}
		return err
	}
}

// configGet answers with a text as it is, anything else as JSON: all of
// Extism's own config is text.
func configGet(k *Kernel, s []uint64) error {
	key, err := k.bytes("config_get", s[0])
	if err != nil {
		return err
	}
	s[0] = 0
	if value, e := k.calls.Config(key); e == 0 {
		var text string
		if json.Unmarshal(value, &text) == nil {
			value = []byte(text)
		}
		s[0], err = k.put("config_get", value)
	}
	return err
}

// variable is the key of a variable in the function's state. It names the
// function, so that a colon in the variable's name means nothing.
func (k *Kernel) variable(what string, handle uint64) ([]byte, error) {
	name, err := k.bytes(what, handle)
	if err != nil {
		return nil, err
	}
	return append([]byte(k.calls.Grant().Name()+":"), name...), nil
}

func varGet(k *Kernel, s []uint64) error {
	key, err := k.variable("var_get", s[0])
	if err != nil {
		return err
	}
	value, e := k.calls.KVGet(key)
	switch {
	case e == abi.NotFound:
		s[0] = 0
		return nil
	case e != 0:
		return failed("var_get: %s", reason(k, e))
	}
	s[0], err = k.put("var_get", value)
	return err
}

func varSet(k *Kernel, s []uint64) error {
	key, err := k.variable("var_set", s[0])
	if err != nil {
		return err
	}
	var e abi.Errno
	if s[1] == 0 {
		e = k.calls.KVDel(key)
	} else {
		value, fault := k.bytes("var_set", s[1])
		if fault != nil {
			return fault
		}
		e = k.calls.KVSet(key, value, 0)
	}
	if e != 0 && e != abi.NotFound {
		return failed("var_set: %s", reason(k, e))
	}
	return nil
}

// reason says why a call could not be done.
func reason(k *Kernel, e abi.Errno) string {
	if text := k.calls.Reason(); text != "" {
		return text
	}
	return e.Error()
}

// request is the request of http_request.
type request struct {
	URL     string            `json:"url"`
	Method  string            `json:"method"`
	Headers map[string]string `json:"headers"`
}

func httpRequest(k *Kernel, s []uint64) error {
	raw, err := k.bytes("http_request", s[0])
	if err != nil {
		return err
	}
	var r request
	if err := json.Unmarshal(raw, &r); err != nil {
		return failed("http_request: the request cannot be read: %v", err)
	}
	f := abi.FetchRequest{URL: r.URL, Method: r.Method, Headers: sorted(r.Headers)}
	if s[1] != 0 {
		if f.Body, err = k.bytes("http_request", s[1]); err != nil {
			return err
		}
	}
	message, err := f.Append(nil)
	if err != nil {
		return failed("http_request: %v", err)
	}
	answer, e := k.calls.Fetch(k.ctx, message, math.MaxInt)
	if e != 0 {
		return failed("http_request: %s", reason(k, e))
	}
	a, err := abi.ParseFetchAnswer(answer)
	if err != nil {
		return failed("http_request: %v", err)
	}
	k.status, k.headers = a.Status, a.Headers
	s[0], err = k.put("http_request", a.Body)
	return err
}

// httpHeaders hands out the headers of the last answer as one JSON object.
func httpHeaders(k *Kernel, s []uint64) (err error) {
	if k.headers == nil {
		s[0] = 0
		return nil
	}
	object := map[string]string{}
	for _, h := range k.headers {
		if have, there := object[h.Name]; there {
			h.Value = have + ", " + h.Value
		}
		object[h.Name] = h.Value
	}
	text, err := json.Marshal(object)
	if err != nil {
		return failed("http_headers: %v", err)
	}
	k.limits.Charge(int64(len(text))) // to write it took longer than to copy it
	s[0], err = k.put("http_headers", text)
	return err
}

// sorted puts headers into an order, so that a rerun asks for the same.
func sorted(headers map[string]string) (list abi.Headers) {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		list = append(list, abi.Header{Name: name, Value: headers[name]})
	}
	return list
}
