//go:build wasip1

package headgate

import "unsafe"

//go:wasmexport headgate_abi_v1
func abi() {}

// handle runs the handler on the current event.
//
//go:wasmexport headgate_handle
func handle() int32 {
	if handler == nil {
		setError([]byte("no handler: call headgate.Handle from an init function"))
		return 1
	}
	if err := handler(&Context{}); err != nil {
		setError([]byte(err.Error()))
		return 1
	}
	return 0
}

//go:wasmexport headgate_init
func initialise() int32 {
	warmHeap()
	// Last, so that the allocator has at hand what handlers like these need:
	// a collection takes it away.
	for _, f := range warmUps {
		f()
	}
	return 0
}

func ptr(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }
func size(b []byte) uint32        { return uint32(len(b)) }

//go:wasmimport headgate_v1 input_len
func hostInputLen() int32

//go:wasmimport headgate_v1 input_read
func hostInputRead(dst unsafe.Pointer, n uint32) int32

//go:wasmimport headgate_v1 output
func hostOutput(p unsafe.Pointer, n uint32)

//go:wasmimport headgate_v1 output_meta
func hostOutputMeta(k unsafe.Pointer, kn uint32, v unsafe.Pointer, vn uint32) int32

//go:wasmimport headgate_v1 error
func hostError(p unsafe.Pointer, n uint32)

//go:wasmimport headgate_v1 meta
func hostMeta(k unsafe.Pointer, kn uint32, dst unsafe.Pointer, n uint32) int32

//go:wasmimport headgate_v1 log
func hostLog(level int32, p unsafe.Pointer, n uint32)

//go:wasmimport headgate_v1 now_ms
func hostNow() int64

//go:wasmimport headgate_v1 random
func hostRandom(dst unsafe.Pointer, n uint32)

//go:wasmimport headgate_v1 config
func hostConfig(k unsafe.Pointer, kn uint32, dst unsafe.Pointer, n uint32) int32

//go:wasmimport headgate_v1 secret
func hostSecret(k unsafe.Pointer, kn uint32, dst unsafe.Pointer, n uint32) int32

//go:wasmimport headgate_v1 sensor_read
func hostSensor(k unsafe.Pointer, kn uint32, dst unsafe.Pointer, n uint32) int32

//go:wasmimport headgate_v1 kv_get
func hostKVGet(k unsafe.Pointer, kn uint32, dst unsafe.Pointer, n uint32) int32

//go:wasmimport headgate_v1 kv_set
func hostKVSet(k unsafe.Pointer, kn uint32, v unsafe.Pointer, vn, ttl uint32) int32

//go:wasmimport headgate_v1 kv_del
func hostKVDel(k unsafe.Pointer, kn uint32) int32

//go:wasmimport headgate_v1 kv_list
func hostKVList(p unsafe.Pointer, pn, cursor uint32, dst unsafe.Pointer, n uint32) int32

//go:wasmimport headgate_v1 publish
func hostPublish(t unsafe.Pointer, tn uint32, p unsafe.Pointer, pn, flags, expiry uint32) int32

//go:wasmimport headgate_v1 actuate
func hostActuate(n unsafe.Pointer, nn uint32, v unsafe.Pointer, vn, lease uint32) int32

//go:wasmimport headgate_v1 enqueue
func hostEnqueue(q unsafe.Pointer, qn uint32, p unsafe.Pointer, pn, delay uint32) int32

//go:wasmimport headgate_v1 invoke
func hostInvoke(f unsafe.Pointer, fn uint32, p unsafe.Pointer, pn uint32) int32

//go:wasmimport headgate_v1 metric
func hostMetric(k unsafe.Pointer, kn uint32, v float64)

//go:wasmimport headgate_v1 http_fetch
func hostFetch(req unsafe.Pointer, rn uint32, dst unsafe.Pointer, n uint32) int32

//go:wasmimport headgate_v1 blob_get
func hostBlobGet(k unsafe.Pointer, kn uint32, dst unsafe.Pointer, n uint32) int32

//go:wasmimport headgate_v1 blob_put_typed
func hostBlobPut(k unsafe.Pointer, kn uint32, t unsafe.Pointer, tn uint32, p unsafe.Pointer, pn uint32) int32

//go:wasmimport headgate_v1 blob_stat
func hostBlobStat(k unsafe.Pointer, kn uint32, dst unsafe.Pointer, n uint32) int32

//go:wasmimport headgate_v1 blob_read
func hostBlobRead(k unsafe.Pointer, kn uint32, offset int64, dst unsafe.Pointer, n uint32) int32

//go:wasmimport headgate_v1 blob_delete
func hostBlobDelete(k unsafe.Pointer, kn uint32) int32

//go:wasmimport headgate_v1 blob_list
func hostBlobList(p unsafe.Pointer, pn, cursor uint32, dst unsafe.Pointer, n uint32) int32

func inputLen() int32              { return hostInputLen() }
func inputRead(dst []byte) int32   { return hostInputRead(ptr(dst), size(dst)) }
func output(b []byte)              { hostOutput(ptr(b), size(b)) }
func outputMeta(k, v []byte) int32 { return hostOutputMeta(ptr(k), size(k), ptr(v), size(v)) }
func setError(b []byte)            { hostError(ptr(b), size(b)) }
func metaRead(k, dst []byte) int32 { return hostMeta(ptr(k), size(k), ptr(dst), size(dst)) }
func logLine(l int32, b []byte)    { hostLog(l, ptr(b), size(b)) }
func nowMillis() int64             { return hostNow() }
func randomRead(dst []byte)        { hostRandom(ptr(dst), size(dst)) }
func configRead(k, dst []byte) int32 {
	return hostConfig(ptr(k), size(k), ptr(dst), size(dst))
}

func secretRead(k, dst []byte) int32 {
	return hostSecret(ptr(k), size(k), ptr(dst), size(dst))
}

func sensorRead(k, dst []byte) int32 {
	return hostSensor(ptr(k), size(k), ptr(dst), size(dst))
}
func kvGet(k, dst []byte) int32 { return hostKVGet(ptr(k), size(k), ptr(dst), size(dst)) }
func kvSet(k, v []byte, ttl uint32) int32 {
	return hostKVSet(ptr(k), size(k), ptr(v), size(v), ttl)
}
func kvDel(k []byte) int32 { return hostKVDel(ptr(k), size(k)) }
func kvList(p []byte, cursor uint32, dst []byte) int32 {
	return hostKVList(ptr(p), size(p), cursor, ptr(dst), size(dst))
}

func publish(t, p []byte, flags, expiry uint32) int32 {
	return hostPublish(ptr(t), size(t), ptr(p), size(p), flags, expiry)
}

func actuate(n, v []byte, lease uint32) int32 {
	return hostActuate(ptr(n), size(n), ptr(v), size(v), lease)
}

func enqueue(q, p []byte, delay uint32) int32 {
	return hostEnqueue(ptr(q), size(q), ptr(p), size(p), delay)
}
func invoke(f, p []byte) int32            { return hostInvoke(ptr(f), size(f), ptr(p), size(p)) }
func httpFetch(req, dst []byte) int32     { return hostFetch(ptr(req), size(req), ptr(dst), size(dst)) }
func metricValue(k []byte, value float64) { hostMetric(ptr(k), size(k), value) }

func blobGet(k, dst []byte) int32  { return hostBlobGet(ptr(k), size(k), ptr(dst), size(dst)) }
func blobStat(k, dst []byte) int32 { return hostBlobStat(ptr(k), size(k), ptr(dst), size(dst)) }
func blobDelete(k []byte) int32    { return hostBlobDelete(ptr(k), size(k)) }
func blobPut(k, t, b []byte) int32 {
	return hostBlobPut(ptr(k), size(k), ptr(t), size(t), ptr(b), size(b))
}

func blobRead(k []byte, offset int64, dst []byte) int32 {
	return hostBlobRead(ptr(k), size(k), offset, ptr(dst), size(dst))
}

func blobList(p []byte, cursor uint32, dst []byte) int32 {
	return hostBlobList(ptr(p), size(p), cursor, ptr(dst), size(dst))
}
