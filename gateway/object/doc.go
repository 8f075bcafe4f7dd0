// Package object keeps the objects of buckets. Their rows are the store's, and
// commit with what they start; their bytes are files that the digest of the
// content names, each once however many keys stand for it.
//
// A file is on the disk under its name before a row speaks of it, and is
// removed after the last row that did is gone. Between the two somebody holds
// its digest: what is held is not collected. A crash forgets who held what, and
// the start sweeps what no row speaks of.
package object
