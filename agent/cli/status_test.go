package cli

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
)

// The help of status has each verdict with its exit code.
func TestStatusHelpHasTheVerdicts(t *testing.T) {
	_, help, _, _ := runMain(t, t.Context(), []string{"status", "--help"}, nil, agent.Report{}, nil)
	lines := slices.Collect(strings.Lines(help))
	for _, v := range []agent.Verdict{agent.VerdictInOrder, agent.VerdictSettling, agent.VerdictDrifted, agent.VerdictNotConfigured, agent.VerdictWithdrawn} {
		code := strconv.Itoa(int(agent.Status{Verdict: v}.ExitCode()))
		if !slices.ContainsFunc(lines, func(line string) bool {
			words := strings.Fields(line)
			return len(words) > 0 && words[0] == code && strings.Contains(line, string(v))
		}) {
			t.Errorf("no line has %s and %q", code, v)
		}
	}
}

// status --wait looks again while time may change the answer, and no longer than asked for.
func TestStatusWaits(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		at   func(since time.Duration) agent.Verdict
		code exit.Code
		took time.Duration // at most
	}{
		{"settling, without --wait", []string{"status"}, func(time.Duration) agent.Verdict { return agent.VerdictSettling }, exit.OK, 0},
		{"in order after 20 s", []string{"status", "--wait", "1m"}, func(d time.Duration) agent.Verdict {
			if d < 20*time.Second {
				return agent.VerdictSettling
			}
			return agent.VerdictInOrder
		}, exit.OK, 20 * time.Second},
		{"settling for ever", []string{"status", "--wait=30s"}, func(time.Duration) agent.Verdict { return agent.VerdictSettling }, exit.Drifted, 30 * time.Second},
		{"drifted for ever", []string{"status", "--wait=30s"}, func(time.Duration) agent.Verdict { return agent.VerdictDrifted }, exit.Drifted, 30 * time.Second},
		{"withdrawn", []string{"status", "--wait=30s"}, func(time.Duration) agent.Verdict { return agent.VerdictWithdrawn }, exit.Withdrawn, 0},
		{"not configured", []string{"status", "--wait=30s"}, func(time.Duration) agent.Verdict { return agent.VerdictNotConfigured }, exit.NotGiven, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			p := Program{Status: func(context.Context, agent.Config, agent.Environment) (agent.Status, error) {
				return agent.Status{Verdict: test.at(time.Since(began))}, nil
			}}
			code := p.Main(t.Context(), test.args, agent.Environment{LookupEnv: func(string) (string, bool) { return "", false }})
			if took := time.Since(began); code != test.code || took > test.took {
				t.Errorf("%s: exit code %d, want %d, after %s", test.name, code, test.code, took)
			}
		})
	}
}
