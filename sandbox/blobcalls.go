package sandbox

// blobCalls are those of hostBodies that are about objects.
var blobCalls = map[string]func(h hostCall, s []uint64){
	"blob_get": hostCall.blobGet,
	"blob_put": func(h hostCall, s []uint64) { s[0] = h.blobPut(h.bytes(s[0], s[1]), nil, h.bytes(s[2], s[3])) },
	"blob_put_typed": func(h hostCall, s []uint64) {
		s[0] = h.blobPut(h.bytes(s[0], s[1]), h.bytes(s[2], s[3]), h.bytes(s[4], s[5]))
	},
	"blob_stat": func(h hostCall, s []uint64) {
		v, e := h.in.calls.BlobStat(h.bytes(s[0], s[1]))
		h.state()
		h.give(s, s[2], s[3], v, e)
	},
	"blob_read": func(h hostCall, s []uint64) {
		dst := h.bytes(s[3], min(uint64(uint32(s[4])), maxBlobRead))
		n, e := h.in.calls.BlobRead(h.bytes(s[0], s[1]), s[2], dst)
		h.blobMoved(n)
		if s[0] = uint64(uint32(n)); e != 0 {
			s[0] = errno(e)
		}
	},
	"blob_delete": func(h hostCall, s []uint64) { s[0] = errno(h.in.calls.BlobDelete(h.bytes(s[0], s[1]))) },
	"blob_list": func(h hostCall, s []uint64) {
		v, e := h.in.calls.BlobList(h.bytes(s[0], s[1]), uint32(s[2]))
		h.state()
		h.in.burn(int64(len(v)))
		h.give(s, s[3], s[4], v, e)
	},
}

// maxBlobRead bounds what one blob_read moves, so that its length is no errno.
const maxBlobRead = 1 << 30

// blobGet hands out a whole object where the guest has room for it.
func (h hostCall) blobGet(s []uint64) {
	name := h.bytes(s[0], s[1])
	size, digest, e := h.in.calls.BlobSize(name)
	h.state()
	if room := uint64(uint32(s[3])); e == 0 && uint64(size) <= room {
		_, e = h.in.calls.ReadBlob("blob_get", name, digest, 0, h.bytes(s[2], uint64(size)))
		h.blobMoved(int(size))
	}
	if s[0] = uint64(uint32(size)); e != 0 {
		s[0] = errno(e)
	}
}

func (h hostCall) blobPut(name, kind, data []byte) uint64 {
	e := h.in.calls.BlobPut(name, kind, data)
	h.blobMoved(len(data))
	return errno(e)
}

// blobMoved charges what moved bytes of objects.
func (h hostCall) blobMoved(n int) {
	h.in.burn(hostStateFuel + int64(n)/4)
	h.in.abortIfAsked()
	h.in.checkTime()
}
