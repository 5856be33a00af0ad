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

// Each flag stands below the commands that take it, and only there.
func TestManualGroupsFlags(t *testing.T) {
	var page bytes.Buffer
	if err := WriteManual(&page); err != nil {
		t.Fatal(err)
	}
	_, options, _ := strings.Cut(page.String(), "\n.SH OPTIONS\n")
	options, _, _ = strings.Cut(options, "\n.SH ")
	under := map[string]string{}
	for group := range strings.SplitSeq(options, ".SS ") {
		title, flags, _ := strings.Cut(group, "\n")
		for _, m := range regexp.MustCompile(`(?m)^\.TP\n\\fB\\-\\-([a-z\\-]+)\\fR`).FindAllStringSubmatch(flags, -1) {
			name := strings.ReplaceAll(m[1], `\-`, "-")
			if under[name] != "" {
				t.Errorf("--%s stands there twice", name)
			}
			under[name] = title
		}
	}
	for name, want := range map[string]string{
		flagCoreIPs: "Of apply, plan and doctor", flagOnError: "Of apply, plan and doctor", flagVerify: "Of apply, plan and doctor", flagOutput: "Of doctor, ledger and status", flagSubnet: "Of ledger",
		flagRegion: "Of ledger", flagYes: "Of ledger gc and ledger repair", flagTimeout: "Of all of these, release and restore", flagBackend: "Of all of these, release and restore", flagVersion: "Alone",
	} {
		if under[name] != want {
			t.Errorf("--%s stands under %q, want %q", name, under[name], want)
		}
	}
	c := commandLine{}
	c.tree()
	if len(under) != len(c.flags.texts)+1 {
		t.Errorf("%d flags, want %d: %v", len(under), len(c.flags.texts)+1, under)
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
