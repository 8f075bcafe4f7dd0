package gateway_test

import (
	"os"
	"testing"

	"github.com/headgate-io/headgate/internal/testcache"
	"github.com/headgate-io/headgate/sensors/actuate/guard"
)

func TestMain(m *testing.M) {
	if guard.Is(os.Args[1:]) { // the gateways of the tests start it
		os.Exit(guard.Main(os.Args[1:], os.Stderr))
	}
	if os.Getenv(killedGateway) != "" { // a test kills this process
		os.Exit(runToBeKilled())
	}
	os.Exit(testcache.Run(m))
}
