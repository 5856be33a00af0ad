// Package monitoring has the tests of the recipes for monitoring.
package monitoring

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

const schemas = "../../agent/cli/schema"

// run runs node-status.sh where emr-static-ip prints what the shell commands in program print.
func run(t *testing.T, program string, args ...string) (printed string, code int) {
	t.Helper()
	p := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(p, []byte("#!/bin/bash\n"+program+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "./node-status.sh", args...)
	cmd.Env = append(os.Environ(), "EMR_STATIC_IP_PROGRAM="+p)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// example returns shell commands that print an example of status, as the program does: on one line,
// with its exit code.
func example(t *testing.T, name string) (program, line string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(schemas, "examples/status", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var o map[string]any
	if err := json.Unmarshal(data, &o); err != nil {
		t.Fatal(err)
	}
	compact, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	code, _ := json.Marshal(o["exit_code"])
	return "[ \"$*\" = 'status --output json' ] || exit 99\ncat <<'END'\n" + string(compact) + "\nEND\nexit " + string(code), string(compact)
}

func needJQ(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("jq is not installed (scripts/setup.sh test): the metrics are not checked: ", err)
	}
}

var sampleLine = regexp.MustCompile(`^([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? -?[0-9.]+$`)

// TestTextfile compares the metrics of the examples, and of a program that prints nothing or
// nonsense.
func TestTextfile(t *testing.T) {
	needJQ(t)
	messages := golden.Open(t, "textfile.txt")
	for _, name := range []string{"status", "status-drifted", "status-failed", "status-interrupted", "status-not-configured"} {
		program, _ := example(t, name)
		messages.Is(t, name, metrics(t, program))
	}
	messages.Is(t, "the program is not there", metrics(t, "exit 127"))
	messages.Is(t, "a tag of the cluster", metrics(t, `printf '%s\n' '{"version":1,"tool_version":"v1","exit_code":0,"verdict":"in order","cluster":"a\"b\\c\nd","pending":[],"kernel":[],"units":[]}'`))
	dir := t.TempDir()
	for _, args := range [][]string{{"textfile", dir + "/none"}, {"textfile"}, {"bananas", dir}, {"log", dir + "/none/log"}} {
		if printed, code := run(t, "exit 0", args...); code == 0 || printed == "" {
			t.Errorf("%q: exit code %d, %q", args, code, printed)
		}
	}
	if printed, code := run(t, "echo '{broken}'", "textfile", dir); code != 1 || !strings.Contains(printed, "what to do") {
		t.Errorf("exit code %d, %q", code, printed)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// metrics returns the file that node_exporter would read, whose form it checks.
func metrics(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	if printed, code := run(t, program, "textfile", dir); code != 0 {
		t.Errorf("exit code %d\n%s", code, printed)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "emr_static_ip.prom" {
		t.Fatal(entries, err)
	}
	info, err := entries[0].Info()
	if err != nil || info.Mode().Perm() != 0o644 { // node_exporter is not root
		t.Errorf("%v, %v", info.Mode(), err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "emr_static_ip.prom"))
	if err != nil {
		t.Fatal(err)
	}
	typed := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "# TYPE "):
			if typed[words[2]] {
				t.Errorf("%s has two types", words[2])
			}
			typed[words[2]] = true
		case strings.HasPrefix(line, "# HELP "):
		default:
			if m := sampleLine.FindStringSubmatch(line); m == nil || !typed[m[1]] {
				t.Errorf("no sample: %q", line)
			}
		}
	}
	return string(text)
}

// TestLog checks that each run appends one line of JSON, and that the file does not grow for ever.
func TestLog(t *testing.T) {
	p := filepath.Join(t.TempDir(), "status.log")
	var want []string
	for _, name := range []string{"status", "status-drifted", "status-interrupted"} {
		program, line := example(t, name)
		if printed, code := run(t, program, "log", p); code != 0 || printed != "" {
			t.Errorf("%s: exit code %d, %q", name, code, printed)
		}
		want = append(want, line)
	}
	if printed, code := run(t, "echo 'fatal error: no memory' >&2; exit 134", "log", p); code != 0 {
		t.Errorf("exit code %d, %q", code, printed)
	}
	text, err := os.ReadFile(p)
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if err != nil || len(lines) != 4 || !slices.Equal(lines[:3], want) {
		t.Errorf("%v\n%s", err, text)
	}
	var last struct {
		Code  int `json:"exit_code"`
		Error struct {
			Code int `json:"exit_code"`
		} `json:"error"`
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Code != 134 || last.Error.Code != 134 {
		t.Errorf("%v, %+v", err, last)
	}
	if err := os.WriteFile(p, []byte(strings.Repeat("x", 1<<20+1)), 0o644); err != nil {
		t.Fatal(err)
	}
	program, line := example(t, "status")
	run(t, program, "log", p)
	if text, err := os.ReadFile(p); err != nil || string(text) != line+"\n" {
		t.Errorf("%v, %d bytes", err, len(text))
	}
	if info, err := os.Stat(p + ".1"); err != nil || info.Size() != 1<<20+1 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestRecipes checks what the recipes name: the metric filters have fields of the schema, the files
// are JSON, and the events name the program's tag.
func TestRecipes(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]bool{"level": true} // of the log
	for _, name := range []string{"status", "head"} {
		var schema struct {
			Properties map[string]any `json:"properties"`
		}
		data, err := os.ReadFile(filepath.Join(schemas, name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &schema); err != nil {
			t.Fatal(err)
		}
		for field := range schema.Properties {
			fields[field] = true
		}
	}
	used := regexp.MustCompile(`\$\.([a-z_]+)`).FindAllStringSubmatch(string(page), -1)
	if len(used) < 3 {
		t.Errorf("the page has %d fields in metric filters", len(used))
	}
	for _, m := range used {
		if !fields[m[1]] {
			t.Errorf("$.%s is no field", m[1])
		}
	}
	text, err := os.ReadFile("testdata/textfile.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`emr_static_ip_[a-z_]+`).FindAllString(string(page), -1) {
		if !strings.Contains(string(text), "# TYPE "+m+" ") {
			t.Errorf("the page names the metric %s, which there is not", m)
		}
	}
	var agent struct {
		Logs struct {
			Collected struct {
				Files struct {
					List []struct {
						Path  string `json:"file_path"`
						Group string `json:"log_group_name"`
					} `json:"collect_list"`
				} `json:"files"`
			} `json:"logs_collected"`
		} `json:"logs"`
	}
	var event struct {
		Source []string `json:"source"`
		Detail struct {
			Keys []string `json:"changed-tag-keys"`
		} `json:"detail"`
	}
	for file, into := range map[string]any{"cloudwatch-agent.json": &agent, "error-tag-event.json": &event} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, into); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	for _, f := range agent.Logs.Collected.Files.List {
		if !strings.Contains(string(page), f.Path) || !strings.Contains(string(page), f.Group) {
			t.Errorf("the page does not name %s and %s", f.Path, f.Group)
		}
	}
	source, err := os.ReadFile("../../agent/ec2/errortag.go")
	if err != nil {
		t.Fatal(err)
	}
	if len(event.Detail.Keys) != 1 || !strings.Contains(string(source), `"`+event.Detail.Keys[0]+`"`) || !slices.Equal(event.Source, []string{"aws.tag"}) {
		t.Errorf("%+v", event)
	}
}
