//go:build !linux

package sandbox

import "errors"

// reserve allocates plainly where lazy mappings are not available.
func reserve(n uint64) ([]byte, error) { return make([]byte, n), nil }

func release([]byte) {}

// pageFile is not available here: every image is copied.
type pageFile struct{}

func newPageFile([]byte) (pageFile, error) { return pageFile{}, errors.ErrUnsupported }

func (pageFile) mapPrivate([]byte) error { return errors.ErrUnsupported }
func (pageFile) close()                  {}

func dropPages([]byte) error { return errors.ErrUnsupported }
