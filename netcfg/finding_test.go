package netcfg_test

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// A rule of ours that was overtaken is called that, once, with what comes before it.
func TestFindings(t *testing.T) {
	want := config().Desired("eth0")
	set := func(changes ...string) netcfg.RuleSet {
		t.Helper()
		text := "-P PREROUTING ACCEPT\n-P OUTPUT ACCEPT\n-P POSTROUTING ACCEPT\n"
		for _, c := range want.Chains {
			text += "-N " + c.Name + "\n"
		}
		for _, c := range want.Chains {
			for _, r := range c.Rules {
				text += "-A " + c.Name + " " + r.String() + "\n"
			}
		}
		for _, j := range want.Jumps {
			line := "-A " + j.Chain + " " + j.Text + "\n"
			for _, change := range changes {
				if rest, ok := strings.CutPrefix(change, j.Chain+": "); ok {
					line = strings.ReplaceAll(rest, "*", strings.TrimSuffix(line, "\n")) + "\n"
				}
			}
			text += line
		}
		s, err := netcfg.ParseRules(text)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	const docker = "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"
	messages := golden.Open(t, "findings.txt")
	for _, test := range []struct {
		name string
		set  netcfg.RuleSet
	}{
		{"in order", set()},
		{"overtaken", set("POSTROUTING: " + docker + "\n*")},
		{"overtaken by three", set("POSTROUTING: " + docker + "\n" + docker + "\n" + docker + "\n*")},
		{"overtaken by a hostile comment", set("POSTROUTING: -A POSTROUTING -m comment --comment \"\x1b[2J\" -j ACCEPT\n*")},
		{"gone", set("POSTROUTING: " + docker)},
		{"twice", set("OUTPUT: *\n*")},
		{"behind others where the place does not matter", set("PREROUTING: -A PREROUTING -j DOCKER\n*")},
		{"a rule by hand", set("POSTROUTING: *\n-A POSTROUTING -o eth1 -j EMR-STATIC-IP-OUT")},
	} {
		var told strings.Builder
		for _, f := range test.set.Findings(want) {
			fmt.Fprintln(&told, f)
		}
		messages.Is(t, test.name, told.String())
	}
}

// A table with many rules that is lost, or that nobody wants, is told shortly, its jumps first. Few
// findings are all told.
func TestShorten(t *testing.T) {
	c := config()
	c.Only = networks(400)
	many, few := c.Desired("eth0").For(netcfg.IptablesNFT), config().Desired("eth0")
	for _, test := range []struct {
		have, want netcfg.RuleSet
		findings   int // -1: all of them
	}{
		{netcfg.RuleSet{}, many, 31}, {many, netcfg.RuleSet{}, 31}, {netcfg.RuleSet{}, few, -1}, {few, netcfg.RuleSet{}, -1}, {many, many, 0},
	} {
		all := test.have.Findings(test.want)
		want := test.findings
		if want < 0 {
			want = len(all)
		}
		short := netcfg.Shorten(all)
		if len(short) != want || want == len(all) && !slices.Equal(short, all) {
			t.Errorf("%d of %d findings, want %d: %v", len(short), len(all), want, short)
		}
		for i, j := range many.Jumps {
			if want < len(all) && !strings.HasPrefix(short[i].What, "-A "+j.Chain+" "+j.Text) {
				t.Errorf("finding %d of %d is %s, want the jump in %s", i, len(all), short[i], j.Chain)
			}
		}
	}
}

// A rule of somebody else's for the static IP is listed, in whatever table.
func TestRedirections(t *testing.T) {
	t.Parallel()
	nft := func(family, rule string) string {
		return "nft -f - <<'END'\ntable " + family + " other {\n chain pre {\n  type nat hook prerouting priority dstnat; policy accept;\n  jump more\n }\n chain more {\n  " + rule + "\n }\n}\nEND\n"
	}
	for name, test := range map[string]struct {
		rule string
		want string
	}{
		"nothing":               {"true", ""},
		"iptables-nft":          {"iptables-nft -t nat -I PREROUTING -d 10.0.1.20 -p tcp --dport 80 -j DNAT --to-destination 10.0.1.9:8080", "table ip nat chain PREROUTING"},
		"iptables-legacy":       {"iptables-legacy -w 5 -t nat -I PREROUTING -d 10.0.1.20 -p tcp --dport 80 -j REDIRECT --to-ports 81", "iptables-legacy has"},
		"legacy, a network":     {"iptables-legacy -w 5 -t nat -I PREROUTING -d 10.0.1.16/28 -j DNAT --to-destination 10.0.1.9", "iptables-legacy has"},
		"nft, inet":             {nft("inet", "ip daddr 10.0.1.20 tcp dport 80 dnat ip to 10.0.1.9"), "table inet other chain more"},
		"nft, redirect":         {nft("ip", "ip daddr 10.0.1.20 tcp dport 80 redirect to :81"), "table ip other chain more"},
		"another address":       {nft("ip", "ip daddr 10.0.1.21 dnat to 10.0.1.9"), ""},
		"all but this address":  {"iptables-legacy -w 5 -t nat -I PREROUTING ! -d 10.0.1.20 -j DNAT --to-destination 10.0.1.9", ""},
		"from this address":     {nft("ip", "ip saddr 10.0.1.20 dnat to 10.0.1.9"), ""},
		"any address, one port": {nft("ip", "tcp dport 80 dnat to 10.0.1.9"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			enter(t, "iptables-nft", "iptables-legacy")
			w := newNetwork(t, autoOptions, "iptables-nft")
			w.node.ensure(t, config(), 2)
			sh(t, test.rule)
			got, err := w.node.Redirections(t.Context(), static)
			if err != nil {
				t.Fatal(err)
			}
			if (test.want == "") != (len(got) == 0) || test.want != "" && (len(got) != 1 || !strings.Contains(got[0], test.want)) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			w.node.removeAll(t, -1, static)
		})
	}
}

// A primary interface that is switched off is not in order.
func TestLinkDown(t *testing.T) {
	enter(t)
	w := newNetwork(t, netcfg.Options{Backend: "nftables"}, "iptables-nft")
	w.node.ensure(t, config(), 2)
	if v := w.node.judge(t); v.Condition != netcfg.InOrder {
		t.Fatal(v)
	}
	sh(t, "ip link set eth0 down")
	if v := w.node.judge(t); v.Condition != netcfg.Down || !strings.Contains(v.Detail, "ip link set eth0 up") {
		t.Error(v)
	}
}

// A directory in the place of the xtables lock, as a container that mounts it makes, is told apart
// from a lock that somebody keeps. The node's rules can be removed all the same where nftables has
// them.
func TestLockFileIsADirectory(t *testing.T) {
	enter(t, "iptables-legacy")
	w := newNetwork(t, netcfg.Options{Backend: "iptables", Iptables: "iptables-legacy"}, "iptables-legacy")
	t.Setenv("XTABLES_LOCKFILE", t.TempDir())
	_, err := netcfg.Ensure(t.Context(), w.node.Kernel, config(), nil)
	if !errors.Is(err, netcfg.ErrLockFile) || errors.Is(err, netcfg.ErrBusy) {
		t.Fatal(err)
	}
	if left := sh(t, "XTABLES_LOCKFILE=/dev/null iptables-legacy -w 5 -t nat -S"); strings.Contains(left, "EMR-") {
		t.Error(left)
	}
	// Rules that are there when the lock is lost can be removed, and only that.
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "lock"))
	if _, err := netcfg.Ensure(t.Context(), w.node.Kernel, config(), nil); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XTABLES_LOCKFILE", t.TempDir())
	if _, err := netcfg.Ensure(t.Context(), w.node.Kernel, config(), nil); !errors.Is(err, netcfg.ErrLockFile) {
		t.Error(err)
	}
	if _, err := netcfg.Remove(t.Context(), w.node.Kernel, config().MAC, []netip.Addr{static}, nil); err != nil {
		t.Error(err)
	}
	if left := sh(t, "XTABLES_LOCKFILE=/dev/null iptables-legacy -w 5 -t nat -S"); strings.Contains(left, "EMR-") {
		t.Error(left)
	}
	auto, err := netcfg.Open(t.Context(), netcfg.Options{Iptables: "iptables-legacy"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := netcfg.Ensure(t.Context(), auto, config(), nil); err != nil {
		t.Error(err)
	}
	if _, err := netcfg.Remove(t.Context(), auto, config().MAC, []netip.Addr{static}, nil); err != nil {
		t.Error(err)
	}
}
