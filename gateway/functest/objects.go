package functest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/sandbox/host"
)

// Object is an object: its bytes as Data (JSON), as Text, as Base64, or in File,
// beside the tests; one of them. Without any it is empty; one that is expected
// may then have any bytes.
type Object struct {
	Data   any     `yaml:"data"`
	Text   *string `yaml:"text"`
	Base64 string  `yaml:"base64"`
	File   string  `yaml:"file"`
	// Type is the media type; left out it is that of the key's ending, and not
	// looked at in what is expected.
	Type string `yaml:"type"`

	content []byte
	given   bool // else only that it is there, and its type, are looked at
}

// load reads the bytes; folder is what File is relative to.
func (o *Object) load(folder string) (err error) {
	given := 0
	for _, is := range []bool{o.Data != nil, o.Text != nil, o.Base64 != "", o.File != ""} {
		if is {
			given++
		}
	}
	o.given = given > 0
	switch {
	case given > 1:
		return errors.New("give data, text, base64 or file, one of them")
	case o.Base64 != "":
		o.content, err = base64.StdEncoding.DecodeString(o.Base64)
	case o.File != "" && !filepath.IsLocal(o.File):
		return fmt.Errorf("%q is not a file below the project's folder", o.File)
	case o.File != "":
		o.content, err = os.ReadFile(filepath.Join(folder, o.File))
	default:
		o.content, err = payload(o.Data, o.Text)
	}
	return err
}

// loadObjects reads what a test says of objects.
func (f *File) loadObjects(i int, folder string) error {
	c := &f.Tests[i]
	for _, name := range slices.Sorted(maps.Keys(c.Objects)) {
		o := c.Objects[name]
		_, _, err := function.SplitObjectKey(name)
		if err == nil {
			err = o.load(folder)
		}
		if err != nil {
			return f.fault(err.Error(), "tests", i, "objects", name)
		}
		c.Objects[name] = o
	}
	if c.Expect.Objects != nil {
		for name, o := range *c.Expect.Objects {
			if o == nil {
				continue
			}
			if err := o.load(folder); err != nil {
				return f.fault(err.Error(), "tests", i, "expect", "objects", name)
			}
		}
	}
	if c.Event.File != "" {
		if _, _, err := function.SplitObjectKey(c.Event.File); err != nil {
			return f.fault(err.Error(), "tests", i, "event", "file")
		}
	}
	if !slices.Contains([]string{"", function.ObjectCreated, function.ObjectDeleted}, c.Event.Change) || c.Event.Change != "" && c.Event.File == "" {
		return f.fault("is created or deleted, and says so of a file", "tests", i, "event", "change")
	}
	return nil
}

// blobs are the bytes of objects, in memory.
type blobs map[string][]byte

var _ host.Blobs = blobs(nil)

// MaxObject has no bound.
func (blobs) MaxObject(string) int64 { return math.MaxInt64 }

// PutBlob keeps data.
func (b blobs) PutBlob(data []byte) (string, error) {
	sum := sha256.Sum256(data)
	digest := function.DigestOf(sum[:])
	b[digest] = bytes.Clone(data)
	return digest, nil
}

// ReadBlob reads it.
func (b blobs) ReadBlob(digest string, offset int64, p []byte) (int, error) {
	data, ok := b[digest]
	if !ok {
		return 0, fs.ErrNotExist
	}
	return copy(p, data[min(offset, int64(len(data))):]), nil
}

// fill puts the objects of a test where its function finds them.
func (b blobs) fill(st *state, all map[string]Object) error {
	for name, o := range all {
		bucket, key, err := function.SplitObjectKey(name)
		if err != nil {
			return err
		}
		about, err := o.about(key)
		if err != nil {
			return err
		}
		if _, err := b.PutBlob(o.content); err != nil {
			return err
		}
		st.values[function.ObjectSpace(bucket)+"\x00"+key] = about.Encode()
	}
	return nil
}

func (o *Object) about(key string) (function.Object, error) {
	sum := sha256.Sum256(o.content)
	kind, err := function.ObjectType(o.Type, key)
	return function.Object{Digest: function.DigestOf(sum[:]), Size: int64(len(o.content)), Type: kind, Modified: time.UnixMilli(0).UTC()}, err
}

// objectData is the data of a test's event of a file.
func (c *Case) objectData() ([]byte, error) {
	bucket, key, err := function.SplitObjectKey(c.Event.File)
	if err != nil {
		return nil, err
	}
	o := c.Objects[c.Event.File]
	about, err := o.about(key)
	if err != nil {
		return nil, err
	}
	return json.Marshal(dispatch.ObjectData{Bucket: bucket, Key: key, Object: about})
}

// judgeObjects compares what is put and deleted with what is expected.
func (r *Report) judgeObjects(want map[string]*Object, got []function.ObjectChange, b blobs) {
	seen := map[string]bool{}
	for i := range got {
		c := &got[i]
		name := c.Bucket + "/" + c.Key
		seen[name] = true
		o, expected := want[name]
		switch {
		case !expected && c.Delete:
			r.fault("objects: %s is deleted, which is not expected", name)
		case !expected:
			r.fault("objects: %s is put, which is not expected", name)
		case o == nil && !c.Delete:
			r.fault("objects: %s is put, want it deleted", name)
		case o != nil && c.Delete:
			r.fault("objects: %s is deleted, want it put", name)
		case o == nil:
		case o.Type != "" && o.Type != c.Object.Type:
			r.fault("objects: %s is of type %s, want %s", name, c.Object.Type, o.Type)
		case o.given && !bytes.Equal(o.content, b[c.Object.Digest]) && !(o.Data != nil && same(decode(o.content), decode(b[c.Object.Digest]))):
			r.fault("objects: %s is\n  %s, want\n  %s", name, shown(b[c.Object.Digest]), shown(o.content))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !seen[name] {
			r.fault("objects: %s is neither put nor deleted", name)
		}
	}
}

// shown is content in short.
func shown(b []byte) string {
	const most = 200
	if len(b) > most {
		return fmt.Sprintf("%q and %d bytes more", b[:most], len(b)-most)
	}
	return fmt.Sprintf("%q", b)
}
