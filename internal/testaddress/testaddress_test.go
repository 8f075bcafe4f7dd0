package testaddress_test

import (
	"net"
	"testing"

	"github.com/headgate-io/headgate/internal/testaddress"
)

// TestFree takes addresses that nobody listens on, and none of them twice.
func TestFree(t *testing.T) {
	had := map[string]bool{}
	for range 500 {
		address, err := testaddress.Free("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		if had[address] {
			t.Fatalf("%s twice", address)
		}
		had[address] = true
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
}
