package quickjs

import (
	"bytes"

	"github.com/headgate-io/headgate/sandbox/abi"
)

// object serves the calls about objects. Argument 0 is the object's name; the
// contents are bytes.
func (b *border) object(op uint32) abi.Errno {
	c := b.calls
	name := b.arg(0)
	switch op {
	case opObjectGet:
		content, about, e := c.BlobGet(name)
		if e == 0 {
			b.set(0, content, (*Guest).newBytes)
			b.set(1, about, (*Guest).newString)
		}
		return e
	case opObjectRead:
		room := min(max(b.number(1), 0), float64(c.Grant().Limits().Memory))
		content := make([]byte, int(room))
		n, e := c.BlobRead(name, uint64(max(b.number(0), 0)), content)
		if e == 0 {
			b.set(0, content[:n], (*Guest).newBytes)
		}
		return e
	case opObjectPut:
		name, mediaType, _ := bytes.Cut(name, []byte{0})
		return c.BlobPut(name, mediaType, b.arg(1))
	case opObjectStat:
		about, e := c.BlobStat(name)
		if e == 0 {
			b.setString(string(about))
		}
		return e
	case opObjectDelete:
		return c.BlobDelete(name)
	default:
		return b.list(c.BlobList)
	}
}
