// Package abi is the contract between a gateway and a guest, version 1: the
// names and signatures of the host calls and of the guest's exports, the
// errno table, and the layout of what crosses the border.
//
// It is one table in Go. The C header, the Go SDK and the JavaScript typings
// are checked against it, and both sides run the golden vectors of testdata.
//
// The major version lives in the names: a guest that imports headgate_v1 and
// exports headgate_abi_v1 runs on every gateway that speaks version 1.
// Version 1 grows only by new imports and new errnos.
package abi
