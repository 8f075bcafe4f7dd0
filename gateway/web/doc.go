// Package web starts functions by HTTP requests: it finds whose route a request
// is for, who may call it, makes an event of it, and answers with what the
// function says, after its commit.
//
// A route is one function's: what two functions could both be meant by is
// refused when the second is deployed. So a request starts one function, and
// its answer is that function's.
package web
