package netcfg_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// raw makes a chain of nf_tables before connection tracking, with these rules.
func raw(family, hook, priority, rules string) string {
	return "nft -f - <<'END'\ntable " + family + " other {\n chain early {\n  type filter hook " + hook + " priority " + priority + "; policy accept;\n  " + rules +
		"\n }\n chain more {\n  notrack\n }\n}\nEND\n"
}

// TestUntracked checks which rules of others are said to keep the node's traffic from connection
// tracking, and which only may. A rule is certain only if the world does not see the static IP.
func TestUntracked(t *testing.T) {
	t.Parallel()
	const sure, may, none = "sure", "may", ""
	for _, test := range []struct{ name, script, want, where string }{
		{"nothing", "true", none, ""},
		{"all that leaves", "IPT -t raw -A OUTPUT -j NOTRACK", sure, "table ip raw"},
		{"all that leaves, CT", "IPT -t raw -A OUTPUT -j CT --notrack", sure, "table ip raw"},
		{"all that leaves by a link", "IPT -t raw -A OUTPUT -o eth0 -p tcp -m comment --comment 'no track' -j CT --notrack", sure, "table ip raw"},
		{"by links that begin so", "IPT -t raw -A OUTPUT -o eth+ -j NOTRACK", sure, "table ip raw"},
		{"all but lo", "IPT -t raw -A OUTPUT ! -o lo -j NOTRACK", sure, "table ip raw"},
		{"a network that sees the static IP", "IPT -t raw -A OUTPUT -d 192.168.0.0/16 -j NOTRACK", sure, "table ip raw"},
		{"an odd network", "IPT -t raw -A OUTPUT -d 192.168.48.0/20 -j NOTRACK", sure, "table ip raw"},
		{"its answers", "IPT -t raw -A PREROUTING -s 192.168.0.0/16 -j NOTRACK", may, "table ip raw"},
		{"lo only", "IPT -t raw -A OUTPUT -o lo -j NOTRACK; IPT -t raw -A PREROUTING -i lo -j NOTRACK", none, ""},
		{"another link", "IPT -t raw -A OUTPUT -o eth1 -j NOTRACK", none, ""},
		{"a network of the VPC", "IPT -t raw -A OUTPUT -d 10.0.3.0/24 -j NOTRACK; IPT -t raw -A PREROUTING -s 10.0.3.0/24 -j NOTRACK", none, ""},
		{"link-local, as of a DNS cache", "IPT -t raw -A OUTPUT -d 169.254.20.10/32 -p udp -m udp --dport 53 -j NOTRACK; IPT -t raw -A OUTPUT -s 169.254.20.10/32 -p udp -m udp --sport 53 -j NOTRACK", none, ""},
		{"a port", "IPT -t raw -A OUTPUT -p tcp -m tcp --dport 9866 -j NOTRACK", may, "table ip raw"},
		{"UDP", "IPT -t raw -A OUTPUT -p udp -j NOTRACK", may, "table ip raw"},
		{"a mark", "IPT -t raw -A OUTPUT -m mark --mark 7 -j NOTRACK", may, "table ip raw"},
		{"all but a network", "IPT -t raw -A OUTPUT ! -d 192.168.0.0/16 -j NOTRACK", may, "table ip raw"},
		{"after a rule that accepts", "IPT -t raw -A OUTPUT -d 192.168.0.0/16 -j ACCEPT; IPT -t raw -A OUTPUT -j NOTRACK", may, "table ip raw"},
		{"after a rule that goes on", "IPT -t raw -A OUTPUT -j MARK --set-mark 1; IPT -t raw -A OUTPUT -j NOTRACK", sure, "table ip raw"},
		{"in a chain of its own", "IPT -t raw -N X; IPT -t raw -A X -j NOTRACK; IPT -t raw -A OUTPUT -p tcp -m tcp --dport 1 -j X", may, "chain X|iptables-legacy"},
		{"what containers send", "IPT -t raw -A PREROUTING -i docker0 -j NOTRACK", may, "table ip raw"},
		{"in a chain that nothing uses", "IPT -t raw -N X; IPT -t raw -A X -j NOTRACK", none, ""},
		{"a helper", "IPT -t raw -A OUTPUT -p tcp -m tcp --dport 21 -j CT --zone 5", none, ""},

		{"nft, all", raw("ip", "output", "raw", "counter notrack"), sure, "table ip other chain early"},
		{"nft, inet", raw("inet", "output", "raw", "meta nfproto ipv4 oifname \"eth0\" ip daddr 192.168.50.0/24 notrack"), sure, "table inet other chain early"},
		{"nft, a link by its index", raw("inet", "output", "-450", "oif eth0 notrack"), sure, "table inet other"},
		{"nft, IPv6", raw("inet", "output", "raw", "meta nfproto ipv6 notrack"), none, ""},
		{"nft, another family", raw("ip6", "output", "raw", "notrack"), none, ""},
		{"nft, lo", raw("inet", "output", "raw", "oif lo notrack"), none, ""},
		{"nft, too late", raw("inet", "output", "-150", "notrack"), none, ""},
		{"nft, a set of ports", raw("inet", "output", "raw", "tcp dport { 80, 443 } notrack"), may, "table inet other"},
		{"nft, a jump", raw("inet", "output", "raw", "tcp dport 1 jump more"), may, "table inet other chain more"},
		{"nft, a map of jumps", raw("inet", "output", "raw", "tcp dport vmap { 1 : jump more }"), may, "table inet other chain more"},
		{"nft, dormant", strings.Replace(raw("inet", "output", "raw", "notrack"), "other {", "other {\n flags dormant", 1), none, ""},
	} {
		programs := []string{""}
		if strings.Contains(test.script, "IPT ") {
			programs = []string{"iptables-nft", "iptables-legacy -w 5"}
		}
		for _, program := range programs {
			t.Run(test.name+" "+program, func(t *testing.T) {
				enter(t, "iptables-nft", "iptables-legacy")
				w := newNetwork(t, autoOptions, "iptables-nft")
				w.node.ensure(t, config(), 2)
				sh(t, strings.ReplaceAll(test.script, "IPT ", program+" "))
				before := sh(t, "iptables-legacy-save; nft list ruleset")
				list, err := w.node.Untracked(bounded(t), config(), "eth0")
				if err != nil {
					t.Fatal(err)
				}
				if after := sh(t, "iptables-legacy-save; nft list ruleset"); withoutCounters(after) != withoutCounters(before) {
					t.Errorf("looking changed the rules:\n%s", after)
				}
				said, certain := "", false
				for _, u := range list {
					said += u.String() + "\n"
					certain = certain || u.Sure
				}
				named := strings.Contains(said, strings.Split(test.where, "|")[0]) || strings.Contains(test.where, "|") && strings.Contains(said, strings.Split(test.where, "|")[1])
				if (test.want == none) != (said == "") || !named || certain != (test.want == sure) {
					t.Errorf("said %q, want %q and %q", said, test.want, test.where)
				}
				if seen := talk("tcp", "", onPremises); certain == (seen == static.String()) && !strings.HasPrefix(test.name, "its answers") {
					t.Errorf("seen as %s, and certain is %t: %s", seen, certain, said)
				}
			})
		}
	}
}

// A raw table that cannot be read is an error, and not "none".
func TestUntrackedUnreadable(t *testing.T) {
	enter(t, "iptables-legacy", "iptables-nft")
	w := newNetwork(t, autoOptions, "iptables-nft")
	w.node.ensure(t, config(), 2)
	sh(t, "iptables-legacy -w 5 -t raw -A OUTPUT -j NOTRACK")
	path := os.Getenv("PATH")
	dir := t.TempDir() // no subtests: each would run outside the namespace
	for _, name := range []string{"iptables-legacy", "iptables-legacy-restore"} {
		script := "#!/bin/sh\ncase \"$*\" in --version) echo 'iptables v1.8.9 (legacy)';; *) echo broken >&2; exit 3;; esac\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+path)
	if list, err := w.node.Untracked(bounded(t), config(), "eth0"); err == nil || !strings.Contains(err.Error(), "reading table raw with ") {
		t.Errorf("%v, %v", list, err)
	}
	t.Setenv("PATH", path)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if list, err := w.node.Untracked(ctx, config(), "eth0"); err == nil {
		t.Errorf("%v", list)
	}
	if list, err := w.node.Untracked(bounded(t), config(), "eth0"); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}
