package simulation

import (
	"os"
	"runtime/debug"
	"strings"
	"testing"
)

// The SDK's settings of the machine that runs the tests must not reach the simulated nodes.
func TestMain(m *testing.M) {
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
			os.Unsetenv(name)
		}
	}
	os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	os.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	// The worlds are small and short-lived.
	debug.SetGCPercent(800)
	os.Exit(m.Run())
}
