//go:build !linux

package sandbox

import "errors"

// reserve allocates plainly where lazy mappings are not available.
func reserve(n uint64) ([]byte, error) { return make([]byte, n), nil }

func release([]byte) {}

// pageFile is not available here: every image is copied.
type pageFile struct{}

func newPageFile([]byte) (pageFile, error) { return pageFile{}, errors.ErrUnsupported }

func (pageFile) mapPrivate([]byte) error     { return errors.ErrUnsupported }
func (pageFile) view(uint64) ([]byte, error) { return nil, errors.ErrUnsupported }
func (pageFile) close()                      {}

// pageTable is not available here.
type pageTable struct{ copyOnWrite bool }

func openPageTable() *pageTable { return &pageTable{} }
func (*pageTable) close() error { return nil }

// restorer is never used: there are no mapped images to restore.
type restorer struct{ table *pageTable }

func (*restorer) restore(_, _ []byte) error { return errors.ErrUnsupported }
