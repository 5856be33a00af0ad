package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/cluster"
	"github.com/emr-static-ip/emr-static-ip/agent/doctor"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/ledger"
)

// standIns returns a program whose commands all end with err.
func standIns(err error) Program {
	run := func(context.Context, agent.Config, agent.Environment) (agent.Report, error) {
		return agent.Report{InstanceID: "i-0a1", Changes: []string{"a change"}}, err
	}
	return Program{
		Apply: run, Plan: run, Release: run, Restore: run,
		Status: func(context.Context, agent.Config, agent.Environment) (agent.Status, error) {
			return agent.Status{Verdict: agent.VerdictInOrder}, err
		},
		Doctor: func(context.Context, agent.Config, agent.Environment) (doctor.Diagnosis, error) {
			return doctor.Diagnosis{Findings: []doctor.Finding{{Check: "imds", Result: "ok"}}}, err
		},
		Ledger: func(_ context.Context, command string, _ agent.Config, _ agent.Environment) (ledger.Report, error) {
			return ledger.Report{Command: command, Addresses: []ledger.Address{{Address: "10.0.1.10"}}, Steps: []ledger.Step{{Address: "10.0.1.10", Outcome: "done"}}}, err
		},
		Watch: func(_ context.Context, cfg agent.Config, _ agent.Environment, print func(ledger.Report) error) (ledger.Report, error) {
			return ledger.Report{Command: ledger.Watch}, err
		}, Cluster: func(_ context.Context, cfg agent.Config, _ agent.Environment, _ cluster.ReadArguments) (cluster.Report, error) {
			return cluster.Report{Cluster: cfg.Cluster, Complete: true, Nodes: []cluster.Node{{Instance: "i-0a1", State: cluster.OK, Record: &cluster.Record{Instance: "i-0a1"}}}}, err
		},
		Suppress: func(context.Context, agent.Config, agent.Environment, agent.Failed) agent.Suppressed {
			return agent.Suppressed{Done: []string{"tagged"}}
		},
	}
}

// jsonCommands returns the command lines of all commands that have -o, hidden ones included.
func jsonCommands(t *testing.T) (lines [][]string) {
	t.Helper()
	root := (&commandLine{}).tree()
	for _, cmd := range everyCommand(root) {
		if cmd.Flag(flagOutput) != nil {
			lines = append(lines, strings.Fields(cmd.CommandPath())[1:])
		}
	}
	if len(lines) < 12 {
		t.Fatalf("only %q have -o", lines)
	}
	return lines
}

// object returns the one JSON object in stdout.
func object(t *testing.T, name string, stdout []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(stdout))
	var o map[string]any
	if err := d.Decode(&o); err != nil {
		t.Errorf("%s: %v in %q", name, err, stdout)
		return nil
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) || bytes.Count(stdout, []byte("\n")) != 1 {
		t.Errorf("%s: more than one object on one line: %q", name, stdout)
	}
	return o
}

// null returns the path of a null in a JSON value, or "".
func null(path string, value any) string {
	switch v := value.(type) {
	case nil:
		return path
	case []any:
		for i, x := range v {
			if p := null(fmt.Sprintf("%s[%d]", path, i), x); p != "" {
				return p
			}
		}
	case map[string]any:
		for k, x := range v {
			if p := null(path+"."+k, x); p != "" {
				return p
			}
		}
	}
	return ""
}

// TestOneObject walks all commands and all kinds of failure. Each prints one object, with the same
// head, and with all its lists.
func TestOneObject(t *testing.T) {
	interrupted, cancel := context.WithCancelCause(t.Context())
	cancel(&SignalError{Signal: syscall.SIGINT})
	terminated, cancel := context.WithCancelCause(t.Context())
	cancel(&SignalError{Signal: syscall.SIGTERM})
	for _, kind := range []struct {
		name    string
		ctx     context.Context
		args    []string
		env     map[string]string
		elevate error
		err     error
		code    exit.Code
	}{
		{name: "success", args: []string{"-o", "json"}},
		{name: "by the environment", env: map[string]string{"EMR_STATIC_IP_OUTPUT": "json"}},
		{name: "unknown flag", args: []string{"-o=json", "--bananas=1", "-q"}, code: exit.Usage},
		{name: "wrong values", args: []string{"-o", "json", "--log-format", "xml", "not an address"}, code: exit.Usage},
		{name: "wrong word, JSON by the environment", args: []string{"bananas"}, env: map[string]string{"EMR_STATIC_IP_OUTPUT": "json"}, code: exit.Usage},
		{name: "a flag without its value", args: []string{"--output=json", "--log-format"}, code: exit.Usage},
		{name: "not root", args: []string{"-ojson"}, elevate: notRoot(errors.New("sudo: a password is required"), ""), code: exit.NotRoot},
		{name: "no IMDS", args: []string{"-o", "json"}, err: exit.With(exit.Unreachable, errors.New("IMDS does not answer\nat all"), "check the hop limit"), code: exit.Unreachable},
		{name: "lock busy", args: []string{"-o", "json"}, err: fmt.Errorf("waiting for another run: %w", context.DeadlineExceeded), code: exit.Deadline},
		{name: "no permission", args: []string{"-o", "json"}, err: errors.Join(exit.With(exit.Permission, errors.New("denied"), "allow it"), errors.New("and more")), code: exit.Permission},
		{name: "SIGINT", ctx: interrupted, args: []string{"-o", "json"}, err: context.Canceled, code: exit.Interrupt},
		{name: "SIGTERM", ctx: terminated, args: []string{"-o", "json"}, err: context.Canceled, code: exit.Terminate},
	} {
		for _, words := range jsonCommands(t) {
			name := strings.Join(words, " ") + ", " + kind.name
			ctx, args := kind.ctx, append(slices.Clone(words), kind.args...)
			switch strings.Join(words, " ") { // commands that need an argument
			case "cluster check":
				args = append(args, "j-1")
			case "ledger remove":
				args = append(args, "10.0.1.10")
			}
			if ctx == nil {
				ctx = t.Context()
			}
			p := standIns(kind.err)
			if kind.elevate != nil {
				p.Elevate = func(context.Context, []string) error { return kind.elevate }
			}
			var out, errOut bytes.Buffer
			code := p.Main(ctx, args, agent.Environment{Stdout: &out, Stderr: &errOut, LookupEnv: func(name string) (string, bool) {
				v, ok := kind.env[name]
				return v, ok
			}})
			o := object(t, name, out.Bytes())
			want := kind.code
			if (slices.Equal(words, []string{"ledger"}) || slices.Equal(words, []string{"cluster"})) && kind.ctx == nil {
				want = exit.Usage // it is no command without another word
			} else if slices.Equal(words, []string{"version"}) && kind.code != exit.Usage ||
				kind.code == exit.NotRoot && slices.ContainsFunc(words, func(w string) bool { return slices.Contains([]string{"plan", "doctor", "ledger", "cluster"}, w) }) {
				want = exit.OK // it needs neither
			}
			if code != want || o["version"] != 1.0 || o["tool_version"] != agent.Version() || o["exit_code"] != float64(code) {
				t.Errorf("%s: exit code %d, want %d: %s", name, code, want, &out)
			}
			failure, failed := o["error"].(map[string]any)
			if failed != (code != exit.OK) || failed && (failure["exit_code"] != float64(code) || failure["message"] == "" || failure["meaning"] != code.Meaning() || failure["suppressed"] != false) {
				t.Errorf("%s: exit code %d, error %v", name, code, o["error"])
			}
			if p := null("", o); p != "" {
				t.Errorf("%s: %s is null in %s", name, p, &out)
			}
		}
	}
}

// A failure that --on-error continue suppresses is in the object of a process that ends with 0.
func TestSuppressedObject(t *testing.T) {
	var out bytes.Buffer
	p := standIns(exit.With(exit.Permission, errors.New("denied"), "allow it"))
	code := p.Main(t.Context(), []string{"--on-error", "continue", "-o", "json"}, agent.Environment{Stdout: &out})
	o := object(t, "suppressed", out.Bytes())
	failure, _ := o["error"].(map[string]any)
	if code != exit.OK || o["exit_code"] != 0.0 || failure["exit_code"] != 4.0 || failure["suppressed"] != true || len(o["changes"].([]any)) != 1 {
		t.Errorf("exit code %d, %s", code, &out)
	}
}

// A secret that is a word of the form itself leaves the form as it is.
func TestSecretInObject(t *testing.T) {
	var out bytes.Buffer
	p := standIns(exit.With(exit.Unreachable, errors.New(`proxy http://user:changes@proxy, "changes": no answer`), ""))
	p.Main(t.Context(), []string{"-o", "json"}, agent.Environment{Stdout: &out, LookupEnv: func(name string) (string, bool) {
		return "http://user:changes@proxy", name == "HTTPS_PROXY"
	}})
	o := object(t, "secret", out.Bytes())
	failure, _ := o["error"].(map[string]any)
	if message, _ := failure["message"].(string); o["changes"] == nil || message == "" || strings.Contains(message, "changes") {
		t.Errorf("%s", &out)
	}
}

// If stdout cannot be written, a command that only looks has failed. A command whose work is done
// has not.
func TestUnwritableStdout(t *testing.T) {
	for _, test := range []struct {
		args string
		code exit.Code
	}{
		{"apply", exit.OK}, {"release -o json", exit.OK}, {"restore", exit.OK},
		{"status", exit.Internal}, {"status -o json", exit.Internal}, {"doctor", exit.Internal}, {"ledger list -o json", exit.Internal}, {"version", exit.Internal},
	} {
		var errOut bytes.Buffer
		code := standIns(nil).Main(t.Context(), strings.Fields(test.args), agent.Environment{Stdout: broken{}, Stderr: &errOut})
		if code != test.code || !strings.Contains(errOut.String(), errBroken.Error()) {
			t.Errorf("%s: exit code %d, want %d\n%s", test.args, code, test.code, &errOut)
		}
	}
}

var errBroken = errors.New("nobody reads this")

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }
