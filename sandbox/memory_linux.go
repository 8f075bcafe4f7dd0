package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"sync/atomic"
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
	if err := f.write(content); err != nil {
		f.close()
		return pageFile{}, fmt.Errorf("write image: %w", err)
	}
	return f, nil
}

// write leaves pages of zeroes as holes: they take no memory, and a script's
// unused stack is half a megabyte of them.
func (f pageFile) write(content []byte) error {
	if err := unix.Ftruncate(f.fd, int64(len(content))); err != nil {
		return err
	}
	zeroes := make([]byte, os.Getpagesize())
	for offset := 0; offset < len(content); offset += len(zeroes) {
		page := content[offset:min(offset+len(zeroes), len(content))]
		if bytes.Equal(page, zeroes[:len(page)]) {
			continue
		}
		for done := 0; done < len(page); {
			n, err := unix.Pwrite(f.fd, page[done:], int64(offset+done))
			if err != nil {
				return err
			}
			done += n
		}
	}
	return nil
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

// view maps the file's content for reading.
func (f pageFile) view(n uint64) ([]byte, error) {
	b, err := unix.Mmap(f.fd, 0, int(n), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map image for reading: %w", err)
	}
	return b, nil
}

// pageTable tells which pages of a private mapping were written to, from
// /proc/self/pagemap. Dropping all pages with madvise is correct too, but then
// every page that the next call touches faults, at half a microsecond each;
// copying the few that changed keeps the mapping warm.
type pageTable struct {
	file     *os.File
	pageSize int
	noScan   atomic.Bool // the kernel is older than PAGEMAP_SCAN (6.7)
	// copyOnWrite is false where private mappings cannot be reset at all, as
	// under some emulators; every image is copied then.
	copyOnWrite bool
}

// openPageTable tries each way to reset a mapping on a small one and keeps
// those that work: a reset that silently does nothing would break the promise
// of a clean instance.
func openPageTable() *pageTable {
	t := &pageTable{pageSize: os.Getpagesize()}
	t.file, _ = os.Open("/proc/self/pagemap") // without it pages are dropped
	if t.file != nil && !t.probe((*restorer).scan) {
		t.noScan.Store(true)
		if !t.probe((*restorer).read) {
			_ = t.close()
			t.file = nil
		}
	}
	t.copyOnWrite = t.file != nil || t.probe(nil)
	return t
}

// probe resets a mapping of which one page in three was written to. Nil find
// drops the pages.
func (t *pageTable) probe(find func(*restorer, []byte) (int, bool)) bool {
	content := make([]byte, 3*t.pageSize)
	for i := range content {
		content[i] = byte(i % 251)
	}
	file, err := newPageFile(content)
	if err != nil {
		return false
	}
	defer file.close()
	b, err := reserve(uint64(len(content)))
	if err != nil {
		return false
	}
	defer release(b)
	if file.mapPrivate(b) != nil {
		return false
	}
	for i := t.pageSize; i < 2*t.pageSize; i++ {
		b[i] = ^b[i]
	}
	if find == nil {
		return dropPages(b) == nil && bytes.Equal(b, content)
	}
	r := &restorer{table: t, regions: make([]pageRegion, maxDirtyRuns)}
	n, ok := find(r, b)
	start := uint64(uintptr(unsafe.Pointer(&b[t.pageSize])))
	// Dropping must work besides: it resets what has too many written pages.
	return ok && n == 1 && r.regions[0].start == start && r.regions[0].end == start+uint64(t.pageSize) && t.probe(nil)
}

func (t *pageTable) close() error {
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}

// maxDirtyRuns bounds the runs of pages that are copied back; an instance
// that wrote more is reset by dropping its pages.
const (
	maxDirtyRuns  = 256
	maxDirtyBytes = 1 << 20
)

// pageRegion and scanArgs are struct page_region and struct pm_scan_arg of
// linux/fs.h.
type pageRegion struct{ start, end, categories uint64 }

type scanArgs struct {
	size, flags, start, end, walkEnd, vec, vecLen, maxPages uint64
	inverted, categoryMask, categoryAnyOf, returnMask       uint64
}

const (
	pagemapScan = 0xc0606610 // _IOWR('f', 16, struct pm_scan_arg)

	pageIsFile    = 1 << 2
	pageIsPresent = 1 << 3
	pageIsSwapped = 1 << 4
)

// restorer undoes writes to one mapping.
type restorer struct {
	table   *pageTable
	regions []pageRegion
	entries []uint64
}

// restore makes b, a private mapping of the file that clean shows, clean.
func (r *restorer) restore(b, clean []byte) error {
	if r.table.file == nil {
		return dropPages(b)
	}
	if r.regions == nil {
		r.regions = make([]pageRegion, maxDirtyRuns)
	}
	n, ok := r.scan(b)
	if !ok {
		n, ok = r.read(b)
	}
	base := uint64(uintptr(unsafe.Pointer(&b[0])))
	dirty := uint64(0)
	for _, region := range r.regions[:n] {
		dirty += region.end - region.start
	}
	if !ok || dirty > maxDirtyBytes {
		return dropPages(b)
	}
	for _, region := range r.regions[:n] {
		from, to := region.start-base, min(region.end-base, uint64(len(b)))
		copy(b[from:to], clean[from:to])
	}
	return nil
}

// scan asks the kernel for the runs of written pages.
func (r *restorer) scan(b []byte) (int, bool) {
	if r.table.noScan.Load() {
		return 0, false
	}
	base := uint64(uintptr(unsafe.Pointer(&b[0])))
	args := scanArgs{
		start: base, end: base + uint64(len(b)),
		vec: uint64(uintptr(unsafe.Pointer(&r.regions[0]))), vecLen: maxDirtyRuns,
		// A page that was written to is no longer the file's.
		inverted: pageIsFile, categoryMask: pageIsFile, categoryAnyOf: pageIsPresent | pageIsSwapped,
	}
	args.size = uint64(unsafe.Sizeof(args))
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, r.table.file.Fd(), pagemapScan, uintptr(unsafe.Pointer(&args)))
	if errno != 0 {
		r.table.noScan.Store(true)
		return 0, false
	}
	return int(n), n < maxDirtyRuns
}

// read walks the page table's entries, one per page.
func (r *restorer) read(b []byte) (int, bool) {
	size := r.table.pageSize
	pages := (len(b) + size - 1) / size
	if len(r.entries) < pages {
		r.entries = make([]uint64, pages)
	}
	base := uintptr(unsafe.Pointer(&b[0]))
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&r.entries[0])), pages*8)
	if n, err := r.table.file.ReadAt(raw, int64(base)/int64(size)*8); err != nil || n != len(raw) {
		return 0, false
	}
	const file, presentOrSwapped = 1 << 61, 3 << 62
	n := 0
	for i, e := range r.entries[:pages] {
		if e&presentOrSwapped == 0 || e&file != 0 {
			continue
		}
		start := uint64(base) + uint64(i*size)
		switch {
		case n > 0 && r.regions[n-1].end == start:
			r.regions[n-1].end += uint64(size)
		case n == maxDirtyRuns:
			return 0, false
		default:
			r.regions[n] = pageRegion{start: start, end: start + uint64(size)}
			n++
		}
	}
	return n, true
}

// dropPages forgets every page of a private mapping that was written to.
func dropPages(b []byte) error {
	return unix.Madvise(b, unix.MADV_DONTNEED)
}
