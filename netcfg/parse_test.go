package netcfg

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// someRules are rules of every shape that Desired makes.
func someRules() (rules []Rule) {
	addr, cidr := netip.MustParseAddr, netip.MustParsePrefix
	for _, scope := range []Scope{ScopeExternal, ScopePrivate, ScopeAll} {
		c := Config{Primary: addr("10.0.1.5"), Static: addr("10.0.1.20"), Scope: scope, VPC: []netip.Prefix{cidr("10.0.0.0/16"), cidr("100.64.0.0/10")},
			Only: []netip.Prefix{cidr("0.0.0.0/0"), cidr("192.0.2.1/32"), cidr("128.0.0.0/1"), cidr("172.16.0.0/12")}, Exclude: []netip.Prefix{cidr("203.0.113.128/25")}}
		many := c
		many.Only = nil
		for i := range manyRules + 1 {
			many.Only = append(many.Only, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(i), 0}), 24))
			many.Exclude = append(many.Exclude, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(i), 0}), 25))
		}
		for _, s := range []RuleSet{c.Desired("ens5"), many.Desired("ens5").For(IptablesLegacy)} {
			for _, chain := range s.Chains {
				rules = append(rules, chain.Rules...)
			}
		}
	}
	return rules
}

func TestRulesRoundTrip(t *testing.T) {
	for _, r := range someRules() {
		if got := parseRule(r.String()); got != r {
			t.Errorf("%s\nread back as %+v", r, got)
		}
		old := r
		old.Comment = true
		if got := parseRule(old.String()); got != old || old.String() == r.String() {
			t.Errorf("%s\nread back as %+v", old, got)
		}
		if got := decodeExprs(rawExprs(t, encodeExprs(r))); got != r {
			t.Errorf("%s\nread back from nf_tables as %+v", r, got)
		}
	}
}

func rawExprs(t testing.TB, list []expr.Any) (raw []nfExpr) {
	t.Helper()
	names := map[reflect.Type]string{}
	for n, e := range map[string]expr.Any{"payload": &expr.Payload{}, "bitwise": &expr.Bitwise{}, "cmp": &expr.Cmp{}, "meta": &expr.Meta{}, "fib": &expr.Fib{},
		"counter": &expr.Counter{}, "nat": &expr.NAT{}, "immediate": &expr.Immediate{}, "ct": &expr.Ct{}} {
		names[reflect.TypeOf(e)] = n
	}
	names[reflect.TypeOf(&expr.Verdict{})] = "immediate"
	for _, e := range list {
		data, err := expr.MarshalExprData(unix.NFPROTO_IPV4, e)
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, nfExpr{names[reflect.TypeOf(e)], data})
	}
	return raw
}

// A rule that differs from ours in anything is not ours.
func TestUnknownRules(t *testing.T) {
	const tag = " -m comment --comment emr-static-ip"
	for _, text := range []string{
		"", "-m comment --comment other -j RETURN", tag + " -j", tag + " -j ACCEPT", tag + " -j SNAT", tag + " -j RETURN --to-source 10.0.0.1",
		"-s 10.0.1.5/32" + tag + " -j RETURN", "! -d 10.0.0.0/8" + tag + " -j RETURN", "-d 10.0.0.1/8" + tag + " -j RETURN", "-d 10.0.0.0/8 -d 10.0.0.0/8" + tag + " -j RETURN",
		"-d 0.0.0.0/0" + tag + " -j RETURN", "-d fd00::/8" + tag + " -j RETURN", "-o eth+" + tag + " -j SNAT --to-source 10.0.1.20",
		"-o eth0" + tag + " -j SNAT --to-source 10.0.1.20-10.0.1.30", "-o eth0" + tag + " -j SNAT --to-source 10.0.1.20 --random", "-o eth0" + tag + " -j DNAT --to-source 10.0.1.20",
		"-p udp" + tag + " -j RETURN", "-p tcp -m tcp --dport 67" + tag + " -j RETURN", "-p udp -m udp --sport 68 --dport 68" + tag + " -j RETURN",
		"-m addrtype --src-type LOCAL" + tag + " -j RETURN", "-m addrtype ! --dst-type LOCAL" + tag + " -j RETURN", "-m mark --mark 0x1" + tag + " -j RETURN",
		`-m comment --comment "emr-static-ip -j RETURN`, "-d 10.0.0.0/8 -m comment --comment emr-static-ip:TABLE",
		"-p tcp" + tag + " -j RETURN", "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN" + tag + " -j RETURN", "-p udp ! --tcp-flags FIN,SYN,RST,ACK SYN" + tag + " -j RETURN",
		"-g RETURN", "-g SNAT --to-source 10.0.1.20", "-g EMR-STATIC-IP-OUT-1 -j RETURN", "-j RETURN -g EMR-STATIC-IP-OUT-1", "-g EMR-STATIC-IP-OUT-01", "-g EMR-STATIC-IP-OUT-10000",
		"-j EMR-STATIC-IP-OUT-0", "-g EMR-STATIC-IP-OUT-1 --to-source 10.0.1.20", "! -o eth+ -j RETURN", "! -o", "-o ! eth0 -j RETURN", "-g",
		"-p tcp -m tcp ! --tcp-flags SYN,ACK SYN" + tag + " -j RETURN", "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK", "! --tcp-flags FIN,SYN,RST,ACK SYN" + tag + " -j RETURN",
	} {
		if r := parseRule(text); r.Unknown == "" {
			t.Errorf("%q is taken for %+v", text, r)
		}
	}
	base := encodeExprs(someRules()[1])
	for name, list := range map[string][]expr.Any{
		"one more condition": append([]expr.Any{&expr.Ct{Register: 1, Key: expr.CtKeySTATE}}, base...),
		"no counter":         slices.DeleteFunc(slices.Clone(base), func(e expr.Any) bool { _, ok := e.(*expr.Counter); return ok }),
		"twice":              append(slices.Clone(base), base...),
		"nothing":            nil,
		"another register":   {&expr.Counter{}, &expr.Immediate{Register: 2, Data: []byte{1, 2, 3, 4}}, &expr.NAT{Type: expr.NATTypeSourceNAT, Family: 2, RegAddrMin: 2}},
		"ports":              {&expr.Counter{}, &expr.Immediate{Register: 1, Data: []byte{1, 2, 3, 4}}, &expr.NAT{Type: expr.NATTypeSourceNAT, Family: 2, RegAddrMin: 1, RegProtoMin: 1}},
		"persistent":         {&expr.Counter{}, &expr.Immediate{Register: 1, Data: []byte{1, 2, 3, 4}}, &expr.NAT{Type: expr.NATTypeSourceNAT, Family: 2, RegAddrMin: 1, Persistent: true}},
	} {
		if r := decodeExprs(rawExprs(t, list)); r.Unknown == "" {
			t.Errorf("%s: taken for %+v", name, r)
		}
	}
}

func TestParseRulesErrors(t *testing.T) {
	messages := golden.Open(t, "parse.txt")
	for _, text := range []string{
		"-N EMR-STATIC-IP-IN\n-N EMR-STATIC-IP-IN",
		"-A EMR-STATIC-IP-IN -j RETURN",
		"-X EMR-STATIC-IP-IN",
		"-N EMR-STATIC-IP-IN x",
		"-A OUTPUT --comment \"x -j EMR-STATIC-IP-IN",
		"[0:0] -A POSTROUTING -j EMR-STATIC-IP-IN\x1b[31m\r",
	} {
		s, err := ParseRules(text)
		if err == nil {
			t.Fatalf("%q: %+v, no error", text, s)
		}
		messages.Is(t, fmt.Sprintf("%q", text), err.Error())
	}
	// A chain of somebody else's that merely begins like ours, and jumps to it, are passed over.
	s, err := ParseRules("-N EMR-STATIC-IP-OUT-0\n-N EMR-STATIC-IP-OUT-01\n-A EMR-STATIC-IP-OUT-01 -j SNAT\n-A OUTPUT -j EMR-STATIC-IP-OUT-10000\n-N EMR-STATIC-IP-IN-1\n" +
		"-N EMR-STATIC-IP-LOCAL\n-A OUTPUT -j EMR-STATIC-IP-LOCAL\n-A EMR-STATIC-IP-LOCAL -j ACCEPT\n[5:6] -A EMR-STATIC-IP-IN2 -j ACCEPT\n")
	if err != nil || !s.Empty() {
		t.Errorf("chains that begin like ours: %+v, %v", s, err)
	}
	s, err = ParseRules("# a remark\n-P OUTPUT ACCEPT\n-N DOCKER\n-A DOCKER -j \"\n-A OUTPUT -m comment --comment \"-j EMR-STATIC-IP-IN\" -j DOCKER\n")
	if err != nil || !s.Empty() {
		t.Errorf("other people's rules: %+v, %v", s, err)
	}
}

func FuzzParseRules(f *testing.F) {
	f.Add("-P OUTPUT ACCEPT\n-N EMR-STATIC-IP-IN\n-A POSTROUTING -g EMR-STATIC-IP-IN\n-A EMR-STATIC-IP-IN ! -s 10.0.1.5/32 -m comment --comment \"emr-static-ip\" -j RETURN\n")
	f.Add("-A OUTPUT -m comment --comment \"a \\\" b\" -j EMR-STATIC-IP-OUT\n")
	f.Add("-N EMR-STATIC-IP-OUT-7\n-A EMR-STATIC-IP-OUT-7 -d 10.0.0.0/9 -g EMR-STATIC-IP-OUT-12\n-A OUTPUT -j EMR-STATIC-IP-OUT-9999\n-N EMR-STATIC-IP-OUT-012\n")
	for _, r := range someRules() {
		f.Add("-N EMR-STATIC-IP-OUT\n-A EMR-STATIC-IP-OUT " + r.String() + "\n")
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseRules(text)
		if err != nil {
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) || len(err.Error()) > 3*maxLine {
				t.Errorf("error %q", err)
			}
			return
		}
		var again strings.Builder
		for _, c := range s.Chains {
			again.WriteString("-N " + c.Name + "\n")
			for _, r := range c.Rules {
				if r.Unknown == "" && parseRule(r.String()) != r {
					t.Errorf("%+v is written as %q and read back as %+v", r, r, parseRule(r.String()))
				}
			}
		}
		for _, j := range s.Jumps {
			if !ownChain(j.To) || ownChain(j.Chain) || j.Position < 1 {
				t.Errorf("jump %+v", j)
			}
		}
		if s2, err := ParseRules(again.String()); err != nil || len(s2.Chains) != len(s.Chains) {
			t.Errorf("chains %+v read back as %+v, %v", s.Chains, s2.Chains, err)
		}
		want := Config{Primary: netip.MustParseAddr("10.0.1.5"), Static: netip.MustParseAddr("10.0.1.20")}.Desired("eth0")
		for _, w := range []RuleSet{want, {}} {
			change := SetRules{IptablesLegacy, s, w}
			if strings.ContainsFunc(change.String(), func(r rune) bool { return r < ' ' && r != '\n' }) || strings.Contains(change.Summary(), "\n") {
				t.Errorf("not printable: %q", change)
			}
		}
	})
}

// A numbered chain has exactly the name that the program writes.
func FuzzNames(f *testing.F) {
	for _, n := range []string{"", "1", "9999", "0", "01", "10000", "-1", "+1", "1 ", "1-2", "\u0661", "9999999999999999999999"} {
		f.Add(ChainOut + "-" + n)
		f.Add(ChainIn + "-" + n)
		f.Add(n)
	}
	branches := map[string]bool{}
	for n := 1; n <= 9999; n++ {
		branches[fmt.Sprintf("EMR-STATIC-IP-OUT-%d", n)] = true
	}
	f.Fuzz(func(t *testing.T, name string) {
		want := branches[name]
		if got := isBranch(name); got != want {
			t.Errorf("%q: %t", name, got)
		}
		if got, want := ownChain(name), want || name == ChainIn || name == ChainOut || name == "EMR-STATIC-IP-NEW"; got != want {
			t.Errorf("%q is ours: %t", name, got)
		}
	})
}

func FuzzDecodeRule(f *testing.F) {
	for _, r := range someRules() {
		var list []byte
		for _, e := range encodeExprs(r) {
			one, err := expr.Marshal(unix.NFPROTO_IPV4, e)
			if err != nil {
				f.Fatal(err)
			}
			list = append(list, attribute(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, one)...)
		}
		f.Add(attribute(unix.NFTA_RULE_EXPRESSIONS|unix.NLA_F_NESTED, list))
	}
	f.Add(attribute(unix.NFTA_CHAIN_HOOK|unix.NLA_F_NESTED, attribute(unix.NFTA_HOOK_PRIORITY, []byte{0, 0, 0, 1})))
	f.Fuzz(func(t *testing.T, data []byte) {
		ad, err := nfDecoder(data)
		if err != nil {
			return
		}
		if r, _, err := decodeRule(ad); err == nil {
			jumpOf(r.exprs)
			for _, e := range r.exprs {
				e.changesSource()
			}
			if rule := decodeExprs(r.exprs); rule.Unknown == "" && !equalExprs(encodeExprs(rule), seenExprs(t, r.exprs)) {
				t.Errorf("taken for %+v", rule)
			}
		}
		if ad, err = nfDecoder(data); err == nil {
			decodeChain(ad)
		}
	})
}

func seenExprs(t *testing.T, raw []nfExpr) (list []expr.Any) {
	for _, x := range raw {
		e, ok := decodeExpr(x)
		if !ok {
			t.Errorf("expression %q passed", x.name)
		}
		list = append(list, e)
	}
	return list
}

func attribute(kind uint16, data []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
