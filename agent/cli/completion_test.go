package cli

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/agenttest"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// completed are the proposals for the last of the words.
func completed(t *testing.T, words ...string) []string {
	t.Helper()
	code, stdout, stderr, got := runMain(t, t.Context(), append([]string{"__complete"}, words...), nil, agent.Report{}, nil)
	if code != exit.OK || got.what != "" {
		t.Errorf("%q: code %d, called %q\n%s", words, code, got.what, stderr)
	}
	var list []string
	for line := range strings.Lines(stdout) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
		list = append(list, word)
	}
	return list
}

func TestCompletion(t *testing.T) {
	const noFiles = ":4"
	for _, test := range []struct {
		words []string
		want  []string
	}{
		{[]string{"rel"}, []string{"release", noFiles}},
		{[]string{"--role", ""}, []string{"MASTER", "CORE", "TASK", noFiles}},
		{[]string{"--role", "c"}, []string{"CORE", noFiles}},
		{[]string{"--role="}, []string{"MASTER", "CORE", "TASK", noFiles}},
		{[]string{"apply", "--snat-scope", "e"}, []string{"external", noFiles}},
		{[]string{"plan", "10.0.1.10", "--nat-backend", ""}, []string{"auto", "iptables", "nftables", noFiles}},
		{[]string{"release", "--log-format", ""}, []string{"console", "json", noFiles}},
		{[]string{"--on-error", ""}, []string{"fail", "continue", noFiles}},
		{[]string{"status", "--output", ""}, []string{"text", "json", noFiles}},
		{[]string{"status", "-o", "j"}, []string{"json", noFiles}},
		{[]string{"--core-i"}, []string{"--core-ips", noFiles}},
		{[]string{"10.0.1.10", ""}, []string{noFiles}},
		{[]string{"--state-dir", ""}, []string{":16"}},
		{[]string{"help", "re"}, []string{"release", "restore", noFiles}},
		{[]string{"completion", ""}, []string{"bash", "zsh", noFiles}},
		{[]string{"--on-error", "\x1b[2J"}, []string{noFiles}},
	} {
		if got := completed(t, test.words...); !slices.Equal(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.words, got, test.want)
		}
	}
	if got := completed(t, ""); slices.Contains(got, retryCommand) || slices.Contains(got, euidCommand) || !slices.Contains(got, "status") {
		t.Errorf("commands: %q", got)
	}
}

// The scripts are such as their shells can read, and in bash the completion works.
func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh"} {
		code, script, stderr, _ := runMain(t, t.Context(), []string{"completion", shell}, nil, agent.Report{}, nil)
		if code != exit.OK || !strings.Contains(script, "emr-static-ip") || strings.Contains(script, "{{") {
			t.Errorf("%s: code %d, %s", shell, code, stderr)
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("%s is not here: its script is not checked", shell)
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, "-n")
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
	texts := golden.Open(t, "completion.txt")
	for _, args := range [][]string{{"completion"}, {"completion", "fish"}, {"completion", "bash", "zsh"}} {
		code, stdout, stderr, _ := runMain(t, t.Context(), args, nil, agent.Report{}, nil)
		if code != exit.Usage || stdout != "" {
			t.Errorf("%q: code %d, %s", args, code, stderr)
		}
		texts.Is(t, strings.Join(args, " "), stderr)
	}
}

// TestMain lets the test program stand in for emr-static-ip, which the completion script runs.
func TestMain(m *testing.M) {
	if os.Getenv("EMR_STATIC_IP_TEST_PROGRAM") == "1" {
		os.Exit(int(Program{}.Main(context.Background(), os.Args[1:], agent.Environment{Stdout: os.Stdout, Stderr: os.Stderr})))
	}
	agenttest.Main(m)
}

// TestBashCompletion completes in a bash that has no package bash-completion.
func TestBashCompletion(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "emr-static-ip")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"states", "statics", "x y"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	_, script, _, _ := runMain(t, t.Context(), []string{"completion", "bash"}, nil, agent.Report{}, nil)
	// The shell's own variables and arguments, as bash sets them for a completion function.
	script += `
compopt() { :; }
COMP_WORDBREAKS=$2 COMP_LINE=$1 COMP_POINT=${#1}
_emr_static_ip emr-static-ip
printf '%s\n' "${COMPREPLY[@]}"
`
	const breaks = " \t\n\"'><=;|&(:"
	for _, test := range []struct {
		line, breaks string
		want         []string
	}{
		{"emr-static-ip rel", breaks, []string{"release"}},
		{"emr-static-ip ledger ", breaks, []string{"gc", "list", "remove", "repair", "watch"}},
		{"emr-static-ip --role ", breaks, []string{"MASTER", "CORE", "TASK"}},
		{"emr-static-ip --role=c", breaks, []string{"CORE"}},
		{"emr-static-ip --role=c", " \t\n", []string{"--role=CORE"}},
		{"emr-static-ip status -o ", breaks, []string{"text", "json"}},
		{"emr-static-ip 10.0.1.10 10.0.1.1", breaks, nil},
		{"emr-static-ip --state-dir " + dir + "/sta", breaks, []string{dir + "/states", dir + "/statics"}},
		{"emr-static-ip --state-dir=" + dir + "/x", breaks, []string{dir + "/x y"}},
		{"emr-static-ip ledger gc --", breaks, []string{"--help", "--imds-timeout", "--log-format", "--output", "--prefix", "--region", "--subnet", "--timeout", "--verbose", "--yes"}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, bash, "--norc", "--noprofile", "-c", script, "bash", test.line, test.breaks)
		cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir, "EMR_STATIC_IP_TEST_PROGRAM=1"}
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		got := strings.FieldsFunc(stdout.String(), func(r rune) bool { return r == '\n' })
		if strings.HasSuffix(test.line, "--") {
			slices.Sort(got) // the order is that of the help text
		}
		if err != nil || stderr.Len() > 0 || !slices.Equal(got, test.want) {
			t.Errorf("%q: got %q, want %q; %v\n%s", test.line, got, test.want, err, &stderr)
		}
	}
}

// Every flag of every command is a variable too; one that stands for none is told of.
func TestEveryFlagIsAVariable(t *testing.T) {
	values := map[string]string{
		pool.FlagMaster: "10.0.1.10", pool.FlagCore: "10.0.1.11", pool.FlagTask: "10.0.1.12", pool.FlagAny: "10.0.1.13", flagRole: "task", flagOnly: "192.168.0.0/16", flagExclude: "192.168.1.0/24",
		flagPrefix: "/x", flagPutRate: "7", flagTimeout: "77s", flagIMDS: "7s", flagLockWait: "7s", flagWait: "7s", flagStateDir: "/x",
		flagVerify: "192.168.0.1:443", flagBundle: "/x/y.tar.gz", flagClaimTag: "team=data", flagSubnet: "subnet-0a1b2c3d", flagRegion: "eu-west-1",
		flagCluster: "j-1K48XXXXXXHCB", flagRoleName: "EMR_EC2_DefaultRole",
	}
	c := commandLine{}
	root := c.tree()
	for _, cmd := range append(shown(root), root) {
		for flag := range c.flags.texts {
			if cmd.Flag(flag) == nil {
				continue
			}
			value := values[flag]
			if list := flagValues()[flag]; value == "" && list != nil {
				value = list[len(list)-1]
			}
			if value == "" && cmd.Flag(flag).NoOptDefVal == "true" {
				value = "true"
			}
			if value == "" {
				t.Errorf("--%s: the test has no value for it", flag)
			}
			f := newFlags(agent.Environment{LookupEnv: func(name string) (string, bool) {
				if name != variableOf(flag) {
					return "", false
				}
				return value, true
			}})
			f.texts = c.flags.texts
			cfg, err := f.config(cmd, nil)
			if err != nil || reflect.DeepEqual(cfg, agent.DefaultConfig()) {
				t.Errorf("%s: %s=%s is ignored: %v", cmd.Name(), variableOf(flag), value, err)
			}
		}
	}
}

func TestUnknownVariables(t *testing.T) {
	environ := []string{"EMR_STATIC_IP_CORE_IP=10.0.1.11", "EMR_STATIC_IP_ON_ERROR=fail", "EMR_STATIC_IP_OUTPUT=json", "EMR_STATIC_IP_BUCKET_NAME=x", "EMR_STATIC_IP_\x1b=1", "EMR_STATIC_IP_EMPTY=", "EMR_STATIC_IP_BASE=s3://bucket/prefix", "HOME=/"}
	var stderr strings.Builder
	p := Program{Apply: func(context.Context, agent.Config, agent.Environment) (agent.Report, error) {
		return agent.Report{}, nil
	}}
	synctest.Test(t, func(t *testing.T) { // for the times in the log
		p.Main(t.Context(), nil, agent.Environment{Stderr: &stderr, Environ: func() []string { return environ }, LookupEnv: func(string) (string, bool) { return "", false }})
	})
	golden.Is(t, "unknown-variables.txt", stderr.String())
}
