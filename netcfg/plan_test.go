package netcfg_test

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

func link(name string, addrs ...string) netcfg.Link {
	l := netcfg.Link{Name: name, Index: 2, MAC: mac, Kind: "device", Promote: true}
	for _, a := range addrs {
		text, secondary := strings.CutSuffix(a, " secondary")
		l.Addrs = append(l.Addrs, netcfg.Address{Prefix: netip.MustParsePrefix(text), Secondary: secondary})
	}
	return l
}

func render(changes []netcfg.Change) string {
	var lines []string
	for _, c := range changes {
		lines = append(lines, c.String())
	}
	return strings.Join(lines, "\n")
}

// parsed makes an observed rule set from the output of iptables -S.
func parsed(t testing.TB, text string) netcfg.RuleSet {
	t.Helper()
	s, err := netcfg.ParseRules(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// complete is what the kernel shows when all is well.
const complete = `-P PREROUTING ACCEPT
-N EMR-STATIC-IP-IN
-N EMR-STATIC-IP-OUT
-A PREROUTING -d 10.0.1.20/32 -m comment --comment emr-static-ip -j EMR-STATIC-IP-IN
-A OUTPUT -d 10.0.1.20/32 -m comment --comment emr-static-ip -j EMR-STATIC-IP-IN
-A POSTROUTING -j EMR-STATIC-IP-OUT
-A EMR-STATIC-IP-IN -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j RETURN
-A EMR-STATIC-IP-IN -d 10.0.1.20/32 -j DNAT --to-destination 10.0.1.5
-A EMR-STATIC-IP-OUT -d 10.0.0.0/16 -j RETURN
-A EMR-STATIC-IP-OUT -d 100.64.0.0/16 -j RETURN
-A EMR-STATIC-IP-OUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j RETURN
-A EMR-STATIC-IP-OUT -d 224.0.0.0/4 -j RETURN
-A EMR-STATIC-IP-OUT -d 169.254.0.0/16 -j RETURN
-A EMR-STATIC-IP-OUT -d 255.255.255.255/32 -j RETURN
-A EMR-STATIC-IP-OUT ! -s 10.0.1.5/32 -m addrtype --src-type LOCAL --limit-iface-out -j RETURN
-A EMR-STATIC-IP-OUT -o eth0 -j SNAT --to-source 10.0.1.20
`

func TestPlan(t *testing.T) {
	restore := func(lines ...string) string {
		return "iptables-legacy-restore --noflush <<'END'\n*nat\n" + strings.Join(append(lines, "COMMIT", "END"), "\n")
	}
	const jumpOut = "-j EMR-STATIC-IP-OUT"
	cases := []struct {
		name      string
		config    func(*netcfg.Config)
		link      netcfg.Link
		rules     string
		strays    map[netcfg.Backend]string
		want      string
		unchanged int
	}{
		{name: "all is well", link: link("eth0", "10.0.1.5/24", "10.0.1.20/32"), rules: complete, unchanged: 6},
		{name: "the address comes first after a reboot", link: link("eth0", "10.0.1.20/24", "10.0.1.5/24 secondary"), rules: complete, unchanged: 6},
		{name: "the address is missing", link: link("eth0", "10.0.1.5/24"), rules: complete, unchanged: 5,
			want: "ip addr add 10.0.1.20/32 dev eth0"},
		{name: "a jump lost its first place", link: link("eth0", "10.0.1.5/24", "10.0.1.20/32"), unchanged: 5,
			rules: "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n" + complete,
			want:  restore("-D POSTROUTING "+jumpOut, "-I POSTROUTING 1 "+jumpOut)},
		{name: "a jump is there twice", link: link("eth0", "10.0.1.5/24", "10.0.1.20/32"), unchanged: 6,
			rules: complete + "-A POSTROUTING " + jumpOut + "\n",
			want:  restore("-D POSTROUTING "+jumpOut, "-D POSTROUTING "+jumpOut, "-I POSTROUTING 1 "+jumpOut)},
		{name: "a chain has one rule too many", link: link("eth0", "10.0.1.5/24", "10.0.1.20/32"), unchanged: 5,
			rules: complete + "-A EMR-STATIC-IP-IN -p tcp -j DNAT --to-destination 10.9.9.9\n",
			want: restore(":EMR-STATIC-IP-IN - [0:0]",
				"-A EMR-STATIC-IP-IN -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j RETURN",
				"-A EMR-STATIC-IP-IN -d 10.0.1.20/32 -j DNAT --to-destination 10.0.1.5")},
		{name: "a former address and its prefix lengths", link: link("eth0", "10.0.1.5/24", "10.0.1.20/32", "10.0.1.21/32", "10.0.1.21/24 secondary"),
			rules: complete, unchanged: 6, config: func(c *netcfg.Config) { c.Former = []netip.Addr{former} },
			want: "ip addr del 10.0.1.21/32 dev eth0\nip addr del 10.0.1.21/24 dev eth0"},
		{name: "deleting would take the primary IP along", config: func(c *netcfg.Config) { c.Former = []netip.Addr{former} },
			link: func() netcfg.Link {
				l := link("eth0.5", "10.0.1.21/24", "10.0.1.5/24 secondary", "10.0.1.20/32")
				l.Promote = false
				return l
			}(), rules: strings.ReplaceAll(complete, "-o eth0", "-o eth0.5"), unchanged: 6,
			want: "sysctl -w net.ipv4.conf.eth0/5.promote_secondaries=1\nip addr del 10.0.1.21/24 dev eth0.5\nsysctl -w net.ipv4.conf.eth0/5.promote_secondaries=0"},
		{name: "rules left in the other variant", link: link("eth0", "10.0.1.5/24", "10.0.1.20/32"), rules: complete, unchanged: 6,
			strays: map[netcfg.Backend]string{netcfg.IptablesNFT: "-N EMR-STATIC-IP-IN\n-A PREROUTING -m comment --comment emr-static-ip -j EMR-STATIC-IP-IN\n", netcfg.Nftables: "-N EMR-STATIC-IP-OUT"},
			want: "iptables-nft-restore --noflush <<'END'\n*nat\n-D PREROUTING -m comment --comment emr-static-ip -j EMR-STATIC-IP-IN\n-F EMR-STATIC-IP-IN\n-X EMR-STATIC-IP-IN\nCOMMIT\nEND\n" +
				"nft -f - <<'END'\nadd table ip emr-static-ip\ndelete table ip emr-static-ip\nEND"},
		{name: "the interface has another name", link: link("ens5", "10.0.1.5/24", "10.0.1.20/32"), rules: complete, unchanged: 5,
			want: restore(":EMR-STATIC-IP-OUT - [0:0]",
				strings.ReplaceAll(complete[strings.Index(complete, "-A EMR-STATIC-IP-OUT"):len(complete)-1], "-o eth0", "-o ens5"))},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			conf := config()
			if c.config != nil {
				c.config(&conf)
			}
			o := netcfg.Observed{Link: c.link, Backend: netcfg.IptablesLegacy, Rules: parsed(t, c.rules), Strays: map[netcfg.Backend]netcfg.RuleSet{}}
			for b, text := range c.strays {
				o.Strays[b] = parsed(t, text)
			}
			changes, unchanged, err := netcfg.Plan(conf, o)
			if got := render(changes); err != nil || got != c.want || unchanged != c.unchanged {
				t.Errorf("error %v, unchanged %d, want %d; plan:\n%s\nwant:\n%s", err, unchanged, c.unchanged, got, c.want)
			}
			slices.Reverse(conf.VPC)
			if again, _, _ := netcfg.Plan(conf, o); render(again) != render(changes) {
				t.Errorf("with the CIDRs in another order:\n%s", render(again))
			}
		})
	}
}

func TestPlanRemoval(t *testing.T) {
	o := netcfg.Observed{Link: link("eth0", "10.0.1.20/24", "10.0.1.5/24"), Backend: netcfg.IptablesLegacy, Rules: parsed(t, complete)}
	changes, _, err := netcfg.PlanRemoval([]netip.Addr{static, former}, o)
	got := render(changes)
	if err != nil || len(changes) != 2 || !strings.Contains(got, "-X EMR-STATIC-IP-OUT\nCOMMIT\nEND\nip addr del 10.0.1.20/24 dev eth0") {
		t.Errorf("error %v; plan:\n%s", err, got)
	}
	if _, _, err := netcfg.PlanRemoval([]netip.Addr{primary}, o); err == nil {
		t.Error("the primary IP would be removed")
	}
	o = netcfg.Observed{Link: link("eth0", "10.0.1.5/24"), Backend: netcfg.Nftables}
	if changes, unchanged, err := netcfg.PlanRemoval([]netip.Addr{static}, o); err != nil || len(changes) != 0 || unchanged != 2 {
		t.Errorf("nothing to remove: error %v, unchanged %d, plan:\n%s", err, unchanged, render(changes))
	}
}

func TestDifferences(t *testing.T) {
	have := parsed(t, "-A POSTROUTING -j MASQUERADE\n"+strings.Replace(complete, "-A EMR-STATIC-IP-OUT -d 10.0.0.0/16 -j RETURN\n", "", 1))
	change := netcfg.SetRules{Backend: netcfg.IptablesLegacy, Have: have, Want: config().Desired("eth0")}
	want := `+ -A EMR-STATIC-IP-OUT -d 10.0.0.0/16 -j RETURN
- -A POSTROUTING -j EMR-STATIC-IP-OUT (place 2)
+ -A POSTROUTING -j EMR-STATIC-IP-OUT`
	if got := strings.Join(change.Differences(), "\n"); got != want {
		t.Errorf("differences:\n%s\nwant:\n%s", got, want)
	}
	if got := change.Summary(); !strings.Contains(got, "2 added, 1 removed") {
		t.Error(got)
	}
}

func TestFindLink(t *testing.T) {
	of := func(name, kind string, bonded bool) netcfg.Link {
		return netcfg.Link{Name: name, Kind: kind, MAC: mac, MasterKind: map[bool]string{true: "team"}[bonded]}
	}
	stranger := netcfg.Link{Name: "eth9", Kind: "device", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}}
	cases := []struct {
		name  string
		links []netcfg.Link
		want  string // the link's name, or a part of the error
	}{
		{"one", []netcfg.Link{stranger, of("ens5", "device", false)}, "ens5"},
		{"what sits on top", []netcfg.Link{of("br0", "bridge", false), of("ens5", "device", false), of("ens5.7", "vlan", false), of("mv", "macvlan", false)}, "ens5"},
		{"a bond", []netcfg.Link{of("eth0", "device", true), of("eth1", "device", true), of("bond0", "bond", false)}, "bond0"},
		{"two", []netcfg.Link{of("eth0", "device", false), of("eth1", "veth", false)}, "eth0, eth1"},
		{"none", []netcfg.Link{stranger, {Name: "lo", Kind: "device"}}, "eth9 (device, 02:00:00:00:00:09)"},
		{"none at all", nil, "02:00:00:00:00:05"},
	}
	for _, c := range cases {
		l, others, err := netcfg.FindLink(c.links, mac)
		if err == nil && (l.Name != c.want || len(others) != len(c.links)-1) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q, %d others, error %v; want %q", c.name, l.Name, len(others), err, c.want)
		}
	}
	if _, _, err := netcfg.FindLink([]netcfg.Link{{Name: "lo", Kind: "device"}}, nil); err == nil {
		t.Error("an empty MAC address finds a link without one")
	}
}

func TestValidate(t *testing.T) {
	messages := golden.Open(t, "validate.txt")
	addr, cidr := netip.MustParseAddr, netip.MustParsePrefix
	if err := config().Validate(); err != nil {
		t.Error(err)
	}
	bad := netcfg.Config{MAC: net.HardwareAddr{1}, Primary: addr("10.0.1.5"), Static: addr("10.0.1.5"), Former: []netip.Addr{addr("10.0.1.5"), addr("::1")},
		VPC: []netip.Prefix{cidr("fd00::/64"), cidr("10.0.0.0/16")}, Only: []netip.Prefix{cidr("10.0.7.0/24"), {}}, Exclude: []netip.Prefix{{}}}
	for name, c := range map[string]netcfg.Config{"everything wrong": bad, "empty but for a scope": {Scope: "some"}} {
		err := c.Validate()
		if err == nil {
			t.Fatalf("%s: accepted", name)
		}
		messages.Is(t, name, err.Error())
	}
	for _, a := range []string{"0.0.0.0", "127.0.0.1", "224.0.0.1", "169.254.1.1", "255.255.255.255", "::ffff:10.0.1.9"} {
		c := config()
		c.Static = addr(a)
		if c.Validate() == nil {
			t.Errorf("static IP %s is accepted", a)
		}
	}
}
