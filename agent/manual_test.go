package agent

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

const manualFile = "../scripts/emr-static-ip.8"

// The manual page in the repository is what the source says now.
func TestManualIsUpToDate(t *testing.T) {
	var want bytes.Buffer
	if err := WriteManual(&want); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(manualFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not up to date: run make man", manualFile)
	}
	c := commandLine{}
	root := c.tree()
	for name := range c.flags.texts {
		if !strings.Contains(want.String(), `\fB\-\-`+roff(name)+`\fR`) {
			t.Errorf("the manual page has no --%s", name)
		}
	}
	for _, name := range commandNames(root) {
		if !strings.Contains(want.String(), "\n.B "+roff(name)+"\n") {
			t.Errorf("the manual page has no command %s", name)
		}
	}
}

// Whoever formats manual pages here has nothing to complain about, and shows text.
func TestManualRenders(t *testing.T) {
	ran := false
	for _, argv := range [][]string{
		{"mandoc", "-Tlint", "-Wwarning", manualFile},
		{"groff", "-man", "-Tutf8", "-ww", "-z", manualFile},
		{"man", "--warnings", "-l", manualFile},
	} {
		if _, err := exec.LookPath(argv[0]); err != nil {
			t.Log(err)
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), "MANPAGER=cat", "LC_ALL=C.UTF-8", "MANWIDTH=100")
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil || stderr.Len() > 0 || argv[0] == "mandoc" && stdout.Len() > 0 {
			t.Errorf("%v: %v\n%s%s", argv, err, &stdout, &stderr)
		}
		text := regexp.MustCompile("\x1b\\[[0-9;]*m|.\b").ReplaceAllString(stdout.String(), "")
		if argv[0] == "man" && (!strings.Contains(text, "EXIT STATUS") || !strings.Contains(text, "--on-error WHAT")) {
			t.Errorf("%v shows\n%s", argv, text)
		}
		ran = true
	}
	if !ran {
		t.Skip("neither mandoc nor groff nor man is here")
	}
}
