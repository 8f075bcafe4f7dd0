package sandbox

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/instrument"
)

// A WASI command is a program with _start, run anew for every event: the
// event's data is its standard input, what it writes to standard output is the
// result, its exit code says whether it succeeded. Its environment has the
// config and the event's attributes. It has none of the host calls.

const commandStart = "_start"

// maxKeptOutput is how much room for output an idle instance keeps.
const maxKeptOutput = 64 << 10

// isCommand tells a WASI command from a module that was not built for this
// gateway.
func isCommand(c *compiled) bool {
	if !slices.Contains(c.report.Exports, commandStart) {
		return false
	}
	return !slices.ContainsFunc(c.report.Imports, func(i instrument.Import) bool { return i.Module != wasiModule })
}

// ended turns the end of a command into the outcome of its event.
func (in *instance) ended(err error) (function.Outcome, string, bool) {
	s, exited := asStop(err)
	switch {
	case err != nil && (!exited || !s.exit):
		return in.explain(err)
	case exited && s.code != 0:
		return in.orMemory(function.Failed), in.orMemoryText(fmt.Sprintf("the command exited with code %d%s", s.code, in.lastWords())), true
	}
	in.calls.SetOutput(in.stdout)
	if a := in.calls.Aborted(); a != nil {
		return a.Outcome, a.Reason, true
	}
	return function.OK, "", true
}

// writeOutput takes what a command writes to standard output.
func (in *instance) writeOutput(b []byte) {
	in.stdout = append(in.stdout, b...)
	if int64(len(in.stdout)) > int64(in.module.limits.Output) {
		in.calls.SetOutput(in.stdout) // ends the call, and says why
	}
}

// readInput reads on in a command's standard input.
func (in *instance) readInput(list, count uint64) (uint32, bool) {
	start := in.stdin
	ok := in.eachBuffer(list, count, func(b []byte) bool {
		n := copy(b, in.calls.Input()[in.stdin:])
		in.stdin += n
		return n == len(b)
	})
	return uint32(in.stdin - start), ok
}

// environment is what a command finds in its environment.
func (in *instance) environment() (list []string) {
	config := map[string]string{}
	in.calls.ConfigKeys(func(k string, v []byte) {
		var text string
		if json.Unmarshal(v, &text) != nil {
			text = string(v)
		}
		config[k] = text
	})
	for _, k := range slices.Sorted(maps.Keys(config)) {
		list = append(list, k+"="+config[k])
	}
	for _, a := range [...][2]string{
		{"HEADGATE_ID", abi.MetaID},
		{"HEADGATE_SOURCE", abi.MetaSource},
		{"HEADGATE_TYPE", abi.MetaType},
		{"HEADGATE_SUBJECT", abi.MetaSubject},
		{"HEADGATE_TIME", abi.MetaTime},
		{"HEADGATE_ATTEMPT", abi.MetaAttempt},
		{"HEADGATE_PARAMS", abi.MetaParams},
		{"REQUEST_METHOD", "httpmethod"},
		{"QUERY_STRING", "httpquery"},
	} {
		if v, e := in.calls.Lookup([]byte(a[1])); e == 0 {
			list = append(list, a[0]+"="+v)
		}
	}
	return list
}

func (in *instance) arguments() []string { return []string{in.module.name} }

// wasiSizes and wasiList hand out a list of texts: how many there are and how
// long, then the texts. Guests other than commands find none.
func wasiSizes(texts func(*instance) []string) func(*instance, []uint64) uint32 {
	return func(in *instance, s []uint64) uint32 {
		count, size := uint32(0), uint32(0)
		if in.module.code.kind == command {
			for _, t := range texts(in) {
				count, size = count+1, size+uint32(len(t))+1
			}
		}
		if !in.linear.WriteUint32Le(uint32(s[0]), count) || !in.linear.WriteUint32Le(uint32(s[1]), size) {
			return wasiFault
		}
		return wasiOK
	}
}

func wasiList(texts func(*instance) []string) func(*instance, []uint64) uint32 {
	return func(in *instance, s []uint64) uint32 {
		if in.module.code.kind != command {
			return wasiOK
		}
		at := uint32(s[1])
		for i, t := range texts(in) {
			entry, ok := in.linear.Read(uint32(s[0])+uint32(i)*4, 4)
			if !ok || !in.linear.Write(at, append([]byte(t), 0)) {
				return wasiFault
			}
			binary.LittleEndian.PutUint32(entry, at)
			at += uint32(len(t)) + 1
		}
		return wasiOK
	}
}

// checkCommand refuses a command that could not be run.
func checkCommand(c *compiled) error {
	f := c.code.ExportedFunctions()[commandStart]
	if len(f.ParamTypes()) != 0 || len(f.ResultTypes()) != 0 {
		return &instrument.Error{Where: "export " + commandStart, Problem: "has the wrong type: it takes and returns nothing"}
	}
	return nil
}
