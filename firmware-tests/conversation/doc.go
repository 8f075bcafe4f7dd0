// Package conversation plays whole conversations of several MQTT clients with
// the broker and holds what each of them gets against a model of the protocol.
//
// A conversation is a program: a few bytes per step (see Step), so that Go's
// fuzzer can mutate it. It runs inside testing/synctest, over connections in
// memory: time passes only where the program says so, and after every step the
// broker comes to rest, so that what has not come by then never will. The model
// knows nothing of the broker's code.
package conversation
