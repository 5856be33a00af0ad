package systemd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

func TestDirectoryOfShutdownActionsIsLikeItsParent(t *testing.T) {
	parent := t.TempDir()
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 498, 499 // hadoop's
	}
	if err := errors.Join(os.Chown(parent, uid, gid), os.Chmod(parent, 0o770)); err != nil {
		t.Skip(err) // root of a user namespace without that user
	}
	dir := filepath.Join(parent, "public", "shutdown-actions")
	for range 2 {
		d, err := openLikeParent(dir)
		if err != nil {
			t.Fatal(err)
		}
		d.Close()
	}
	for _, p := range []string{dir, filepath.Dir(dir)} {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Sys().(*syscall.Stat_t); int(s.Uid) != uid || int(s.Gid) != gid || info.Mode() != fs.ModeDir|0o770 {
			t.Errorf("%s: %v of %d:%d", p, info.Mode(), s.Uid, s.Gid)
		}
	}
}

// foreign matches what the program timeout says.
var foreign = regexp.MustCompile(`(?m)^timeout: .*\n`)

// The script itself: it passes on what release says, never fails, and goes on when its own file is
// removed under it.
func TestShutdownScript(t *testing.T) {
	texts := golden.Open(t, "shutdown-script.txt")
	for _, test := range []struct{ name, program string }{
		{"released", "#!/bin/sh\necho \"$@\"; rm -- \"$SCRIPT\"\n"},
		{"failed", "#!/bin/sh\necho oops >&2; exit 5\n"},
		{"no program", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			program, script := filepath.Join(dir, "program"), filepath.Join(dir, "script")
			text := strings.ReplaceAll(shutdownText(""), Program, program)
			if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
			if test.program != "" {
				if err := os.WriteFile(program, []byte(test.program), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "sh", script)
			cmd.Env = append(os.Environ(), "SCRIPT="+script)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			texts.Is(t, test.name, foreign.ReplaceAllString(string(out), ""))
			if cut := strings.Index(text, "\n}"); cut < 0 {
				t.Error("the script is not one command")
			} else if out, err := exec.CommandContext(ctx, "sh", "-c", text[:cut]).CombinedOutput(); err == nil || strings.Contains(string(out), "release") {
				t.Errorf("the first part of it does something: %v, %s", err, out)
			}
		})
	}
}
