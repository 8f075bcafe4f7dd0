package wire

// Bringer is what brings a gateway's binary where the gateway takes none from its
// controller: a word in reports, which are many, and a sentence for people.
type Bringer string

// What may bring a binary; empty is the controller.
const (
	Package   Bringer = "package"
	Installer Bringer = "install"
	Somebody  Bringer = "somebody"
)

// Sentence says what brings the binary, and how. A word that is not known here is
// the sentence itself.
func (b Bringer) Sentence() string {
	switch b {
	case Package:
		return "a package brings this binary: on the gateway, 'apt install ./headgate_VERSION_ARCH.deb'"
	case Installer:
		return "'headgate install' brought this binary: run it on the gateway with the new one"
	case Somebody:
		return "this binary is not the gateway's own affair (system.dir): put the new one in its place on the gateway"
	default:
		return string(b)
	}
}
