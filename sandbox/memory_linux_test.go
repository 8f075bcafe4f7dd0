package sandbox

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestEveryWayToRestore writes random pages of a mapping and wants each way
// this system has of undoing that to undo all of it.
func TestEveryWayToRestore(t *testing.T) {
	const pages = 300
	probed := openPageTable()
	defer func() { _ = probed.close() }()
	if !probed.copyOnWrite {
		return // every image is copied here, and TestCounterIsCleanOnEveryCall covers that
	}
	ways := map[string]func(*pageTable){
		"scan": func(*pageTable) {},
		"read": func(p *pageTable) { p.noScan.Store(true) },
		"drop": func(p *pageTable) { p.file = nil },
	}
	for name, choose := range ways {
		t.Run(name, func(t *testing.T) {
			table := &pageTable{file: probed.file, pageSize: probed.pageSize}
			table.noScan.Store(probed.noScan.Load())
			choose(table)
			size := pages * table.pageSize
			content := make([]byte, size)
			rng := rand.New(rand.NewPCG(1, 1))
			for i := range content {
				content[i] = byte(rng.Uint32())
			}
			file, err := newPageFile(content)
			if err != nil {
				t.Fatal(err)
			}
			defer file.close()
			clean, err := file.view(uint64(size))
			if err != nil {
				t.Fatal(err)
			}
			defer release(clean)
			b, err := reserve(uint64(size))
			if err != nil {
				t.Fatal(err)
			}
			defer release(b)
			if err := file.mapPrivate(b); err != nil {
				t.Fatal(err)
			}
			r := &restorer{table: table}
			for round := range 50 {
				for range rng.IntN(1 + round*pages/25) {
					b[rng.IntN(size)]++
				}
				if err := r.restore(b, clean); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(b, content) {
					t.Fatalf("round %d: something that was written is still there", round)
				}
			}
		})
	}
}
