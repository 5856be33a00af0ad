package cli

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
)

func TestClusterCheck(t *testing.T) {
	want := func(change func(*agent.Config)) agent.Config {
		c := agent.DefaultConfig()
		c.Cluster = "j-1K48XXXXXXHCB"
		change(&c)
		return c
	}
	for _, test := range []struct {
		args string
		env  map[string]string
		want agent.Config
	}{
		{"cluster check j-1K48XXXXXXHCB", nil, want(func(*agent.Config) {})},
		{"cluster -o json check --region eu-central-1 --wait 10m j-1K48XXXXXXHCB --prefix /x", nil, want(func(c *agent.Config) {
			c.Region, c.Output, c.Wait, c.Prefix, c.Given.Prefix = "eu-central-1", "json", 10*time.Minute, "/x", true
		})},
		{"cluster check --task-ips 10.0.1.40-41 j-1K48XXXXXXHCB", map[string]string{"EMR_STATIC_IP_WAIT": "1m", "EMR_STATIC_IP_YES": "nonsense"}, want(func(c *agent.Config) {
			c.Wait, c.Pools.Task = time.Minute, netiptest.Addrs("10.0.1.40 10.0.1.41")
		})},
	} {
		code, stdout, stderr, got := runMain(t, t.Context(), strings.Fields(test.args), test.env, agent.Report{}, nil)
		if code != exit.Drifted || got.what != "cluster check" || !reflect.DeepEqual(got.cfg, test.want) || stdout == "" {
			t.Errorf("%s: code %d, called %q with\n%+v, want\n%+v\n%s", test.args, code, got.what, got.cfg, test.want, stderr)
		}
		if got.root != nil {
			t.Errorf("%s: becomes root", test.args)
		}
		if test.want.Output == "json" && !json.Valid([]byte(stdout)) {
			t.Errorf("%s: %s", test.args, stdout)
		}
	}
	messages := golden.Open(t, "cluster-problems.txt")
	for _, args := range []string{
		"cluster", "cluster chek", "cluster check", "cluster check i-0a1", "cluster check j-lower", "cluster check j-../../X",
		"cluster check j-1 10.0.1.10", "cluster check --wait 0s --subnet subnet-1 j-1", "ledger list --wait 1m", "cluster check --core-ips 10.0.1.300 j-1",
	} {
		code, _, stderr, got := runMain(t, t.Context(), strings.Fields(args), nil, agent.Report{}, nil)
		if code != exit.Usage || got.what != "" {
			t.Errorf("%s: code %d, called %q", args, code, got.what)
		}
		messages.Is(t, args, stderr)
	}
}

// TestReadArguments reads arguments of bootstrap actions, this program's and others'.
func TestReadArguments(t *testing.T) {
	for _, test := range []struct {
		args   []string
		pools  pool.Pools
		prefix string
		fails  bool
	}{
		{args: []string{"10.0.1.10", "10.0.1.11-12"}, pools: pool.Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11 10.0.1.12")}, prefix: agent.DefaultPrefix},
		{args: strings.Fields("apply --prefix /x --on-error=continue --master-ips 10.0.1.10 --core-ips 10.0.1.11 --task-ips 10.0.1.40"),
			pools: pool.Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11"), Task: netiptest.Addrs("10.0.1.40")}, prefix: "/x"},
		{args: []string{"10.0.1.10", "us-east-1"}, pools: pool.Pools{Master: netiptest.Addrs("10.0.1.10"), MasterOnly: true}, prefix: agent.DefaultPrefix},
		{args: nil, prefix: agent.DefaultPrefix},
		{args: []string{"install", "htop"}, fails: true},
		{args: []string{"--bananas", "10.0.1.10"}, fails: true},
		{args: []string{"status"}, fails: true},
		{args: []string{"ledger", "list", "10.0.1.10"}, fails: true},
		{args: []string{"--prefix"}, fails: true},
		{args: []string{"10.0.1.10", "10.0.1.300"}, fails: true},
		{args: []string{"-h"}, prefix: agent.DefaultPrefix},
	} {
		t.Setenv("EMR_STATIC_IP_PREFIX", "/of-this-machine")
		cfg, err := readArguments(test.args)
		if (err != nil) != test.fails || err == nil && (!reflect.DeepEqual(cfg.Pools, test.pools) || cfg.Prefix != test.prefix) {
			t.Errorf("%q: %+v, %q, %v", test.args, cfg.Pools, cfg.Prefix, err)
		}
	}
}

// FuzzReadArguments checks that whatever a bootstrap action is called with does not end the check.
func FuzzReadArguments(f *testing.F) {
	f.Add("10.0.1.10 10.0.1.11-12 --prefix /x")
	f.Add("completion bash")
	f.Add("-- --help")
	f.Add("version --version __complete")
	f.Fuzz(func(t *testing.T, line string) {
		cfg, err := readArguments(strings.Split(line, " "))
		if err == nil && !strings.HasPrefix(cfg.Prefix, "/") {
			t.Errorf("%q: prefix %q", line, cfg.Prefix)
		}
	})
}
