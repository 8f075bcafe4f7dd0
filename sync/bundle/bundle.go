// Package bundle is the signed package format of one function version: what
// an author's tool makes, and all that a gateway needs to run it.
//
// A bundle is a gzip-compressed tar of three kinds of entries, in this order:
//
//	bundle.json     the Header: the function's spec and the digest of every file
//	signature.json  the Signature over bundle.json
//	files/NAME      the files the header lists, sorted by name
//
// The signature is Ed25519 (RFC 8032) over the context string
// "headgate bundle v1\n" followed by the bytes of bundle.json, so that it
// covers every file through its digest. The same content makes the same bytes.
package bundle

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/headgate-io/headgate/function"
)

// Format is the version of the format that this package writes and reads.
const Format = 1

// Bounds of a bundle, checked before anything is allocated.
const (
	MaxBytes       = 64 << 20
	maxHeaderBytes = 1 << 20
	maxFiles       = 256
)

const signContext = "headgate bundle v1\n"

// Sentinels that a caller may branch on.
var (
	// ErrMalformed: the bytes are not a bundle, or not a whole one.
	ErrMalformed = errors.New("malformed bundle")
	// ErrSignature: it is a bundle, but not as its author signed it.
	ErrSignature = errors.New("bad bundle signature")
)

// Header is the signed part of a bundle.
type Header struct {
	Format int           `json:"format"`
	Spec   function.Spec `json:"spec"`
	// Files maps a file's name to the hex SHA-256 of its content.
	Files map[string]string `json:"files"`
}

// Signature is who signed the header.
type Signature struct {
	Algorithm string            `json:"algorithm"`
	Key       ed25519.PublicKey `json:"key"`
	Signature []byte            `json:"signature"`
}

// Bundle is an opened, verified bundle.
type Bundle struct {
	Spec  function.Spec
	Files map[string][]byte
	// Author is the key that signed it.
	Author Key
	// Digest is the hex SHA-256 of the header: it names the content.
	Digest string
}

// Key is an author's public key.
type Key [ed25519.PublicKeySize]byte

// String writes the key in base64, the form that people compare and pin.
func (k Key) String() string { return base64.RawURLEncoding.EncodeToString(k[:]) }

// ParseKey reads what String wrote.
func ParseKey(s string) (Key, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != len(Key{}) {
		return Key{}, fmt.Errorf("%q is not an author key: it has %d base64 characters", s, base64.RawURLEncoding.EncodedLen(len(Key{})))
	}
	return Key(b), nil
}

// Digest names the content that Pack would make a bundle of.
func Digest(spec function.Spec, files map[string][]byte) (string, error) {
	header, err := headerOf(spec, files)
	if err != nil {
		return "", fmt.Errorf("digest of %s: %w", spec.Name, err)
	}
	sum := sha256.Sum256(header)
	return hex.EncodeToString(sum[:]), nil
}

// headerOf is the signed part of a bundle.
func headerOf(spec function.Spec, files map[string][]byte) ([]byte, error) {
	h := Header{Format: Format, Spec: spec, Files: make(map[string]string, len(files))}
	for name, content := range files {
		sum := sha256.Sum256(content)
		h.Files[name] = hex.EncodeToString(sum[:])
	}
	return json.Marshal(h)
}

// Pack makes and signs a bundle of spec and its files. The file named by
// spec.Main must be among them.
func Pack(spec function.Spec, files map[string][]byte, author ed25519.PrivateKey) ([]byte, error) {
	if _, ok := files[spec.Main]; !ok {
		return nil, fmt.Errorf("pack %s: main file %s is not among the files", spec.Name, spec.Main)
	}
	if len(files) > maxFiles {
		return nil, fmt.Errorf("pack %s: %d files, more than the %d a bundle may have", spec.Name, len(files), maxFiles)
	}
	header, err := headerOf(spec, files)
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", spec.Name, err)
	}
	signature, err := json.Marshal(Signature{
		Algorithm: "ed25519",
		Key:       author.Public().(ed25519.PublicKey),
		Signature: ed25519.Sign(author, append([]byte(signContext), header...)),
	})
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", spec.Name, err)
	}
	entries := []entry{{headerName, header}, {signatureName, signature}}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		entries = append(entries, entry{filePrefix + name, files[name]})
	}
	return writeArchive(entries)
}

// Open reads and verifies a bundle. The signature proves that the content is
// as the holder of Author's key signed it; whether that author is welcome is
// for the caller to say.
func Open(raw []byte) (*Bundle, error) {
	entries, err := readArchive(raw)
	if err != nil {
		return nil, err
	}
	if len(entries) < 3 || entries[0].name != headerName || entries[1].name != signatureName {
		return nil, fmt.Errorf("%w: it must start with %s and %s", ErrMalformed, headerName, signatureName)
	}
	author, err := verify(entries[0].content, entries[1].content)
	if err != nil {
		return nil, err
	}
	var h Header
	if err := json.Unmarshal(entries[0].content, &h); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, headerName, err)
	}
	if h.Format != Format {
		return nil, fmt.Errorf("%w: format %d, this version reads %d: update headgate", ErrMalformed, h.Format, Format)
	}
	files, err := checkFiles(h, entries[2:])
	if err != nil {
		return nil, err
	}
	if !function.ValidName(h.Spec.Name) {
		return nil, fmt.Errorf("%w: %q is not a function's name", ErrMalformed, h.Spec.Name)
	}
	sum := sha256.Sum256(entries[0].content)
	return &Bundle{Spec: h.Spec, Files: files, Author: author, Digest: hex.EncodeToString(sum[:])}, nil
}

func verify(header, signature []byte) (Key, error) {
	var s Signature
	if err := json.Unmarshal(signature, &s); err != nil {
		return Key{}, fmt.Errorf("%w: %s: %w", ErrMalformed, signatureName, err)
	}
	if s.Algorithm != "ed25519" || len(s.Key) != ed25519.PublicKeySize {
		return Key{}, fmt.Errorf("%w: algorithm %q with a key of %d bytes, want ed25519", ErrSignature, s.Algorithm, len(s.Key))
	}
	if !ed25519.Verify(s.Key, append([]byte(signContext), header...), s.Signature) {
		return Key{}, fmt.Errorf("%w: the content was changed after signing", ErrSignature)
	}
	return Key(s.Key), nil
}

func checkFiles(h Header, entries []entry) (map[string][]byte, error) {
	files := make(map[string][]byte, len(entries))
	for _, e := range entries {
		name := e.name[len(filePrefix):]
		if !fs.ValidPath(name) { // nothing writes them out today; nothing may be led astray tomorrow
			return nil, fmt.Errorf("%w: file %q: its name leads elsewhere", ErrMalformed, name)
		}
		if _, twice := files[name]; twice {
			return nil, fmt.Errorf("%w: file %q is there twice", ErrMalformed, name)
		}
		want, listed := h.Files[name]
		sum := sha256.Sum256(e.content)
		if !listed || hex.EncodeToString(sum[:]) != want {
			return nil, fmt.Errorf("%w: file %q is not the one that was signed", ErrSignature, name)
		}
		files[name] = e.content
	}
	if len(files) != len(h.Files) {
		return nil, fmt.Errorf("%w: %d of %d files are missing", ErrMalformed, len(h.Files)-len(files), len(h.Files))
	}
	if _, ok := files[h.Spec.Main]; !ok {
		return nil, fmt.Errorf("%w: main file %q is not in it", ErrMalformed, h.Spec.Main)
	}
	return files, nil
}
