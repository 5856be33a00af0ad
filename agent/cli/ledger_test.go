package cli

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
)

func TestLedgerCommands(t *testing.T) {
	want := func(change func(*agent.Config)) agent.Config {
		c := agent.DefaultConfig()
		change(&c)
		return c
	}
	for _, test := range []struct {
		args string
		env  map[string]string
		what string
		code exit.Code
		want agent.Config
	}{
		{"ledger list", nil, "ledger list", exit.Drifted, want(func(*agent.Config) {})},
		{"ledger gc", nil, "ledger gc", exit.OK, want(func(*agent.Config) {})},
		{"ledger repair", nil, "ledger repair", exit.OK, want(func(*agent.Config) {})},
		{"ledger list --subnet subnet-0a1b --region eu-central-1 -o json --prefix /x 10.0.1.10-12", nil, "ledger list", exit.Drifted, want(func(c *agent.Config) {
			c.Subnet, c.Region, c.Output, c.Prefix = "subnet-0a1b", "eu-central-1", "json", "/x"
			c.Given = agent.Given{Prefix: true}
			c.Pools = agent.Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11 10.0.1.12")}
		})},
		{"ledger gc --yes --timeout 1h", nil, "ledger gc", exit.OK, want(func(c *agent.Config) { c.Yes, c.Timeout, c.Given = true, 3600e9, agent.Given{} })},
		{"ledger --verbose repair --yes=false", nil, "ledger repair", exit.OK, want(func(c *agent.Config) { c.Verbose, c.Given = true, agent.Given{} })},
		{"ledger list", map[string]string{"EMR_STATIC_IP_SUBNET": "subnet-1", "EMR_STATIC_IP_YES": "nonsense", "EMR_STATIC_IP_CORE_IPS": "nonsense"}, "ledger list", exit.Drifted,
			want(func(c *agent.Config) { c.Subnet, c.Given = "subnet-1", agent.Given{} })},
	} {
		code, stdout, stderr, got := runMain(t, t.Context(), strings.Fields(test.args), test.env, agent.Report{}, nil)
		if code != test.code || got.what != test.what || !reflect.DeepEqual(got.cfg, test.want) || stdout == "" {
			t.Errorf("%s: code %d, called %q with\n%+v, want\n%+v\n%s", test.args, code, got.what, got.cfg, test.want, stderr)
		}
		if got.root != nil {
			t.Errorf("%s: becomes root", test.args)
		}
		if test.want.Output == "json" && !json.Valid([]byte(stdout)) {
			t.Errorf("%s: %s", test.args, stdout)
		}
	}
	messages := golden.Open(t, "ledger-problems.txt")
	for _, args := range []string{
		"ledger",
		"ledger lst",
		"ledger gc 10.0.1.10",
		"ledger list --yes",
		"ledger list --subnet vpc-1",
		"ledger list --region EU",
		"ledger list --region x.evil/y-1",
		"ledger list --subnet",
		"ledger repair 10.0.1.300 --role CORE",
		"status --subnet subnet-1",
		"ledger list -o xml --region x --bogus",
	} {
		code, _, stderr, got := runMain(t, t.Context(), strings.Fields(args), nil, agent.Report{}, nil)
		if code != exit.Usage || got.what != "" {
			t.Errorf("%s: code %d, called %q", args, code, got.what)
		}
		messages.Is(t, args, stderr)
	}
	done := agent.Report{Changes: []string{"removed 10.0.1.11"}}
	code, _, stderr, _ := runMain(t, t.Context(), []string{"ledger", "gc", "--yes"}, nil, done, exit.With(exit.Permission, errors.New("denied"), "allow it"))
	if code != exit.Permission {
		t.Errorf("code %d", code)
	}
	messages.Is(t, "a failure of ledger gc", stderr)
}

// The help of ledger's commands has the flags that they do something with.
func TestLedgerHelp(t *testing.T) {
	for _, args := range []string{"ledger --help", "ledger list -h", "help ledger gc"} {
		_, stdout, _, _ := runMain(t, t.Context(), strings.Fields(args), nil, agent.Report{}, nil)
		for flag, want := range map[string]bool{"prefix": true, "timeout": true, "lock-wait": false, "state-dir": false, "nat-backend": false} {
			if strings.Contains(stdout, "--"+flag+" ") != want {
				t.Errorf("%s: --%s: want it shown: %v\n%s", args, flag, want, stdout)
			}
		}
		if !strings.Contains(stdout, "xit codes") {
			t.Errorf("%s:\n%s", args, stdout)
		}
	}
	if _, stdout, _, _ := runMain(t, t.Context(), []string{"status", "--help"}, nil, agent.Report{}, nil); !strings.Contains(stdout, "--state-dir ") {
		t.Error(stdout)
	}
}
