// Package extism is the gateway's side of Extism plug-ins: the host functions
// of extism:host/env, and the memory that a plug-in and its host share. What a
// plug-in asks of the world goes through the same host.Calls as that of any
// other function, with its permissions, limits and transactions. It knows no
// WebAssembly: package sandbox binds its functions.
package extism
