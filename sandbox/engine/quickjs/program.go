package quickjs

import (
	"crypto/sha256"
	_ "embed" // for the glue
	"encoding/hex"
	"regexp"

	reactor "github.com/aperturerobotics/go-quickjs-wasi-reactor"
)

// Wasm is the engine's module.
func Wasm() []byte { return reactor.QuickJSWASM }

// Version is the engine's version.
const Version = reactor.Version

//go:embed glue.js
var glue []byte

// Parts of the glue that not every script needs.
var (
	//go:embed web.js
	web []byte
	//go:embed compat.js
	compat []byte
)

// extensions are loaded for scripts that name what they bring: each would add to
// the clean state of every function.
var extensions = []struct {
	file   string
	source []byte
	named  *regexp.Regexp
}{
	{"headgate:web", web, regexp.MustCompile(`\b(fetch|Headers|Request|Response|URL|URLSearchParams|TextEncoder|TextDecoder)\b`)},
	{"headgate:compat", compat, regexp.MustCompile(`\b(exports|module|require|process|handler)\b`)},
}

// GlueDigest names the JavaScript side of the border.
func GlueDigest() string {
	sum := sha256.New()
	for _, part := range [][]byte{glue, web, compat} {
		sum.Write(part)
	}
	return hex.EncodeToString(sum.Sum(nil)[:4])
}
