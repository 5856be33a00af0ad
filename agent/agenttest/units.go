package agenttest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
)

// VerifyUnits fails the test unless systemd accepts the units without a warning. It skips the test
// where systemd-analyze is not installed. It needs real time: call it outside a synctest bubble.
func VerifyUnits(t *testing.T, units ...systemd.Unit) {
	t.Helper()
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("REQUIRE_NETNS") == "1" {
			t.Fatal("REQUIRE_NETNS=1, and ", err)
		}
		t.Skip(err)
	}
	args := []string{"verify", "--man=no"}
	dir := t.TempDir()
	for _, u := range units {
		p := filepath.Join(dir, u.Name)
		if err := os.WriteFile(p, []byte(strings.ReplaceAll(u.Text, systemd.Program, "/bin/true")), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, p)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
