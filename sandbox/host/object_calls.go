package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
)

// Blobs holds the bytes of objects, by digest. It is used by one goroutine at a
// time.
type Blobs interface {
	// MaxObject is how large an object of the bucket may be, 0 where there is no
	// such bucket.
	MaxObject(bucket string) int64
	// PutBlob keeps data, which it must not hold on to, until it is known what
	// becomes of the invocation, and returns its digest.
	PutBlob(data []byte) (digest string, err error)
	// ReadBlob reads content from offset on until p is full or it ends. Content
	// that is not there is fs.ErrNotExist.
	ReadBlob(digest string, offset int64, p []byte) (n int, err error)
}

// ObjectPolicy decides which objects a function may touch; each is named
// bucket/key. Its errors say what was refused and which permission would allow
// it.
type ObjectPolicy interface {
	MayReadObject(name string) error
	MayWriteObject(name string) error
	// MayListObjects is about all names that start with prefix.
	MayListObjects(prefix string) error
}

// WithObjects returns a grant that may touch the objects that p allows.
func (g *Grant) WithObjects(p ObjectPolicy) *Grant {
	with := *g
	with.objects = p
	return &with
}

// errObjectSize is what a damaged database or a made-up recording may say.
const errObjectSize = constError("an object whose size is below 0")

const errNoObjects = constError("this function may not touch objects: add them to permissions.objects")

// object parts bucket/key and asks whether the function may do with it what it
// wants.
func (c *Calls) object(call string, raw []byte, may func(ObjectPolicy, string) error) (bucket, key string, e abi.Errno) {
	if len(raw) > abi.MaxNameBytes || !utf8.Valid(raw) {
		return "", "", c.refuse(abi.Invalid, "%s: the name is not UTF-8 or over %d bytes", call, abi.MaxNameBytes)
	}
	name := string(raw)
	bucket, key, err := function.SplitObjectKey(name)
	if err != nil {
		return "", "", c.refuse(abi.Invalid, "%s: %v", call, err)
	}
	if err = errNoObjects; c.grant.objects != nil {
		err = may(c.grant.objects, name)
	}
	if err != nil {
		return "", "", c.refuse(abi.Denied, "%s %s: %v", call, name, err)
	}
	return bucket, key, 0
}

// pendingObject is the invocation's own change of an object.
func (c *Calls) pendingObject(bucket, key string) *function.ObjectChange {
	for i := range c.effects.Objects {
		if ch := &c.effects.Objects[i]; ch.Key == key && ch.Bucket == bucket {
			return ch
		}
	}
	return nil
}

// stat finds what is under a name, as the invocation sees it.
func (c *Calls) stat(call string, raw []byte) (o function.Object, e abi.Errno) {
	bucket, key, e := c.object(call, raw, ObjectPolicy.MayReadObject)
	if e != 0 {
		return o, e
	}
	if ch := c.pendingObject(bucket, key); ch != nil {
		if ch.Delete {
			return o, abi.NotFound
		}
		return ch.Object, 0
	}
	value, found, err := c.state().Get(function.ObjectSpace(bucket), key)
	if err == nil && found {
		if o, err = function.DecodeObject(value); err == nil && o.Size < 0 {
			err = errObjectSize
		}
	}
	if err != nil {
		c.stateFailed(call, err)
		return o, abi.Unavailable
	}
	if !found {
		return o, abi.NotFound
	}
	return o, 0
}

// BlobStat answers blob_stat with the object as JSON.
func (c *Calls) BlobStat(raw []byte) ([]byte, abi.Errno) {
	o, e := c.stat("blob_stat", raw)
	if e != 0 {
		return nil, e
	}
	return o.Encode(), 0
}

// BlobSize is the first half of blob_get: how long the object is, and its
// digest. BlobRead is the other.
func (c *Calls) BlobSize(raw []byte) (size int64, digest string, e abi.Errno) {
	o, e := c.stat("blob_get", raw)
	if e == 0 && o.Size > maxBlob {
		e = c.refuse(abi.Limit, "blob_get %s: %d bytes are more than a guest can take at once: read it in parts", raw, o.Size)
	}
	return o.Size, o.Digest, e
}

// BlobGet is blob_get for a guest that has no room yet: the object's bytes, and
// the object as JSON.
func (c *Calls) BlobGet(raw []byte) (content, about []byte, e abi.Errno) {
	o, e := c.stat("blob_get", raw)
	if limit := int64(c.grant.limits.Memory); e == 0 && o.Size > limit {
		e = c.refuse(abi.Limit, "blob_get %s: %d bytes do not fit into the function's memory of %d (limits.memory): read it in parts", raw, o.Size, limit)
	}
	if e != 0 {
		return nil, nil, e
	}
	content = make([]byte, o.Size)
	_, e = c.ReadBlob("blob_get", raw, o.Digest, 0, content)
	return content, o.Encode(), e
}

// BlobMoved is how many bytes of objects the invocation has read and put.
func (c *Calls) BlobMoved() int64 { return c.blobMoved }

// maxBlob is the longest object that fits into a length.
const maxBlob = 1<<31 - 1

// ReadBlob fills dst with what an object has from offset on.
func (c *Calls) ReadBlob(call string, raw []byte, digest string, offset int64, dst []byte) (int, abi.Errno) {
	n, err := c.readBlob(digest, offset, dst)
	switch {
	case err == nil:
		return n, 0
	case errors.Is(err, fs.ErrNotExist):
		return 0, c.refuse(abi.Unavailable, "%s %s: its bytes are not on this gateway", call, raw)
	}
	c.stateFailed(call, err)
	return 0, abi.Unavailable
}

func (c *Calls) readBlob(digest string, offset int64, dst []byte) (int, error) {
	if c.in.Blobs == nil {
		return 0, fs.ErrNotExist
	}
	n, err := c.in.Blobs.ReadBlob(digest, offset, dst)
	c.blobMoved += int64(n)
	if err == nil && c.in.Recorded {
		c.heardBlob(digest, offset, dst[:n])
	}
	return n, err
}

// BlobRead answers blob_read.
func (c *Calls) BlobRead(raw []byte, offset uint64, dst []byte) (int, abi.Errno) {
	o, e := c.stat("blob_read", raw)
	if e != 0 || offset >= uint64(o.Size) {
		return 0, e
	}
	return c.ReadBlob("blob_read", raw, o.Digest, int64(offset), dst)
}

// BlobPut answers blob_put and blob_put_typed: an empty type is that of the
// key's ending.
func (c *Calls) BlobPut(raw, mediaType, data []byte) abi.Errno {
	bucket, key, e := c.object("blob_put", raw, ObjectPolicy.MayWriteObject)
	if e != 0 {
		return e
	}
	kind, err := function.ObjectType(string(mediaType), key)
	if err != nil {
		return c.refuse(abi.Invalid, "blob_put %s: %v", raw, err)
	}
	most := int64(0)
	if c.in.Blobs != nil {
		most = c.in.Blobs.MaxObject(bucket)
	}
	switch limit := int64(c.grant.limits.ObjectBytes); {
	case most == 0:
		return c.refuse(abi.NotFound, "blob_put %s: there is no bucket %s", raw, bucket)
	case int64(len(data)) > most:
		return c.refuse(abi.Limit, "blob_put %s: %d bytes are over the %d that an object of this bucket may have", raw, len(data), most)
	case c.objectPuts >= c.grant.limits.Effects:
		// Each content is a file until it is known what becomes of the
		// invocation, though another takes its place under the key.
		return c.refuse(abi.Limit, "blob_put: one invocation may put %d times (limits.effects)", c.grant.limits.Effects)
	case c.objectBytes+int64(len(data)) > limit:
		return c.refuse(abi.Limit, "blob_put %s: with %d more bytes the objects of this invocation are over %d bytes (limits.object_bytes)", raw, len(data), limit)
	}
	if e := c.changeObject("blob_put", function.ObjectChange{Bucket: bucket, Key: key}); e != 0 {
		return e
	}
	digest, err := c.in.Blobs.PutBlob(data)
	if err != nil {
		c.fail(function.Failed, "blob_put %s: %v", raw, err)
		return abi.Unavailable
	}
	c.objectBytes, c.objectPuts = c.objectBytes+int64(len(data)), c.objectPuts+1
	c.blobMoved += int64(len(data))
	c.pendingObject(bucket, key).Object = function.Object{
		Digest: digest, Size: int64(len(data)), Type: kind, Modified: c.Now().UTC().Truncate(time.Millisecond),
	}
	return 0
}

// BlobDelete answers blob_delete. Deleting what does not exist succeeds.
func (c *Calls) BlobDelete(raw []byte) abi.Errno {
	bucket, key, e := c.object("blob_delete", raw, ObjectPolicy.MayWriteObject)
	if e != 0 {
		return e
	}
	return c.changeObject("blob_delete", function.ObjectChange{Bucket: bucket, Key: key, Delete: true})
}

// changeObject notes a change; a later one of the same object takes the
// earlier's place.
func (c *Calls) changeObject(call string, ch function.ObjectChange) abi.Errno {
	if old := c.pendingObject(ch.Bucket, ch.Key); old != nil {
		*old = ch
		return 0
	}
	if e := c.charge(call, len(ch.Bucket)+len(ch.Key)); e != 0 {
		return e
	}
	c.effects.Objects = append(c.effects.Objects, ch)
	return 0
}

// BlobList answers blob_list: one page of the names below bucket/prefix, as
// kv_list does of keys. Names come without their bucket.
func (c *Calls) BlobList(rawPrefix []byte, cursor uint32) ([]byte, abi.Errno) {
	bucketRaw, rest, _ := bytes.Cut(rawPrefix, []byte{'/'})
	bucket, prefix := string(bucketRaw), string(rest)
	if len(rawPrefix) > abi.MaxNameBytes || !utf8.Valid(rawPrefix) || !function.ValidBucket(bucket) {
		return nil, c.refuse(abi.Invalid, "blob_list: the prefix does not begin with the name of a bucket, is not UTF-8 or over %d bytes", abi.MaxNameBytes)
	}
	err := error(errNoObjects)
	if c.grant.objects != nil {
		err = c.grant.objects.MayListObjects(bucket + "/" + prefix)
	}
	if err != nil {
		return nil, c.refuse(abi.Denied, "blob_list %s: %v", rawPrefix, err)
	}
	after := ""
	if cursor > 0 {
		if int64(cursor) > int64(len(c.cursors)) {
			return nil, c.refuse(abi.Invalid, "blob_list: cursor %d was never given out", cursor)
		}
		after = c.cursors[cursor-1]
	}
	var own []string
	changed := make(map[string]bool, len(c.effects.Objects))
	for i := range c.effects.Objects {
		if ch := &c.effects.Objects[i]; ch.Bucket == bucket {
			changed[ch.Key] = !ch.Delete
			if !ch.Delete && ch.Key > after && strings.HasPrefix(ch.Key, prefix) {
				own = append(own, ch.Key)
			}
		}
	}
	keys, more, err := c.mergeKeys(function.ObjectSpace(bucket), prefix, after, own, func(key string) (there, own bool) {
		there, own = changed[key]
		return there, own
	})
	if err != nil {
		c.stateFailed("blob_list", err)
		return nil, abi.Unavailable
	}
	return c.listPage("blob_list", keys, more)
}

// listPage is a page of keys as guests read it.
func (c *Calls) listPage(call string, keys []string, more bool) ([]byte, abi.Errno) {
	next := uint32(0)
	if more {
		next = c.cursorFor(keys[len(keys)-1])
		if next == 0 {
			return nil, c.refuse(abi.Limit, "%s: more than %d pages in one invocation", call, abi.MaxListCursors)
		}
	}
	page := binary.LittleEndian.AppendUint32(c.page[:0], next)
	for _, k := range keys {
		page = binary.LittleEndian.AppendUint32(page, uint32(len(k)))
		page = append(page, k...)
	}
	c.page = page
	return page, 0
}
