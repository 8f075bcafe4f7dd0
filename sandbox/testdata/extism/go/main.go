// Command plugin is an Extism plug-in, built with Extism's own PDK.
package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unsafe"

	"github.com/extism/go-pdk"
)

func main() {}

var calls int

//go:wasmexport run
func run() int32 {
	calls++
	input := pdk.InputString()
	switch input {
	case "random":
		var b [16]byte
		_, _ = rand.Read(b[:])
		pdk.Output(b[:])
		return 0
	case "fail":
		pdk.SetError(errors.New("asked to fail"))
		return 1
	case "trap":
		panic("asked to trap")
	}
	seen, _ := strconv.Atoi(string(pdk.GetVar("seen:all")))
	pdk.SetVar("seen:all", []byte(strconv.Itoa(seen+1)))
	pdk.SetVar("gone", nil)
	mode, ok := pdk.GetConfig("mode")
	if !ok {
		mode = "none"
	}
	if _, ok := pdk.GetConfig("nosuch"); ok {
		return 2
	}
	pdk.Log(pdk.LogInfo, "a plug-in runs")
	pdk.OutputString(strconv.Itoa(calls) + " " + mode + " " + strconv.Itoa(seen) + " " + strings.ToUpper(input))
	return 0
}

// threshold is what the other languages measure too.
//
//go:wasmexport threshold
func threshold() int32 {
	var reading struct{ Value float64 }
	if err := pdk.InputJSON(&reading); err != nil {
		pdk.SetError(err)
		return 1
	}
	if reading.Value > 25 {
		return send("alarm/gw-17", `{"v":`+strconv.FormatFloat(reading.Value, 'f', -1, 64)+`}`)
	}
	return 0
}

//go:wasmimport headgate_v1 publish
func publish(t unsafe.Pointer, tl uint32, p unsafe.Pointer, pl, flags, expiry uint32) int32

// send publishes, which only the gateway's own calls can.
func send(topic, payload string) int32 {
	return publish(unsafe.Pointer(unsafe.StringData(topic)), uint32(len(topic)), unsafe.Pointer(unsafe.StringData(payload)), uint32(len(payload)), 0, 0)
}

//go:wasmexport fetch
func fetch() int32 {
	r := pdk.NewHTTPRequest(pdk.MethodPost, pdk.InputString())
	r.SetHeader("x-a", "b")
	r.SetBody([]byte("hello"))
	answer := r.Send()
	out, err := json.Marshal(map[string]any{"status": answer.Status(), "kind": answer.Headers()["content-type"], "body": string(answer.Body())})
	if err != nil {
		pdk.SetError(err)
		return 1
	}
	pdk.Output(out)
	return 0
}

//go:wasmexport large
func large() int32 {
	n, _ := strconv.Atoi(pdk.InputString())
	pdk.Output(make([]byte, n))
	return 0
}
