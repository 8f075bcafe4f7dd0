package headgate

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Object is what a bucket has under a key.
type Object struct {
	Digest   string    `json:"digest"` // sha256: and hexadecimal
	Size     int64     `json:"size"`
	Type     string    `json:"type"`
	Modified time.Time `json:"modified"`
}

func objectName(bucket, key string) []byte { return []byte(bucket + "/" + key) }

// StatObject tells what a bucket has under a key, or ErrNotFound.
func (c *Context) StatObject(bucket, key string) (Object, error) {
	var o Object
	raw, err := read(256, func(dst []byte) int32 { return blobStat(objectName(bucket, key), dst) })
	if err == nil {
		err = json.Unmarshal(raw, &o)
	}
	return o, wrap("object", bucket+"/"+key, err)
}

// GetObject returns an object's bytes, or ErrNotFound.
func (c *Context) GetObject(bucket, key string) ([]byte, error) {
	b, err := read(0, func(dst []byte) int32 { return blobGet(objectName(bucket, key), dst) })
	return b, wrap("object", bucket+"/"+key, err)
}

// ReadObject fills p with an object's bytes from offset on and returns how many
// there were, as io.ReaderAt does: fewer than len(p) come with io.EOF.
func (c *Context) ReadObject(bucket, key string, offset int64, p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m := blobRead(objectName(bucket, key), offset+int64(n), p[n:])
		if m < 0 {
			return n, wrap("object", bucket+"/"+key, check(m))
		}
		if m == 0 {
			return n, io.EOF
		}
		n += int(m)
	}
	return n, nil
}

// PutObject puts an object into a bucket; an empty mediaType is that of the
// key's ending. It is there, and starts functions, when the handler has
// succeeded.
func (c *Context) PutObject(bucket, key string, data []byte, mediaType string) error {
	return wrap("put object", bucket+"/"+key, check(blobPut(objectName(bucket, key), []byte(mediaType), data)))
}

// DeleteObject deletes an object. One that does not exist is no error.
func (c *Context) DeleteObject(bucket, key string) error {
	return wrap("delete object", bucket+"/"+key, check(blobDelete(objectName(bucket, key))))
}

// ListObjects returns the keys of a bucket that start with prefix, in order.
func (c *Context) ListObjects(bucket, prefix string) ([]string, error) {
	var keys []string
	for cursor := uint32(0); ; {
		page, err := read(1024, func(dst []byte) int32 { return blobList(objectName(bucket, prefix), cursor, dst) })
		if err != nil {
			return nil, fmt.Errorf("list objects %s/%s: %w", bucket, prefix, err)
		}
		if cursor, keys = parsePage(page, keys); cursor == 0 {
			return keys, nil
		}
	}
}
