package atomicfile_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/atomicfile"
)

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	p := filepath.Join(dir, "file")
	// What a killed process left does not stop the next one.
	if err := os.WriteFile(filepath.Join(dir, ".file.tmp"), []byte("half"), 0o400); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		content string
		mode    os.FileMode
	}{{"one", 0o600}, {"two", 0o755}} {
		if err := atomicfile.Replace(p, strings.NewReader(test.content), test.mode); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(p)
		info, statErr := os.Stat(p)
		if err != nil || statErr != nil || string(got) != test.content || info.Mode() != test.mode {
			t.Errorf("%q, %v; want %q, %v", got, info.Mode(), test.content, test.mode)
		}
	}
	// A content that cannot be read leaves the old file, and nothing else.
	broken := errors.New("broken")
	content := io.MultiReader(strings.NewReader("three"), failing{broken})
	if err := atomicfile.Replace(p, content, 0o600); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	entries, err := os.ReadDir(dir)
	got, readErr := os.ReadFile(p)
	if err != nil || readErr != nil || len(entries) != 1 || string(got) != "two" {
		t.Errorf("%d entries, content %q", len(entries), got)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
