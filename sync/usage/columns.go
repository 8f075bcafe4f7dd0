package usage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"

	"github.com/klauspost/compress/zstd"

	"github.com/headgate-io/headgate/function"
)

// Bounds of what DecodeClosings takes. What EncodeClosings makes of rows that a
// gateway can have stays below them.
const (
	MaxDataBytes = 2 << 20
	MaxRows      = 128 << 10
	maxRawBytes  = 16 << 20
	maxNames     = 16 << 10
	maxName      = 255
	maxClosings  = 64 << 10
)

// columnsFormat is the version of the columns.
const columnsFormat = 1

// EncodeClosings writes closings column by column and compresses that. A number
// is written as its distance from what the function's row before lets expect:
// the same counts, and all else in proportion to the requests.
func EncodeClosings(closings []Closing) ([]byte, error) {
	raw, err := appendColumns(nil, closings)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	// Small memory before the last percent: this runs on a gateway.
	z, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(64<<10), zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	if _, err = z.Write(raw); err == nil {
		err = z.Close()
	}
	if err == nil && out.Len() > MaxDataBytes {
		err = fmt.Errorf("usage of %d closings takes %d bytes, %d at most", len(closings), out.Len(), MaxDataBytes)
	}
	return out.Bytes(), err
}

func appendColumns(b []byte, closings []Closing) ([]byte, error) {
	var rows []Rollup
	for _, c := range closings {
		rows = append(rows, c...)
	}
	names, of := nameRows(rows)
	if len(rows) > MaxRows || len(names) > maxNames || len(closings) > maxClosings {
		return nil, fmt.Errorf("usage of %d rows, %d functions and %d closings is too much for one batch", len(rows), len(names), len(closings))
	}
	b = append(b, columnsFormat)
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, n := range names {
		b = appendText(b, n)
	}
	b = binary.AppendUvarint(b, uint64(len(closings)))
	for _, c := range closings {
		b = binary.AppendUvarint(b, uint64(len(c)))
	}
	minute := int64(0)
	for i := range rows {
		b = binary.AppendVarint(b, rows[i].Minute-minute)
		minute = rows[i].Minute
	}
	for _, n := range of {
		b = binary.AppendUvarint(b, uint64(n))
	}
	for i := range rows {
		b = binary.AppendVarint(b, int64(rows[i].Version))
	}
	p := newPredictor(rows, of, len(names))
	var columns []byte
	var used uint64 // bit k: field k is not what was expected everywhere
	for k := range fields {
		before := len(columns)
		some := false
		for i := range rows {
			d := int64(*rows[i].Fields()[k]) - p.expect(i, k)
			columns = binary.AppendVarint(columns, d)
			some = some || d != 0
		}
		if some {
			used |= 1 << k
		} else {
			columns = columns[:before]
		}
	}
	return append(binary.AppendUvarint(b, used), columns...), nil
}

// nameRows numbers the functions of rows.
func nameRows(rows []Rollup) (names []string, of []int) {
	index := map[string]int{}
	of = make([]int, len(rows))
	for i := range rows {
		n, ok := index[rows[i].Function]
		if !ok {
			n = len(names)
			index[rows[i].Function] = n
			names = append(names, rows[i].Function)
		}
		of[i] = n
	}
	return names, of
}

// predictor knows each row's predecessor: the last row of its function. A field
// is expected once those before it are known.
type predictor struct {
	rows   []Rollup
	before []int // -1 is none
}

func newPredictor(rows []Rollup, of []int, names int) predictor {
	last, before := make([]int, names), make([]int, len(rows))
	for i := range last {
		last[i] = -1
	}
	for i, n := range of {
		before[i] = last[n]
		last[n] = i
	}
	return predictor{rows, before}
}

func (p *predictor) expect(i, k int) int64 {
	if p.before[i] < 0 {
		return 0
	}
	prev := &p.rows[p.before[i]]
	v := *prev.Fields()[k]
	n, was := p.rows[i].Requests(), prev.Requests()
	if k < function.Outcomes || was == 0 {
		return int64(v)
	}
	hi, lo := bits.Mul64(v, n)
	if hi >= was {
		return math.MaxInt64
	}
	quo, _ := bits.Div64(hi, lo, was)
	return int64(min(quo, math.MaxInt64))
}

var errColumns = errors.New("damaged usage columns")

// DecodeClosings reads what EncodeClosings wrote. It bounds what it allocates
// by what there is to read.
func DecodeClosings(data []byte) ([]Closing, error) {
	if len(data) > MaxDataBytes {
		return nil, fmt.Errorf("usage of %d bytes, %d at most", len(data), MaxDataBytes)
	}
	z, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxRawBytes), zstd.WithDecoderMaxWindow(1<<20))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	raw, err := io.ReadAll(io.LimitReader(z, maxRawBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errColumns, err)
	}
	if len(raw) > maxRawBytes {
		return nil, errColumns
	}
	d := columnReader{rest: raw}
	closings := d.closings()
	if d.bad || len(d.rest) > 0 {
		return nil, errColumns
	}
	return closings, nil
}

// columnReader reads numbers; bad is set at the first that is not there.
type columnReader struct {
	rest []byte
	bad  bool
}

func (d *columnReader) uvarint() uint64 {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 {
		d.bad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

func (d *columnReader) varint() int64 {
	n, size := binary.Varint(d.rest)
	if size <= 0 {
		d.bad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

// count reads a number of things, each of which takes at least a byte.
func (d *columnReader) count(most int) int {
	n := d.uvarint()
	if n > uint64(most) || n > uint64(len(d.rest)) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *columnReader) text() string {
	n := d.count(maxName)
	if d.bad {
		return ""
	}
	text := string(d.rest[:n])
	d.rest = d.rest[n:]
	return text
}

func (d *columnReader) closings() []Closing {
	if d.uvarint() != columnsFormat {
		d.bad = true
		return nil
	}
	names := make([]string, d.count(maxNames))
	for i := range names {
		names[i] = d.text()
	}
	closings, total := make([]Closing, d.count(maxClosings)), 0
	sizes := make([]int, len(closings))
	for i := range sizes {
		sizes[i] = d.count(MaxRows)
		total += sizes[i]
	}
	if d.bad || total > MaxRows || total > len(d.rest) {
		d.bad = true
		return nil
	}
	rows := make([]Rollup, total)
	d.rows(rows, names)
	for i, n := range sizes {
		closings[i], rows = rows[:n:n], rows[n:]
	}
	return closings
}

func (d *columnReader) rows(rows []Rollup, names []string) {
	minute := int64(0)
	for i := range rows {
		minute += d.varint()
		rows[i].Minute = minute
	}
	of := make([]int, len(rows))
	for i := range rows {
		n := d.uvarint()
		if n >= uint64(len(names)) {
			d.bad = true
			return
		}
		of[i], rows[i].Function = int(n), names[n]
	}
	for i := range rows {
		v := d.varint()
		if v < 0 || v > math.MaxInt32 {
			d.bad = true
		}
		rows[i].Version = int(v)
	}
	used := d.uvarint()
	if used >= 1<<fields {
		d.bad = true
	}
	p := newPredictor(rows, of, len(names))
	for k := range fields {
		for i := range rows {
			v := p.expect(i, k)
			if used&(1<<k) != 0 {
				v += d.varint() // wraps where it is damaged
			}
			if v < 0 {
				d.bad = true
				return
			}
			*rows[i].Fields()[k] = uint64(v)
		}
	}
}
