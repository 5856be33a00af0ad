package lab

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// variants are the ways in which a node's rules can be kept.
var variants = []struct {
	name      string
	release   string
	iptables  Iptables
	args      []string
	processes int // that a restore starts at most
}{
	{"nftables", "emr-7.13.0", IptablesNFT, nil, 0},
	{"iptables nft", "emr-7.13.0", IptablesNFT, []string{"--nat-backend", "iptables"}, 2},
	{"iptables legacy", "emr-6.15.0", IptablesLegacy, []string{"--nat-backend", "iptables"}, 2},
}

// TestRestoreCost counts what a restore costs that finds all in order. The timer runs one every
// minute on every node.
func TestRestoreCost(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			c := launch(t, func(s *ClusterSpec) { s.Release, s.Iptables = v.release, v.iptables })
			core := c.Nodes()[1]
			expectDone(t, c, core, start(t, c, core, Command{Args: append([]string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}, v.args...)}))
			count := countIptables(t, core)
			// The names, sizes and times of all files of the program.
			files := func() string {
				out, err := core.Output(t.Context(), "find", "/var/lib/emr-static-ip", "-printf", "%p %s %T@ %C@\n")
				if err != nil {
					t.Fatal(err, out)
				}
				return out
			}
			before := files()
			var least time.Duration
			for range 5 {
				c.Cloud.ForgetCalls()
				called := len(count())
				got := start(t, c, core, Command{Args: []string{"restore"}, Env: []string{"PATH=" + countingDir + ":/usr/sbin:/usr/bin:/sbin:/bin"}})
				if got.ExitCode != 0 || got.Stderr != "" {
					t.Errorf("exit code %d, and it says %q", got.ExitCode, got.Stderr)
				}
				requests := slices.DeleteFunc(c.Cloud.Calls(), func(call cloud.Call) bool { return call.Caller != core.Instance })
				most := 3
				if slices.ContainsFunc(requests, func(call cloud.Call) bool { return strings.HasSuffix(call.Params, "vpc-ipv4-cidr-blocks") }) {
					most = 4 // every tenth minute
				}
				if len(requests) > most {
					t.Errorf("%d requests, at most %d: %v", len(requests), most, requests)
				}
				if ran := count()[called:]; len(ran) > v.processes {
					t.Errorf("it started %q, at most %d", ran, v.processes)
				}
			}
			if after := files(); after != before {
				t.Errorf("it wrote files:\n%s\nbefore\n%s", after, before)
			}
			for range 20 { // without the counting programs
				if got := start(t, c, core, Command{Args: []string{"restore"}}); least == 0 || got.CPU < least {
					least = got.CPU
				}
			}
			t.Logf("CPU of a restore, minimum of 20: %v", least)
		})
	}
}

// countingDir has programs in front of iptables and its sisters that note each call.
const countingDir = "/tmp/counting"

// countIptables puts them there. It returns a function that returns the calls so far.
func countIptables(t *testing.T, n *Node) func() []string {
	t.Helper()
	const script = `mkdir -p ` + countingDir + `; : >` + countingDir + `/log; for p in iptables iptables-restore iptables-legacy iptables-legacy-restore; do
	f=$(command -v $p) || continue
	printf '#!/bin/sh\necho "%s $*" >>` + countingDir + `/log\nexec %s "$@"\n' $p $f >` + countingDir + `/$p; chmod 755 ` + countingDir + `/$p; done`
	if out, err := n.Output(t.Context(), "sh", "-ec", script); err != nil {
		t.Fatal(err, out)
	}
	return func() []string {
		log, err := n.ReadFile(countingDir + "/log")
		if err != nil {
			t.Fatal(err)
		}
		return slices.Collect(strings.Lines(string(log)))
	}
}
