package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/bundle"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/ledger"
)

// read returns the files of a bundle.
func readBundle(t *testing.T, p string) map[string]string {
	t.Helper()
	f, err := os.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files, err := bundle.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{}
	for _, file := range files {
		content[file.Name] = string(file.Content)
	}
	return content
}

// TestBundle writes the bundle of a node of the model, and of one on which nothing answers. Both
// have the objects of the commands, and no credentials.
func TestBundle(t *testing.T) {
	for _, test := range []struct {
		name   string
		silent bool
		code   exit.Code
	}{{"in order", false, exit.OK}, {"broken", true, exit.Unreachable}} {
		synctest.Test(t, func(t *testing.T) {
			x := newExample(t)
			x.run(x.list...)
			x.node.Silent.Store(test.silent)
			secret := x.node.Cloud.Credentials(x.node.InstanceID).SecretAccessKey
			x.program.Parts = func(cfg agent.Config, env agent.Environment) []bundle.Part {
				n := bundle.Node{Env: env, StateDir: cfg.StateDir, Run: func(_ context.Context, argv []string) ([]byte, error) {
					return []byte(strings.Join(argv, " ") + " " + secret + "\n"), nil
				}}
				return n.Parts()
			}
			p := filepath.Join(t.TempDir(), "node.tar.gz")
			x.run("doctor", "--bundle", p)
			var o struct {
				Bundle bundle.Contents `json:"bundle"`
			}
			if err := json.Unmarshal(x.out, &o); err != nil || x.code != test.code || o.Bundle.File != p {
				t.Fatalf("%s: exit code %d, %v, %s", test.name, x.code, err, x.out)
			}
			info, err := os.Stat(p)
			if err != nil || info.Mode().Perm() != 0o600 || info.Size() != o.Bundle.Bytes {
				t.Errorf("%v, %v, %d bytes", info, err, o.Bundle.Bytes)
			}
			files := readBundle(t, p)
			if len(files) != len(o.Bundle.Files) {
				t.Errorf("%d files, and %d are listed", len(files), len(o.Bundle.Files))
			}
			for _, name := range []string{"version.json", "doctor.json", "status.json", "ledger.json", "state/state.json", "emr/files/mnt/var/lib/info/job-flow.json", "network/iptables.txt", "network/own-rules.txt"} {
				content := files[name]
				if content == "" {
					t.Errorf("%s: no %s", test.name, name)
				}
				if strings.HasSuffix(name, ".json") && !json.Valid([]byte(content)) {
					t.Errorf("%s: %s is not JSON:\n%s", test.name, name, content)
				}
			}
			if failed := strings.Contains(files["ledger.json"], `"error"`); failed != test.silent {
				t.Errorf("%s: ledger.json:\n%s", test.name, files["ledger.json"])
			}
			for name, content := range files {
				if !test.silent && strings.Contains(content, secret) {
					t.Errorf("%s has the secret key", name)
				}
				if strings.Contains(content, "123456789012") {
					t.Errorf("%s has the account's number:\n%s", name, content)
				}
			}
			before, _ := os.ReadFile(p)
			if x.run("doctor", "--bundle", p); x.code != exit.Usage {
				t.Errorf("overwrites: exit code %d", x.code)
			}
			if after, _ := os.ReadFile(p); !bytes.Equal(before, after) {
				t.Error("overwritten")
			}
		})
	}
}

// Nothing is left of a bundle that was not finished, and a wrong name ends doctor at once.
func TestUnfinishedBundle(t *testing.T) {
	dir := t.TempDir()
	p := filepath.Join(dir, "node.tar.gz")
	ctx, cancel := context.WithCancelCause(t.Context())
	program := standIns(nil)
	program.Ledger = func(context.Context, string, agent.Config, agent.Environment) (ledger.Report, error) {
		cancel(&SignalError{Signal: syscall.SIGTERM})
		return ledger.Report{}, errors.New("ended")
	}
	program.Parts = func(agent.Config, agent.Environment) []bundle.Part { return nil }
	var out, errOut bytes.Buffer
	code := program.Main(ctx, []string{"doctor", "--bundle", p, "-o", "json"}, agent.Environment{Stdout: &out, Stderr: &errOut})
	if left, err := os.ReadDir(dir); code != exit.Terminate || len(left) > 0 || err != nil {
		t.Errorf("exit code %d, left %v, %v\n%s", code, left, err, &errOut)
	}
	object(t, "interrupted", out.Bytes())
	called := false
	program = standIns(nil)
	program.Parts = func(agent.Config, agent.Environment) []bundle.Part { called = true; return nil }
	for _, name := range []string{filepath.Join(dir, "no", "x.tar.gz"), "/", dir + "/", "a\nb"} {
		if code := program.Main(t.Context(), []string{"doctor", "--bundle", name}, agent.Environment{Stderr: &errOut}); code != exit.Usage || called {
			t.Errorf("%q: exit code %d", name, code)
		}
	}
}

// The text lists the contents.
func TestBundleText(t *testing.T) {
	p := filepath.Join(t.TempDir(), "node.tar.gz")
	program := standIns(nil)
	program.Parts = func(agent.Config, agent.Environment) []bundle.Part {
		return []bundle.Part{{Name: "a.txt", Read: func(context.Context) ([]byte, error) { return nil, errors.New("no such thing") }}}
	}
	var out bytes.Buffer
	if code := program.Main(t.Context(), []string{"doctor", "--bundle", p}, agent.Environment{Stdout: &out}); code != exit.OK {
		t.Fatalf("exit code %d", code)
	}
	var names []string
	for line := range strings.Lines(out.String()) {
		if words := strings.Fields(line); len(words) > 1 && strings.HasPrefix(line, "  ") {
			names = append(names, words[1])
		}
	}
	if !slices.Equal(names, []string{"version.json", "doctor.json", "status.json", "ledger.json", "a.txt.failed:"}) {
		t.Errorf("%q in\n%s", names, &out)
	}
}
