package netcfg_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// packet is the first packet of a flow that conntrack sees, on its way out.
type packet struct {
	source, destination netip.Addr
	out                 string
	midStream, dhcp     bool
	sourceHere          bool // the source is an address of the link out
}

// matches reports whether iptables would take the rule for the packet.
func (p packet) matches(r netcfg.Rule) bool {
	return (!r.NotSource.IsValid() || !r.NotSource.Contains(p.source)) &&
		(!r.Destination.IsValid() || r.Destination.Contains(p.destination)) &&
		(r.Out == "" || r.Out == p.out) && (r.NotOut == "" || r.NotOut != p.out) &&
		(!r.MidStream || p.midStream) && (!r.DHCPRenewal || p.dhcp) && (!r.SourceHere || p.sourceHere)
}

// evaluate does what iptables does with a packet in POSTROUTING. It returns the new source, if any,
// and how many rules of ours the packet met. A packet without a new source goes on in POSTROUTING,
// where rules of others follow.
func evaluate(t testing.TB, s netcfg.RuleSet, p packet) (source netip.Addr, met int) {
	t.Helper()
	type place struct {
		chain string
		next  int
	}
	rules := func(name string) []netcfg.Rule {
		i := slices.IndexFunc(s.Chains, func(c netcfg.Chain) bool { return c.Name == name })
		if i < 0 {
			t.Fatalf("there is no chain %s", name)
		}
		return s.Chains[i].Rules
	}
	stack := []place{{netcfg.ChainOut, 0}} // POSTROUTING jumped
	for len(stack) > 0 {
		if met > 5000 {
			t.Fatalf("a loop: %+v", stack)
		}
		top := &stack[len(stack)-1]
		list := rules(top.chain)
		if top.next == len(list) {
			stack = stack[:len(stack)-1]
			continue
		}
		r := list[top.next]
		top.next++
		met++
		switch {
		case r.Unknown != "":
			t.Fatalf("an unknown rule: %s", r)
		case !p.matches(r):
		case r.Action == netcfg.Return:
			stack = stack[:len(stack)-1]
		case r.Action == netcfg.SNAT:
			return r.To, met
		case r.Goto:
			*top = place{string(r.Action), 0}
		default:
			stack = append(stack, place{string(r.Action), 0})
		}
	}
	return netip.Addr{}, met
}

// meant is what the settings mean for the packet, without any rule.
func meant(c netcfg.Config, p packet) bool {
	within := func(list ...netip.Prefix) bool {
		return slices.ContainsFunc(list, func(n netip.Prefix) bool { return n.Masked().Contains(p.destination) })
	}
	never := []netip.Prefix{netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("255.255.255.255/32")}
	switch {
	case c.Scope != netcfg.ScopeAll && within(c.VPC...), within(never...), within(c.Exclude...), p.midStream, p.out != "eth0":
		return false
	case c.Scope == netcfg.ScopeAll && p.dhcp, p.source != c.Primary && p.sourceHere:
		return false
	case c.Scope == netcfg.ScopePrivate && !within(netcfg.PrivateNetworks()...):
		return false
	}
	return len(c.Only) == 0 || within(c.Only...)
}

// randomNetworks returns networks of many sizes. Some are inside others, many are close together.
func randomNetworks(r *rand.Rand, n int) (list []netip.Prefix) {
	bases := []uint32{0x0a000000, 0xac100000, 0xc0a80000, 0x64400000, 0xe0000000, 0xa9fe0000, 0xffffff00, r.Uint32(), r.Uint32()}
	smallest := 8 + r.IntN(25)
	for range n {
		a := bases[r.IntN(len(bases))]
		a ^= r.Uint32() >> (4 + r.IntN(26))
		bits := smallest + r.IntN(33-smallest)
		if r.IntN(200) == 0 {
			bits = r.IntN(33)
		}
		list = append(list, netip.PrefixFrom(address(a), bits).Masked())
	}
	return list
}

func address(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

func bytes4(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// randomConfig returns a valid configuration, with some lists long.
func randomConfig(r *rand.Rand) netcfg.Config {
	c := config()
	c.Scope = []netcfg.Scope{"", netcfg.ScopeExternal, netcfg.ScopePrivate, netcfg.ScopeAll}[r.IntN(4)]
	size := func() int { return []int{0, 0, 1, 5, 9, 20, 60, 300}[r.IntN(8)] }
	c.VPC = append(c.VPC, randomNetworks(r, size()/4)...)
	for _, p := range randomNetworks(r, size()) {
		one := c
		if one.Only = []netip.Prefix{p}; one.Validate() == nil {
			c.Only = append(c.Only, p)
		}
	}
	c.Exclude = randomNetworks(r, size())
	if r.IntN(4) == 0 && len(c.Only) > 0 { // exceptions inside the targets
		for _, p := range c.Only[:len(c.Only)/2] {
			if p.Bits() < 32 {
				c.Exclude = append(c.Exclude, netip.PrefixFrom(p.Addr(), p.Bits()+1))
			}
		}
	}
	return c
}

// destinations returns the addresses in which a mistake would show: the first and the last of each
// network, those beside them, and any.
func destinations(r *rand.Rand, c netcfg.Config, n int) (list []netip.Addr) {
	for _, s := range []string{"169.254.169.254", "224.0.0.251", "239.255.255.255", "240.0.0.1", "255.255.255.255", "255.255.255.254", "10.0.3.10", "0.0.0.0"} {
		list = append(list, netip.MustParseAddr(s))
	}
	all := slices.Concat(c.VPC, c.Only, c.Exclude)
	for range n {
		p := all[r.IntN(len(all))]
		first := bytes4(p.Masked().Addr())
		last := first | uint32(uint64(1)<<(32-p.Bits())-1)
		for _, a := range []uint32{first, last, first - 1, last + 1, first + r.Uint32()&(last-first), r.Uint32()} {
			list = append(list, address(a))
		}
	}
	return list
}

// halves returns networks around an address: half of a large one, half of what is left, and so on.
// Their tree is as deep as one can be.
func halves(around uint32) (list []netip.Prefix) {
	for bits := 12; bits <= 32; bits++ {
		list = append(list, netip.PrefixFrom(address(around^1<<(32-bits)), bits).Masked())
	}
	return list
}

// In every form the rules do with every packet what the settings say. So an exception that was left
// out changed nothing, and neither does the tree.
func TestRulesDoWhatTheSettingsSay(t *testing.T) {
	t.Parallel()
	rounds := 150
	if testing.Short() {
		rounds = 40
	}
	for seed := range rounds {
		r := rand.New(rand.NewPCG(1, uint64(seed)))
		c := randomConfig(r)
		flat := c.Desired("eth0")
		tree := flat.For(netcfg.IptablesNFT)
		for _, to := range destinations(r, c, 60) {
			sources := []packet{
				{source: primary, sourceHere: true, out: "eth0"}, {source: netip.MustParseAddr("172.17.0.2"), out: "eth0"},
				{source: netip.MustParseAddr("10.0.1.77"), sourceHere: true, out: "eth0"}, {source: primary, out: "eth1"},
				{source: primary, sourceHere: true, out: "eth0", midStream: true}, {source: primary, sourceHere: true, out: "eth0", dhcp: true},
			}
			for _, p := range sources {
				p.destination = to
				want := meant(c, p)
				for form, s := range map[string]netcfg.RuleSet{"flat": flat, "tree": tree} {
					if got, _ := evaluate(t, s, p); got.IsValid() != want || want && got != static {
						t.Fatalf("seed %d, %s: %+v leaves as %v, want %t\n%+v", seed, form, p, got, want, c)
					}
				}
			}
			if got, want := tree.Translates(to), meant(c, packet{source: primary, destination: to, sourceHere: true, out: "eth0"}); got != want || c.Translates(to) != want {
				t.Fatalf("seed %d: %s: %t, want %t", seed, to, got, want)
			}
		}
	}
}

// The tree has bounds: a packet meets few rules, no more chains follow each other than the kernel
// admits, and no name is there twice.
func TestTreeIsBounded(t *testing.T) {
	for seed := range 300 {
		r := rand.New(rand.NewPCG(2, uint64(seed)))
		c := randomConfig(r)
		if seed%10 == 0 {
			c.Only, c.Exclude, c.VPC = append(halves(r.Uint32()), randomNetworks(r, 300)...), append(halves(r.Uint32()), randomNetworks(r, 300)...), append(halves(r.Uint32()), randomNetworks(r, 300)...)
		}
		s := c.Desired("eth0").For(netcfg.IptablesLegacy)
		chains := map[string][]netcfg.Rule{}
		for _, chain := range s.Chains {
			if _, twice := chains[chain.Name]; twice {
				t.Fatalf("seed %d: %s is there twice", seed, chain.Name)
			}
			chains[chain.Name] = chain.Rules
		}
		from := levels(s)
		if n := from[netcfg.ChainOut]; n > 15 {
			t.Errorf("seed %d: %d chains follow each other", seed, n)
		}
		if len(from) != len(chains)-1 { // all but that on the way in
			t.Errorf("seed %d: %d chains, %d of them are gone to", seed, len(chains), len(from))
		}
		again, err := netcfg.ParseRules(text(s))
		if lines, _ := again.Differences(s); err != nil || len(lines) > 0 {
			t.Errorf("seed %d: read back with differences %v, %v", seed, lines, err)
		}
	}
	for seed := range 30 {
		networks := []int{20, 400, 998}[seed%3]
		r := rand.New(rand.NewPCG(3, uint64(seed)))
		one, both := config(), config()
		one.Only = randomNetworks(r, networks)
		both.Only = randomNetworks(r, networks/2)
		both.Exclude = slices.Concat(both.Only[:networks/4], randomNetworks(r, networks/4))
		for lists, c := range []netcfg.Config{one, both} {
			s := c.Desired("eth0").For(netcfg.IptablesNFT)
			most := 0
			for _, to := range destinations(r, c, 200) {
				_, met := evaluate(t, s, packet{source: primary, destination: to, sourceHere: true, out: "eth0"})
				most = max(most, met)
			}
			if bound := 70 * (lists + 1); most > bound {
				t.Errorf("seed %d: with %d networks in %d lists a packet meets up to %d rules, want at most %d", seed, networks, lists+1, most, bound)
			}
			t.Logf("with %d networks in %d lists: %d chains, up to %d rules", networks, lists+1, len(s.Chains), most)
		}
	}
}

// levels returns how many chains follow each other from each chain on that EMR-STATIC-IP-OUT leads
// to, itself included.
func levels(s netcfg.RuleSet) map[string]int {
	known := map[string]int{}
	var from func(name string) int
	from = func(name string) (deepest int) {
		if n, ok := known[name]; ok {
			return n
		}
		for _, c := range s.Chains {
			for _, r := range c.Rules {
				if c.Name == name && r.Goto {
					deepest = max(deepest, from(string(r.Action)))
				}
			}
		}
		known[name] = deepest + 1
		return deepest + 1
	}
	from(netcfg.ChainOut)
	return known
}

// text returns the rules as `iptables -t nat -S` prints them.
func text(s netcfg.RuleSet) string {
	var b strings.Builder
	for _, c := range s.Chains {
		fmt.Fprintf(&b, "-N %s\n", c.Name)
	}
	for _, j := range s.Jumps {
		fmt.Fprintf(&b, "-A %s %s\n", j.Chain, j.Text)
	}
	for _, c := range s.Chains {
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "-A %s %s\n", c.Name, r)
		}
	}
	return b.String()
}
