package systemd

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
)

func TestUnitArguments(t *testing.T) {
	if got := Units(`/var/a b/%n$x"\`)[0].Text; !strings.Contains(got, `restore --timeout 100s --state-dir "/var/a b/%%n$$x\"\\"`+"\n") {
		t.Errorf("service:\n%s", got)
	}
}

// The units are well-formed by systemd's own judgement.
func TestUnitsVerify(t *testing.T) {
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("REQUIRE_NETNS") == "1" {
			t.Fatal("REQUIRE_NETNS=1, and ", err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	var files []string
	for _, u := range Units("") {
		p := filepath.Join(dir, u.Name)
		if err := os.WriteFile(p, []byte(strings.ReplaceAll(u.Text, Program, "/bin/true")), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, p)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, program, append([]string{"verify", "--man=no"}, files...)...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestSystemctlIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := host.Environment{Systemctl: func(ctx context.Context, _ ...string) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		began := time.Now()
		if err := Systemctl(t.Context(), env, "enable"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > systemctlMax {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
