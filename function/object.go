package function

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"path"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Object is what a bucket keeps under one key.
type Object struct {
	// Digest is the SHA-256 of its bytes as DigestPrefix and lower-case
	// hexadecimal.
	Digest string `json:"digest"`
	// Size is how many bytes it has.
	Size int64 `json:"size"`
	// Type is its media type.
	Type string `json:"type"`
	// Modified is when it was put, by the gateway's clock.
	Modified time.Time `json:"modified"`
}

// ObjectChange puts an object under a key of a bucket, or deletes the one that
// is there.
type ObjectChange struct {
	Bucket, Key string
	Delete      bool
	// Object is what is put; its bytes are on disk already.
	Object Object
}

// Write is the change as a write of the bucket's namespace.
func (c *ObjectChange) Write() Write {
	w := Write{Namespace: ObjectSpace(c.Bucket), Key: c.Key, Delete: c.Delete}
	if !c.Delete {
		w.Value = c.Object.Encode()
	}
	return w
}

// DigestPrefix starts every digest of an object.
const DigestPrefix = "sha256:"

// DigestOf is the digest of bytes whose SHA-256 is sum.
func DigestOf(sum []byte) string { return DigestPrefix + hex.EncodeToString(sum) }

// Encode is the object as it is stored and as functions read it.
func (o *Object) Encode() []byte {
	b, _ := json.Marshal(o) // of texts, a number and a time of four digits' years
	return b
}

// DecodeObject is the opposite of Encode.
func DecodeObject(b []byte) (Object, error) {
	var o Object
	if err := json.Unmarshal(b, &o); err != nil {
		return o, fmt.Errorf("object: %w", err)
	}
	return o, nil
}

// ObjectSpace is the namespace of a bucket's keys. No function's state has
// such a name.
func ObjectSpace(bucket string) string { return objectSpacePrefix + bucket }

const objectSpacePrefix = "bucket/"

// ObjectSpaceBucket is the bucket whose namespace this is.
func ObjectSpaceBucket(namespace string) (bucket string, ok bool) {
	return strings.CutPrefix(namespace, objectSpacePrefix)
}

var validBucket = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// ValidBucket reports whether name may name a bucket.
func ValidBucket(name string) bool { return validBucket.MatchString(name) }

// Bounds of the keys of objects.
const (
	MaxObjectKey    = 512
	MaxObjectLevels = 16
	maxObjectType   = 128
)

// CheckObjectKey reports why key cannot name an object. A key is a path of
// levels between slashes, so that triggers and permissions can be told in
// patterns, and that it means the same in every address.
func CheckObjectKey(key string) error {
	switch {
	case key == "":
		return errors.New("the key is empty")
	case len(key) > MaxObjectKey:
		return fmt.Errorf("the key has %d bytes, more than the %d that it may have", len(key), MaxObjectKey)
	case !utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl):
		return errors.New("the key is not UTF-8 or holds a control character")
	case strings.ContainsAny(key, `+#\`):
		return errors.New(`the key holds +, # or \: patterns could not tell it`)
	case strings.Count(key, "/") >= MaxObjectLevels:
		return fmt.Errorf("the key has more than %d levels", MaxObjectLevels)
	}
	for level := range strings.SplitSeq(key, "/") {
		if level == "" || level == "." || level == ".." {
			return errors.New("the key has a level that is empty, . or .. alone")
		}
	}
	return nil
}

// SplitObjectKey parts bucket/key.
func SplitObjectKey(s string) (bucket, key string, err error) {
	bucket, key, _ = strings.Cut(s, "/")
	if !ValidBucket(bucket) {
		return "", "", fmt.Errorf("%q does not begin with the name of a bucket: write bucket/key", s)
	}
	if err := CheckObjectKey(key); err != nil {
		return "", "", fmt.Errorf("%q: %w", s, err)
	}
	return bucket, key, nil
}

// ObjectType is the media type of an object: what was said of it, or else what
// its key's ending says.
func ObjectType(said, key string) (string, error) {
	if said == "" {
		if t := objectTypes[strings.ToLower(path.Ext(key))]; t != "" {
			return t, nil
		}
		return "application/octet-stream", nil
	}
	if len(said) > maxObjectType {
		return "", fmt.Errorf("the type has %d bytes, more than the %d that it may have", len(said), maxObjectType)
	}
	if _, _, err := mime.ParseMediaType(said); err != nil || strings.ContainsFunc(said, unicode.IsControl) {
		return "", fmt.Errorf("%q is not a media type such as image/jpeg", said)
	}
	return said, nil
}

// objectTypes are said by endings. The machine's own table would differ from
// one to the next.
var objectTypes = map[string]string{
	".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".gif": "image/gif", ".webp": "image/webp", ".bmp": "image/bmp",
	".json": "application/json", ".csv": "text/csv; charset=utf-8", ".txt": "text/plain; charset=utf-8", ".md": "text/markdown; charset=utf-8",
	".html": "text/html; charset=utf-8", ".xml": "application/xml", ".yaml": "application/yaml", ".yml": "application/yaml", ".pdf": "application/pdf",
	".wav": "audio/wav", ".mp3": "audio/mpeg", ".mp4": "video/mp4", ".mkv": "video/x-matroska",
	".gz": "application/gzip", ".zip": "application/zip", ".tar": "application/x-tar", ".wasm": "application/wasm",
}

// ObjectPermissions list what a function may do with objects: each entry is a
// bucket, all of it, or a filter of bucket/key with the + and # of MQTT.
type ObjectPermissions struct {
	// Read lets it read and list them.
	Read []string `yaml:"read" json:"read,omitempty"`
	// Write lets it put and delete them.
	Write []string `yaml:"write" json:"write,omitempty"`
}

// ObjectFilter is the filter of an entry of ObjectPermissions, and its bucket.
func ObjectFilter(entry string) (filter, bucket string) {
	bucket, rest, found := strings.Cut(entry, "/")
	if !found || rest == "" {
		return bucket + "/#", bucket
	}
	return entry, bucket
}

func (p *ObjectPermissions) validate(at func(string, ...any)) {
	for field, entries := range map[string][]string{"read": p.Read, "write": p.Write} {
		for i, entry := range entries {
			if _, bucket := ObjectFilter(entry); !ValidBucket(bucket) {
				at(fmt.Sprintf("%q does not begin with the name of a bucket: write camera, or camera/front/#", entry), "permissions", "objects", field, i)
			}
		}
	}
}

// Buckets are those that the function's triggers and permissions name, each
// with where.
func (s *Spec) Buckets(yield func(bucket string, path ...any)) {
	for i := range s.Triggers {
		if t := &s.Triggers[i]; t.File != "" {
			_, bucket := ObjectFilter(t.File)
			yield(bucket, "triggers", i, "file")
		}
	}
	for i, entry := range s.Permissions.Objects.Read {
		_, bucket := ObjectFilter(entry)
		yield(bucket, "permissions", "objects", "read", i)
	}
	for i, entry := range s.Permissions.Objects.Write {
		_, bucket := ObjectFilter(entry)
		yield(bucket, "permissions", "objects", "write", i)
	}
}

// What becomes of objects, in Trigger.Change.
const (
	ObjectCreated = "created"
	ObjectDeleted = "deleted"
	ObjectAny     = "any"
)

// FilePattern is the subjects that a file trigger means: a bucket alone is all
// that is in it.
func (t *Trigger) FilePattern() string {
	pattern, _ := ObjectFilter(t.File)
	return pattern
}

// FileChange is Change or its default.
func (t *Trigger) FileChange() string {
	if t.Change == "" {
		return ObjectCreated
	}
	return t.Change
}

func (t *Trigger) validateFile(at func(string, ...any)) {
	if _, bucket := ObjectFilter(t.File); !ValidBucket(bucket) {
		at(fmt.Sprintf("%q must begin with the name of a bucket: camera/{camera}/{name}", t.File), "file")
	}
	switch t.FileChange() {
	case ObjectCreated, ObjectDeleted, ObjectAny:
	default:
		at(fmt.Sprintf("%q must be %s, %s or %s", t.Change, ObjectCreated, ObjectDeleted, ObjectAny), "change")
	}
}
