// Package store keeps everything of a gateway that must outlive its process,
// in one SQLite file: the functions' state, the queue of durable events, dead
// letters, MQTT sessions and their duplicate records, published versions,
// devices and usage.
//
// Writing is in two steps. Seal validates what an invocation read, installs
// its writes in memory (the overlay) and gives the unit its place in the
// sequence; it touches no disk apart from first reads. One goroutine, the
// committer, then writes all units that wait in one transaction with one
// fsync, and a second one, the releaser, calls their Done functions in
// sequence order. So every later reader sees a sealed unit at once, and nobody
// outside hears of it before it is on disk.
//
// Writes are merged within a group: a key that a hundred units wrote is
// written once, the usage of a function is one row, and the duplicate records
// of all events are one blob.
package store
