package simulation

import (
	"os"
	"runtime/debug"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/internal/awsenv"
)

func TestMain(m *testing.M) {
	awsenv.Clear() // they must not reach the simulated nodes
	// The worlds are small and short-lived, so frequent garbage collection is a waste.
	debug.SetGCPercent(800)
	os.Exit(m.Run())
}
