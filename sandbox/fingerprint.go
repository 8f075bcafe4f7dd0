package sandbox

import (
	"github.com/headgate-io/headgate/sandbox/engine/micropython"
	"github.com/headgate-io/headgate/sandbox/engine/quickjs"
	"github.com/headgate-io/headgate/sandbox/instrument"
)

// Fingerprint names what decides how much fuel the same code takes with the
// same answers: the rewriter and the script engines. It is the same on every
// architecture.
func Fingerprint() string {
	return "instrument " + instrument.Version + ", quickjs " + quickjs.Version + "+" + quickjs.GlueDigest() +
		", micropython " + micropython.Version + "+" + micropython.LibraryDigest()
}
