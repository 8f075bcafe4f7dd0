package abi

import "encoding/binary"

// Names of the border.
const (
	// Module is the import module of every host call.
	Module = "headgate_v1"
	// ExportMarker is the function () -> () whose presence says "native guest".
	ExportMarker = "headgate_abi_v1"
	// ExportHandle is the function () -> i32 that handles one event.
	ExportHandle = "headgate_handle"
	// ExportInit is the optional function () -> i32 that runs once, before
	// the snapshot that every invocation starts from.
	ExportInit = "headgate_init"
	// ExportInitialize is the optional constructor () -> () of WASI reactors.
	ExportInitialize = "_initialize"
	// ExportPluginHandle is what handles events in an Extism plug-in that
	// exports several functions and whose manifest names none.
	ExportPluginHandle = "handle"
	// ExportMemory is the guest's memory.
	ExportMemory = "memory"
)

// Type is the type of a parameter or result.
type Type byte

// The types that cross the border; their values are WebAssembly's.
const (
	I32 Type = 0x7f
	I64 Type = 0x7e
	F64 Type = 0x7c
)

// Call is one host call.
type Call struct {
	Name    string
	Params  []Type
	Results []Type
	// Init is true when headgate_init may make the call.
	Init bool
}

var (
	none   []Type
	one    = []Type{I32}
	two    = []Type{I32, I32}
	three  = []Type{I32, I32, I32}
	four   = []Type{I32, I32, I32, I32}
	five   = []Type{I32, I32, I32, I32, I32}
	six    = []Type{I32, I32, I32, I32, I32, I32}
	long   = []Type{I64}
	metric = []Type{I32, I32, F64}
	ranged = []Type{I32, I32, I64, I32, I32}
)

// Calls is every host call of version 1. Pointers and lengths are unsigned
// i32 into the guest's memory and are not kept after the call. A call that
// reads (…, dst, cap) writes at most cap bytes and returns the full length;
// when that is more than cap, the guest calls again with more room.
var Calls = [...]Call{
	{"input_len", none, one, false},
	{"input_read", two, one, false},
	{"output", two, none, false},
	{"output_meta", four, one, false},
	{"error", two, none, true},
	{"meta", four, one, false},
	{"log", three, none, true},
	{"now_ms", none, long, false},
	{"random", two, none, true},
	{"config", four, one, true},
	{"secret", four, one, false},
	{"kv_get", four, one, false},
	{"kv_set", five, one, false},
	{"kv_del", two, one, false},
	{"kv_list", five, one, false},
	{"publish", six, one, false},
	{"enqueue", five, one, false},
	{"invoke", four, one, false},
	{"sensor_read", four, one, false},
	{"actuate", five, one, false},
	{"metric", metric, none, false},
	{"blob_get", four, one, false},
	{"blob_put", four, one, false},
	{"http_fetch", four, one, false},
	{"blob_put_typed", six, one, false},
	{"blob_stat", four, one, false},
	{"blob_read", ranged, one, false},
	{"blob_delete", two, one, false},
	{"blob_list", five, one, false},
}

// Flags of publish.
const (
	// PublishQoSMask covers the two bits of the quality of service.
	PublishQoSMask = 0x3
	// PublishRetain asks the broker to keep the message.
	PublishRetain = 0x4
)

// Bounds that hold whatever a function's limits say.
const (
	MaxKeyBytes  = 1024
	MaxNameBytes = 1024
	// MaxListKeys is how many keys one page of kv_list holds.
	MaxListKeys = 128
	// MaxListCursors is how many pages one invocation may list.
	MaxListCursors = 4096
	// MaxMetrics is how many metric values one invocation may report.
	MaxMetrics = 64
	// MaxOutputMeta is how many output attributes one invocation may set.
	MaxOutputMeta = 64
	// MaxOutputMetaBytes bounds the value of one.
	MaxOutputMetaBytes = 8192
)

// Keys of meta. Params are also available one by one as "params.<name>".
const (
	MetaID          = "id"
	MetaSource      = "source"
	MetaType        = "type"
	MetaSubject     = "subject"
	MetaTime        = "time"
	MetaContentType = "datacontenttype"
	MetaFunction    = "function"
	MetaVersion     = "version"
	MetaAttempt     = "attempt"
	MetaHops        = "hops"
	// MetaRemaining is how many milliseconds the invocation has left. It is the
	// one clock that does not stand still.
	MetaRemaining = "remaining_ms"
	// MetaParams holds all captures of the trigger as one JSON object.
	MetaParams = "params"
	// MetaParamPrefix precedes the name of one capture.
	MetaParamPrefix = "params."
)

// Keys of output_meta that an answer over HTTP is made of; MetaContentType is
// the third.
const (
	// OutputStatus is the status, 200 by default.
	OutputStatus = "status"
	// OutputHeaderPrefix precedes the name of a header, in lower case. Several
	// values of one are separated by line feeds.
	OutputHeaderPrefix = "header."
)

// Find returns the call with a name.
func Find(name string) (*Call, bool) {
	for i := range Calls {
		if Calls[i].Name == name {
			return &Calls[i], true
		}
	}
	return nil, false
}

// ParsePage reads a page of kv_list: the next cursor and the keys. A page
// that is cut short yields the keys that are whole.
func ParsePage(page []byte) (next uint32, keys []string) {
	keys = []string{}
	if len(page) < 4 {
		return 0, keys
	}
	next = binary.LittleEndian.Uint32(page)
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
