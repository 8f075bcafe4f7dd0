package sandbox

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reserve maps n bytes of zeroes that cost nothing until touched.
func reserve(n uint64) ([]byte, error) {
	return unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
}

func release(b []byte) {
	if err := unix.Munmap(b); err != nil {
		panic(fmt.Sprintf("sandbox: munmap: %v", err))
	}
}

// pageFile is a file in memory whose pages instances share until they write.
type pageFile struct{ fd int }

func newPageFile(content []byte) (pageFile, error) {
	fd, err := unix.MemfdCreate("headgate-image", unix.MFD_CLOEXEC)
	if err != nil {
		return pageFile{}, fmt.Errorf("memfd_create: %w", err)
	}
	f := pageFile{fd: fd}
	for offset := 0; offset < len(content); {
		n, err := unix.Pwrite(fd, content[offset:], int64(offset))
		if err != nil {
			f.close()
			return pageFile{}, fmt.Errorf("write image: %w", err)
		}
		offset += n
	}
	return f, nil
}

// mapPrivate replaces b by the file's content, copied on write.
func (f pageFile) mapPrivate(b []byte) error {
	_, err := unix.MmapPtr(f.fd, 0, unsafe.Pointer(&b[0]), uintptr(len(b)),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED)
	if err != nil {
		return fmt.Errorf("map image: %w", err)
	}
	return nil
}

func (f pageFile) close() {
	if f.fd > 0 {
		_ = unix.Close(f.fd)
	}
}

// dropPages forgets every page of a private mapping that was written to.
func dropPages(b []byte) error {
	return unix.Madvise(b, unix.MADV_DONTNEED)
}
