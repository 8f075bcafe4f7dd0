package examples_test

import (
	"os"
	"testing"

	"github.com/headgate-io/headgate/internal/testcache"
)

func TestMain(m *testing.M) { os.Exit(testcache.Run(m)) }
