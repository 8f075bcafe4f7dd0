// Package function holds what a function is, apart from its code: the manifest
// that its author writes, its version, its limits and permissions, and the
// words for what an invocation asks for (Effects) and how it ended (Result).
//
// With event it is the vocabulary of Headgate: every other package may import
// it, and it imports none of them.
package function
