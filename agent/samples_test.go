package agent

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// TestSamples writes what the program prints on a node whose life is without surprises: the report
// of a first run, the status after it, and the failure of a run with a wrong argument. The samples
// in cmd/emr-static-ip/README.md are lines of these files.
func TestSamples(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{}).withSystemd()
		n.kernel.SetBackend(netcfg.Nftables) // as on a node of the default release
		printed := func(text string) string { return strings.ReplaceAll(text, Version(), "VERSION") }

		code, stdout, stderr := n.program(t.Context(), onErrorList...)
		if code != ExitOK {
			t.Fatalf("exit code %d\n%s", code, stderr)
		}
		golden.Is(t, "sample-report.txt", printed(stdout))

		if code, stdout, stderr = n.program(t.Context(), "status"); code != ExitOK {
			t.Fatalf("exit code %d\n%s", code, stderr)
		}
		golden.Is(t, "sample-status.txt", printed(stdout))

		code, _, stderr = n.program(t.Context(), append([]string{"--prefix=/x"}, onErrorList...)...)
		_, failure, found := strings.Cut(stderr, "\nemr-static-ip failed")
		if code != ExitUsage || !found {
			t.Fatalf("exit code %d\n%s", code, stderr)
		}
		golden.Is(t, "sample-failure.txt", "emr-static-ip failed"+printed(failure))
	})
}
