package instrument

import "fmt"

// frame is one open block of the function being rewritten.
type frame struct {
	op       byte // opBlock, opLoop, opIf, opElse
	height   int  // operands below the block's own
	params   int
	results  int
	targeted bool // some branch jumps to its end
}

// check is the form of the fuel check at the start of a stretch.
type check byte

const (
	checkNone     check = iota
	checkContinue       // at a loop head: yield, then continue the loop
	checkHere           // yield in place
)

// bodyWriter rewrites one function body.
type bodyWriter struct {
	m   *module
	rw  *rewriter
	r   *reader
	typ funcType
	// blocks counts blocks, loops and ifs.
	blocks uint64

	out     []byte
	stretch []byte // code of the open stretch, not yet in out
	cost    uint64 // fuel of the open stretch
	check   check  // what stands at the open stretch's start
	frames  []frame
	height  int
	deepest int
	scratch uint32 // local for the length of bulk operations
	bulk    bool   // scratch is used
	calls   bool
	vectors bool
}

// rewriteBody appends the rewritten body (with its size in front) to out.
func (rw *rewriter) rewriteBody(out []byte, index int, body []byte) ([]byte, error) {
	m := rw.m
	w := &rw.body
	*w = bodyWriter{
		m: m, rw: rw, r: &reader{data: body}, typ: m.types[m.funcs[index]],
		out: w.out[:0], stretch: w.stretch[:0], frames: w.frames[:0],
	}
	groups := w.r.count()
	groupsStart := w.r.pos
	locals := uint64(len(w.typ.params))
	for range groups {
		locals += uint64(w.r.u32())
		if w.r.byte() == 0x7b {
			w.vectors = true
		}
	}
	groupsEnd := w.r.pos
	w.scratch = uint32(locals)
	w.frames = append(w.frames, frame{op: opBlock, results: len(w.typ.results)})
	if err := w.run(); err != nil {
		return nil, faultf(m.where(index), "%v", err)
	}
	if w.r.err != nil {
		return nil, faultf(m.where(index), "malformed: %v", w.r.err)
	}
	if rw.compileWork += w.blocks * w.blocks; rw.compileWork > maxCompileWork {
		return nil, faultf(m.where(index), "%d blocks, loops and ifs: together with the functions before it that takes too long to compile; split it into smaller functions", w.blocks)
	}

	head := rw.head[:0]
	if w.bulk {
		head = appendU32(head, uint32(groups)+1)
		head = append(head, body[groupsStart:groupsEnd]...)
		head = append(head, 1, 0x7f)
	} else {
		head = append(head, body[:groupsEnd]...)
	}
	weight := w.weight(locals)
	weigh := w.calls || weight > leafWeight
	if weigh {
		head = rw.appendWeigh(head, weight)
	}
	if w.calls {
		head = rw.appendCheck(head)
	}
	head = append(head, opBlock)
	head = rw.appendBlockType(head, w.typ.results)
	tail := append(rw.tail[:0], opEnd)
	if weigh {
		tail = append(rw.appendGet(tail, rw.stack), opI32Const)
		tail = append(appendS64(tail, int64(weight)), opI32Add)
		tail = rw.appendSet(tail, rw.stack)
	}
	tail = append(tail, opEnd)
	rw.head, rw.tail = head, tail
	out = appendU32(out, uint32(len(head)+len(w.out)+len(tail)))
	out = append(out, head...)
	out = append(out, w.out...)
	return append(out, tail...), nil
}

// leafWeight is the most that a function without calls may weigh and still
// not be weighed: nothing can nest below it.
const leafWeight = 4096

// weight bounds the bytes of native stack that one call takes.
func (w *bodyWriter) weight(locals uint64) uint32 {
	slot := uint64(8)
	if w.vectors {
		slot = 16
	}
	slots := locals + uint64(len(w.typ.params)+len(w.typ.results)) + uint64(w.deepest)
	return uint32(min(64+slot*slots, 1<<30))
}

// run rewrites instructions up to the function's own end, which it leaves to
// the caller: the body becomes a block, so that a branch to the function's
// label, or a return, arrives where the weight is refunded.
func (w *bodyWriter) run() error {
	for w.r.err == nil {
		start := w.r.pos
		op := w.r.byte()
		w.cost += cost(op)
		done, err := w.control(op, start)
		if err != nil {
			return err
		}
		if len(w.frames) == 0 {
			if w.r.more() {
				return fmt.Errorf("malformed: code after the end")
			}
			return nil
		}
		if done {
			continue
		}
		if err := w.straight(op, start); err != nil {
			return err
		}
	}
	return nil
}

// cost is the fuel of one instruction: 1, except for those that only mark
// structure and become no machine code. Compilers nest hundreds of blocks
// around one br_table.
func cost(op byte) uint64 {
	switch op {
	case opNop, opBlock, opLoop, opElse, opEnd:
		return 0
	}
	return 1
}

// control handles the instructions that shape the flow; it reports whether op
// was one.
func (w *bodyWriter) control(op byte, start int) (bool, error) {
	switch op {
	case opBlock, opLoop, opIf:
		return true, w.open(op, start)
	case opElse:
		f := w.top()
		w.copyFrom(start)
		w.flush(checkNone)
		f.op = opElse
		w.height = f.height + f.params
	case opEnd:
		w.close()
	case opBr, opBrIf:
		depth := w.r.u32()
		if op == opBrIf {
			w.height--
		}
		w.copyFrom(start)
		w.branch(depth)
		w.flush(checkNone)
		if op == opBr {
			w.dead()
		}
	case opBrTable:
		for n := w.r.count() + 1; n > 0 && w.r.err == nil; n-- {
			w.branch(w.r.u32())
		}
		w.copyFrom(start)
		w.flush(checkNone)
		w.dead()
	case opReturn:
		w.stretch = appendU32(append(w.stretch, opBr), uint32(len(w.frames)-1))
		w.frames[0].targeted = true
		w.flush(checkNone)
		w.dead()
	case opUnreachable:
		w.copyFrom(start)
		w.flush(checkNone)
		w.dead()
	default:
		return false, nil
	}
	return true, nil
}

func (w *bodyWriter) top() *frame { return &w.frames[len(w.frames)-1] }

func (w *bodyWriter) copyFrom(start int) {
	w.stretch = append(w.stretch, w.r.data[start:w.r.pos]...)
}

func (w *bodyWriter) branch(depth uint32) {
	if int64(depth) < int64(len(w.frames)) {
		w.frames[len(w.frames)-1-int(depth)].targeted = true
	}
}

// dead resets the operand stack after an instruction that never continues.
func (w *bodyWriter) dead() { w.height = w.top().height }

func (w *bodyWriter) open(op byte, start int) error {
	params, results, err := w.blockType()
	if err != nil {
		return err
	}
	if op == opIf {
		w.height--
	}
	w.blocks++
	w.copyFrom(start)
	w.frames = append(w.frames, frame{op: op, height: max(w.height-params, w.base()), params: params, results: results})
	switch op {
	case opLoop:
		// A loop that takes operands cannot be continued from inside the
		// check, where they are out of reach.
		if params == 0 {
			w.flush(checkContinue)
		} else {
			w.flush(checkHere)
		}
	case opIf:
		w.flush(checkNone)
	}
	return nil
}

func (w *bodyWriter) base() int { return w.top().height }

// close handles end. Code behind a block that nothing branches to still
// belongs to the stretch before.
func (w *bodyWriter) close() {
	f := w.frames[len(w.frames)-1]
	w.frames = w.frames[:len(w.frames)-1]
	if len(w.frames) == 0 {
		w.flush(checkNone)
		return
	}
	w.stretch = append(w.stretch, opEnd)
	if f.op == opIf || f.op == opElse || f.targeted && f.op != opLoop {
		w.flush(checkNone)
	}
	w.height = f.height
	w.push(f.results)
}

func (w *bodyWriter) push(n int) {
	w.height += n
	w.deepest = max(w.deepest, w.height)
}

func (w *bodyWriter) apply(e effect) {
	w.height = max(w.height-e.pop, w.base())
	w.push(e.push)
}

func (w *bodyWriter) blockType() (params, results int, err error) {
	t := w.r.s33()
	switch {
	case t == -64: // empty
		return 0, 0, nil
	case t < 0:
		return 0, 1, nil
	case t >= int64(len(w.m.types)):
		return 0, 0, fmt.Errorf("block has unknown type %d", t)
	}
	return len(w.m.types[t].params), len(w.m.types[t].results), nil
}

// straight handles everything that does not shape the flow.
func (w *bodyWriter) straight(op byte, start int) error {
	switch op {
	case opCall:
		i := w.r.u32()
		t, ok := w.m.functionType(i)
		if !ok {
			return fmt.Errorf("call of unknown function %d", i)
		}
		w.stretch = appendU32(append(w.stretch, op), w.rw.remap(i))
		w.apply(effect{len(t.params), len(t.results)})
		w.calls = true
		return nil
	case opCallIndirect:
		i := w.r.u32()
		w.r.skipLEB(5)
		if int64(i) >= int64(len(w.m.types)) {
			return fmt.Errorf("call_indirect of unknown type %d", i)
		}
		w.apply(effect{len(w.m.types[i].params) + 1, len(w.m.types[i].results)})
		w.copyFrom(start)
		w.calls = true
		return nil
	case opRefFunc:
		w.stretch = appendU32(append(w.stretch, op), w.rw.remap(w.r.u32()))
		w.push(1)
		return nil
	case opBulk:
		return w.bulkOp(start)
	case opTableSet:
		w.rw.mutatesTables = true
	case opVector:
		w.vectors = true
	}
	e, err := w.r.plain(op)
	if err != nil {
		return err
	}
	w.copyFrom(start)
	w.apply(e)
	if op == opGlobalSet && w.rw.guard && w.r.data[w.r.pos-1] == 0 {
		w.stretch = w.rw.appendGuard(w.stretch)
	}
	return nil
}

// bulkOp charges an operation on n bytes or entries before it runs: n is its
// last operand.
func (w *bodyWriter) bulkOp(start int) error {
	sub := w.r.u32()
	e, err := w.r.bulk(sub)
	if err != nil {
		return err
	}
	switch sub {
	case bulkTableInit, bulkTableCopy, bulkTableGrow, bulkTableFill, bulkDataDrop, bulkElemDrop:
		w.rw.mutatesTables = true
	}
	shift := int64(0)
	switch sub {
	case bulkMemoryInit, bulkMemoryCopy, bulkMemoryFill:
		shift = memoryShift
		fallthrough
	case bulkTableInit, bulkTableCopy, bulkTableGrow, bulkTableFill:
		w.bulk = true
		s := appendU32(append(w.stretch, opLocalSet), w.scratch)
		s = w.rw.appendGet(s, w.rw.fuel)
		s = append(appendU32(append(s, opLocalGet), w.scratch), opI64ExtendU, opI64Const)
		s = append(appendS64(s, shift), opI64ShrU, opI64Sub)
		s = w.rw.appendCheck(w.rw.appendSet(s, w.rw.fuel))
		w.stretch = appendU32(append(s, opLocalGet), w.scratch)
	}
	switch op := w.r.data[start:w.r.pos]; sub {
	case bulkMemoryFill:
		w.stretch = w.rw.appendLong(w.stretch, w.scratch, w.rw.fill, op)
	case bulkMemoryCopy:
		w.stretch = w.rw.appendLong(w.stretch, w.scratch, w.rw.move, op)
	default:
		w.copyFrom(start)
	}
	w.apply(e)
	return nil
}

// memoryShift makes one unit of fuel of 8 bytes moved.
const memoryShift = 3

// flush writes the open stretch behind its charge and opens the next one.
func (w *bodyWriter) flush(next check) {
	if w.check == checkContinue {
		w.out = w.rw.appendLoopCheck(w.out)
	} else if w.check == checkHere {
		w.out = w.rw.appendCheck(w.out)
	}
	if w.cost > 0 {
		w.out = w.rw.appendCharge(w.out, w.cost)
	}
	w.out = append(w.out, w.stretch...)
	w.stretch, w.cost, w.check = w.stretch[:0], 0, next
}
