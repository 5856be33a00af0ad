package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/emr-static-ip/emr-static-ip/agent/cli"
)

func pages(t *testing.T) (dir string) {
	t.Helper()
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	dir = t.TempDir()
	if err := write("v1", dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestMonth checks that a page has the same month in every time zone.
func TestMonth(t *testing.T) {
	before := time.Local
	t.Cleanup(func() { time.Local = before })
	time.Local = time.FixedZone("east", int((6 * time.Hour).Seconds()))
	months := map[string]bool{}
	for _, epoch := range []string{"1701363600", "1701374400"} { // 17:00 and 20:00 UTC on 30 November
		t.Setenv("SOURCE_DATE_EPOCH", epoch)
		dir := t.TempDir()
		if err := write("v1", dir); err != nil {
			t.Fatal(err)
		}
		page, err := os.ReadFile(filepath.Join(dir, "emr-static-ip.8"))
		if err != nil {
			t.Fatal(err)
		}
		months[strings.Split(string(page), "\n")[1]] = true
		time.Local = time.FixedZone("east", int((6 * time.Hour).Seconds()))
	}
	if len(months) != 1 {
		t.Errorf("two months: %v", months)
	}
}

// TestPages checks that each command has a page that shows its flags, and that hidden commands have
// none.
func TestPages(t *testing.T) {
	dir := pages(t)
	var check func(*cobra.Command)
	check = func(cmd *cobra.Command) {
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".8"
		page, err := os.ReadFile(filepath.Join(dir, name))
		if cmd.Hidden {
			if err == nil {
				t.Errorf("%s is the page of a hidden command", name)
			}
			return
		}
		if err != nil {
			t.Error(err)
		}
		cmd.Flags().VisitAll(func(flag *pflag.Flag) {
			if !strings.Contains(string(page), `\fB--`+flag.Name+`\fP`) {
				t.Errorf("%s does not show --%s", name, flag.Name)
			}
			if flag.NoOptDefVal != "" && strings.Contains(string(page), `\fB--`+flag.Name+`\fP[`) {
				t.Errorf("%s shows a value of the switch --%s", name, flag.Name)
			}
		})
		for _, below := range cmd.Commands() {
			check(below)
		}
	}
	check(cli.Manual())
	root, err := os.ReadFile(filepath.Join(dir, "emr-static-ip.8"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{".SH EXIT STATUS", ".SH FILES", ".SH ENVIRONMENT", `"Nov 2023" "emr-static-ip v1"`} {
		if !strings.Contains(string(root), want) {
			t.Errorf("emr-static-ip.8 does not contain %s", want)
		}
	}
}

// TestPagesRender checks that the formatters of this machine accept the pages without warnings.
func TestPagesRender(t *testing.T) {
	files, err := filepath.Glob(pages(t) + "/*.8")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	ran := false
	for _, argv := range [][]string{
		{"groff", "-man", "-t", "-Tutf8", "-ww", "-z"},
		{"man", "--warnings", "-l"},
	} {
		if _, err := exec.LookPath(argv[0]); err != nil {
			t.Log(err)
			continue
		}
		ran = true
		for _, file := range files {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, argv[0], append(argv[1:], file)...)
			cmd.Env = append(os.Environ(), "MANPAGER=cat", "LC_ALL=C.UTF-8", "MANWIDTH=100")
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil || stderr.Len() > 0 {
				t.Errorf("%v %s: %v\n%s", argv, filepath.Base(file), err, &stderr)
			}
			text := regexp.MustCompile("\x1b\\[[0-9;]*m|.\b").ReplaceAllString(stdout.String(), "")
			if argv[0] == "man" && !strings.Contains(text, "SYNOPSIS") {
				t.Errorf("%s shows\n%s", file, text)
			}
		}
	}
	if !ran {
		t.Skip("neither groff nor man is installed")
	}
}
