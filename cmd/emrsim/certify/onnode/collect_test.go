package onnode

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/bundle"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// planted returns a node whose files have secrets.
func planted(t *testing.T, n *cloud.Node) bundle.Node {
	t.Helper()
	root := t.TempDir()
	for path, content := range n.EMRFiles(cloud.FilesFull) {
		full := filepath.Join(root, path)
		text := strings.Replace(string(content), `"startupScripts": [`, `"configurations": [{"password": "planted-secret"}], "startupScripts": [`, 1)
		if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return bundle.Node{
		Env: agent.Environment{Root: root}, StateDir: filepath.Join(root, "state"),
		Run: func(_ context.Context, argv []string) ([]byte, error) {
			return []byte(strings.Join(argv, " ") + "\n"), nil
		},
	}
}

// TestWrite collects on a node of the model: the archive has what the page about the half hour
// names, and no secret.
func TestWrite(t *testing.T) {
	account, n := onNode(t, cloud.Options{Account: "998877665544"})
	file := filepath.Join(t.TempDir(), "facts.tar.gz")
	lines, err := Write(t.Context(), file, Options{
		Command: []string{"sh", "-c", "echo 'assigned 10.0.1.77'; echo AKIAIOSFODNN7EXAMPLE"}, Watch: time.Second, Node: planted(t, n),
	})
	if err != nil || len(lines) < 10 {
		t.Fatalf("%v; %q", err, lines)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	files, err := bundle.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, x := range files {
		names = append(names, x.Name)
		c := account.Credentials(n.InstanceID)
		for _, secret := range []string{"planted-secret", "998877665544", "AKIAIOSFODNN7EXAMPLE", c.AccessKeyID, c.SecretAccessKey, c.SessionToken} {
			if strings.Contains(string(x.Content), secret) {
				t.Errorf("%s has %s", x.Name, secret)
			}
		}
	}
	for _, want := range []string{"certify/imds.txt", "certify/imds-watch.txt", "certify/command.txt", "certify/programs.txt", "certify/units.txt",
		"certify/sudo.txt", "emr/files/mnt/var/lib/info/job-flow.json", "network/iptables.txt"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is missing: %q", want, names)
		}
	}
	if _, err := Write(t.Context(), file, Options{}); err == nil {
		t.Error("a file was overwritten")
	}
}

// TestWriteInterrupted checks that nothing is left of an archive that was not finished.
func TestWriteInterrupted(t *testing.T) {
	_, n := onNode(t, cloud.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, cancel)
	file := filepath.Join(t.TempDir(), "facts.tar.gz")
	if _, err := Write(ctx, file, Options{Command: []string{"sleep", "60"}, Node: planted(t, n)}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
}

// TestWriteWithoutIMDS checks that a machine without IMDS, and a command that does not exist, are
// collected as that.
func TestWriteWithoutIMDS(t *testing.T) {
	_, n := onNode(t, cloud.Options{})
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
	file := filepath.Join(t.TempDir(), "facts.tar.gz")
	lines, err := Write(t.Context(), file, Options{Command: []string{"/no/such/program"}, Node: planted(t, n)})
	if err == nil || len(lines) < 5 {
		t.Errorf("%v; %q", err, lines)
	}
}
