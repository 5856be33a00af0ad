package scripts

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// operationsScript is what the SSM document runs on a node.
const operationsScript = "terraform/modules/operations/node.sh"

// operate runs the script of the SSM document as Systems Manager does: the parameters are text in
// it. Its stand-ins for aws and emr-static-ip write down how they were called. It returns these
// calls, what was printed, and the exit code.
func operate(t *testing.T, dir, action, arguments string, environ ...string) (calls, printed string, code int) {
	t.Helper()
	source, err := os.ReadFile(operationsScript)
	if err != nil {
		t.Fatal(err)
	}
	const place = "program=/usr/local/sbin/emr-static-ip\n"
	if strings.Count(string(source), place) != 1 {
		t.Fatalf("%s does not contain %q exactly once", operationsScript, place)
	}
	text := strings.NewReplacer("{{ Action }}", action, "{{ Arguments }}", arguments, "{{ Base }}", "s3://bucket/a/b", place, "program="+dir+"/program\n").Replace(string(source))
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, script)
	cmd.Env = append([]string{"PATH=" + dir + "/bin:" + os.Getenv("PATH"), "DIR=" + dir, "TMPDIR=" + filepath.Join(dir, "tmp")}, environ...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	made, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("%s left %v, %v", action, left, err)
	}
	return string(made), string(out), cmd.ProcessState.ExitCode()
}

// operated returns a directory with the stand-ins. If installed is set, the program is there.
func operated(t *testing.T, installed bool) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"bin/aws": `#!/bin/bash
echo "aws $* region=${AWS_DEFAULT_REGION-none}" >>"$DIR/calls"
[ -z "${AWS_FAILS:-}" ] || exit 1
cp "$DIR/published" "${*: -1}"
`,
		"published": `#!/bin/bash
echo "bootstrap.sh $#: $*" >>"$DIR/calls"
exit "${BOOTSTRAP:-0}"
`,
	}
	if installed {
		files["program"] = `#!/bin/bash
echo "program $#: $*" >>"$DIR/calls"
echo '{"version":1}'
exit "${PROGRAM:-0}"
`
	}
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestOperations runs each action of the SSM document.
func TestOperations(t *testing.T) {
	const fetch = "aws s3 cp --only-show-errors s3://bucket/a/b/bootstrap.sh region=none\n"
	for _, test := range []struct {
		name, action, arguments string
		installed               bool
		environ                 []string
		calls                   string // without the name of the temporary file
		code                    int
	}{
		{"check", "check", "", true, nil, "program 5: status --output json --wait 1m\n", 0},
		{"check of a node that drifted", "check", "", true, []string{"PROGRAM=10"}, "program 5: status --output json --wait 1m\n", 10},
		{"check of a node without the program", "check", "", false, nil, "", 11},
		{"doctor", "doctor", "10.0.1.10  10.0.1.11-19 --verify h:1", true, []string{"PROGRAM=4"}, "program 7: doctor --output json 10.0.1.10 10.0.1.11-19 --verify h:1\n", 4},
		{"doctor without arguments", "doctor", "", true, nil, "program 3: doctor --output json\n", 0},
		{"install", "install", "", false, nil, fetch + "bootstrap.sh 2: s3://bucket/a/b version\n", 0},
		{"run", "run", "10.0.1.10 10.0.1.11", false, nil, fetch + "bootstrap.sh 4: s3://bucket/a/b apply 10.0.1.10 10.0.1.11\n", 0},
		{"run again", "run", "", true, nil, fetch + "bootstrap.sh 2: s3://bucket/a/b apply\n", 0},
		{"a run that fails", "run", "10.0.1.10", false, []string{"BOOTSTRAP=6"}, fetch + "bootstrap.sh 3: s3://bucket/a/b apply 10.0.1.10\n", 6},
		{"run is no way to another command", "run", "release", true, nil, fetch + "bootstrap.sh 3: s3://bucket/a/b apply release\n", 0},
		{"upgrade", "upgrade", "", true, nil, fetch + "bootstrap.sh 1: s3://bucket/a/b\n", 0},
		{"upgrade of nothing", "upgrade", "", false, nil, "", 2},
		{"upgrade ignores arguments", "upgrade", "10.0.1.10", true, nil, fetch + "bootstrap.sh 1: s3://bucket/a/b\n", 0},
		{"no access to the bucket", "run", "10.0.1.10", false, []string{"AWS_FAILS=1"}, fetch, 1},
		{"the region of the agent", "install", "", false, []string{"AWS_SSM_REGION_NAME=eu-west-1"},
			strings.Replace(fetch, "none", "eu-west-1", 1) + "bootstrap.sh 2: s3://bucket/a/b version\n", 0},
		{"an unknown action", "bananas", "", true, nil, "", 2},
		{"an asterisk is no pattern for files", "run", "*", false, nil, fetch + "bootstrap.sh 3: s3://bucket/a/b apply *\n", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := operated(t, test.installed)
			calls, printed, code := operate(t, dir, test.action, test.arguments, test.environ...)
			for word := range strings.FieldsSeq(calls) {
				if strings.HasPrefix(word, dir+"/tmp/") {
					calls = strings.Replace(calls, word+" ", "", 1)
				}
			}
			if calls != test.calls || code != test.code {
				t.Errorf("exit code %d, want %d; calls\n%swant\n%s%s", code, test.code, calls, test.calls, printed)
			}
			if ours := test.calls == "" || len(test.environ) > 0 && test.environ[0] == "AWS_FAILS=1"; ours != strings.Contains(printed, "what to do: ") {
				t.Errorf("printed %q", printed)
			}
		})
	}
}
