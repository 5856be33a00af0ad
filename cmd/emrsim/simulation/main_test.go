package simulation

import (
	"os"
	"runtime/debug"
	"strings"
	"testing"
)

// TestMain removes the AWS settings of this machine, which must not reach the simulated nodes.
func TestMain(m *testing.M) {
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
			os.Unsetenv(name)
		}
	}
	os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	os.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	// The worlds are small and short-lived, so frequent garbage collection is a waste.
	debug.SetGCPercent(800)
	os.Exit(m.Run())
}
