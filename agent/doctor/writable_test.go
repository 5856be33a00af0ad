package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
)

// The doctor looks whether the state could be written, and leaves nothing behind.
func TestStateDirectoryIsLookedAt(t *testing.T) {
	root := t.TempDir()
	env := agent.Environment{Root: root}
	d := &examination{env: env, dir: filepath.Join(root, "var", "lib", "emr-static-ip")}
	if findings := d.writable(); len(findings) > 0 {
		t.Errorf("a directory that a run would make: %+v", findings)
	}
	if entries, _ := os.ReadDir(root); len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}
	if err := os.MkdirAll(filepath.Join(d.dir, "hdfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	findings := d.writable()
	if len(findings) != 1 || findings[0].Result == resultOK || findings[0].ExitCode != exit.Usage || !strings.Contains(findings[0].Remedy, "--state-dir") {
		t.Errorf("a directory of others: %+v", findings)
	}
}
