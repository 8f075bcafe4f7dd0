package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	headerName    = "bundle.json"
	signatureName = "signature.json"
	filePrefix    = "files/"
)

type entry struct {
	name    string
	content []byte
}

func writeArchive(entries []entry) ([]byte, error) {
	var out bytes.Buffer
	zw, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	tw := tar.NewWriter(zw)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Size: int64(len(e.content)), Mode: 0o644, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if err := tw.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("write bundle entry %s: %w", e.name, err)
		}
		if _, err := tw.Write(e.content); err != nil {
			return nil, fmt.Errorf("write bundle entry %s: %w", e.name, err)
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		return nil, fmt.Errorf("write bundle: %w", err)
	}
	if out.Len() > MaxBytes {
		return nil, fmt.Errorf("bundle has %d bytes, more than the %d it may have", out.Len(), MaxBytes)
	}
	return out.Bytes(), nil
}

// readArchive unpacks at most MaxBytes of content, so that a small bundle
// cannot grow without bound.
func readArchive(raw []byte) ([]entry, error) {
	if len(raw) > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes, more than the %d it may have", ErrMalformed, len(raw), MaxBytes)
	}
	zr, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	tr := tar.NewReader(zr)
	var entries []entry
	for left := int64(MaxBytes); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return entries, checkTail(zr)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if err := checkEntry(h, len(entries), left); err != nil {
			return nil, err
		}
		content := make([]byte, h.Size)
		if _, err := io.ReadFull(tr, content); err != nil {
			return nil, fmt.Errorf("%w: entry %q is cut short: %w", ErrMalformed, h.Name, err)
		}
		left -= h.Size
		entries = append(entries, entry{h.Name, content})
	}
}

// checkTail reads on to the end of the compressed stream, whose checksum is
// there, and allows only the padding that tar ends with.
func checkTail(r io.Reader) error {
	const maxPadding = 1 << 20
	n, err := io.Copy(io.Discard, io.LimitReader(r, maxPadding+1))
	if err != nil {
		return fmt.Errorf("%w: cut short or damaged: %w", ErrMalformed, err)
	}
	if n > maxPadding {
		return fmt.Errorf("%w: bytes after its end", ErrMalformed)
	}
	return nil
}

func checkEntry(h *tar.Header, index int, left int64) error {
	switch {
	case h.Typeflag != tar.TypeReg:
		return fmt.Errorf("%w: entry %q is not a plain file", ErrMalformed, h.Name)
	case h.Size > left || index < 2 && h.Size > maxHeaderBytes:
		return fmt.Errorf("%w: entry %q has %d bytes, too many", ErrMalformed, h.Name, h.Size)
	case index >= 2+maxFiles:
		return fmt.Errorf("%w: more than %d files", ErrMalformed, maxFiles)
	case index >= 2 && !strings.HasPrefix(h.Name, filePrefix):
		return fmt.Errorf("%w: unexpected entry %q", ErrMalformed, h.Name)
	}
	return nil
}
