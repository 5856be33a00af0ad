package netcfg

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// conntrackPriority is where the kernel begins to track a packet (NF_IP_PRI_CONNTRACK). A rule that
// comes later cannot keep a packet from it.
const conntrackPriority = -200

// Untracking is a rule of somebody else's that keeps packets from connection tracking. The kernel
// translates no connection that it does not track.
type Untracking struct {
	Where string // table and chain
	Rule  string // as people find it there
	// Sure says that connections to which the static IP belongs match the rule. Otherwise some may
	// match it: the rule has a condition that says nothing about addresses, such as a port.
	Sure bool
}

// String says what the rule does, for people.
func (u Untracking) String() string {
	if u.Sure {
		return fmt.Sprintf("%s has %s, which keeps traffic of this node from connection tracking: it is not translated", u.Where, u.Rule)
	}
	return fmt.Sprintf("%s has %s, which may keep some connections from connection tracking: those that match it are not translated", u.Where, u.Rule)
}

// Untracked lists the rules that keep from connection tracking what the wanted rules would
// translate on the link. Rules for the loopback interface, for networks that are never translated,
// and for other hosts' packets are not among them.
func (h *host) Untracked(ctx context.Context, want Config, link string) (list []Untracking, err error) {
	list, err = nfUntracked(ctx, want, link)
	if err != nil {
		return nil, err
	}
	type rule struct {
		match
		line, chain string
	}
	var rules []rule
	used := map[string]bool{} // chains that a rule leads to
	err = h.legacyLines(ctx, "raw", func(line string) {
		if m, chain, ok := parseUntracking(line); ok {
			rules = append(rules, rule{m, line, chain})
			used[m.to] = true
		}
	})
	ended := map[string]bool{} // chains with a rule that ends them for some packets
	for _, r := range rules {
		hook, base := map[string]uint32{output: unix.NF_INET_LOCAL_OUT, preRouting: unix.NF_INET_PRE_ROUTING}[r.chain]
		if !r.untracks || !base && !used[r.chain] {
			ended[r.chain] = ended[r.chain] || r.ends
			continue
		}
		r.other = r.other || ended[r.chain]
		if concerned, sure := r.concerns(hook, !base, want, link); concerned {
			list = append(list, Untracking{"table ip raw of iptables-legacy", fmt.Sprintf("%q", clean(r.line)), sure})
		}
	}
	return list, err
}

// match is what a rule asks of a packet before it keeps the packet from connection tracking.
type match struct {
	in, out  linkMatch
	src, dst netip.Prefix // invalid: any
	proto    int          // 0: any
	other    bool         // it has a condition that is not understood, or that says nothing about addresses
	untracks bool
	ends     bool   // it may end the chain for packets that match
	to       string // the chain or target that it leads to
	others   bool   // it is about packets of another protocol than IPv4
}

// linkMatch is a condition on the name of a link: that it begins so, or that it is this one.
type linkMatch struct {
	name        string // empty: any
	prefix, not bool
}

// admits reports whether a link's packets may match.
func (m linkMatch) admits(link string) bool {
	same := link == m.name || m.prefix && strings.HasPrefix(link, m.name)
	return m.name == "" || same != m.not
}

// concerns reports whether the match may be about packets that the wanted rules translate, and
// whether it surely is. anywhere: the hook is not known.
func (m match) concerns(hook uint32, anywhere bool, want Config, link string) (concerned, sure bool) {
	if m.others {
		return false, false
	}
	if anywhere {
		leaving, _ := m.concerns(unix.NF_INET_LOCAL_OUT, false, want, link)
		arriving, _ := m.concerns(unix.NF_INET_PRE_ROUTING, false, want, link)
		return leaving || arriving, false
	}
	sure = !m.other && (m.proto == 0 || m.proto == unix.IPPROTO_TCP)
	if hook == unix.NF_INET_LOCAL_OUT {
		// From the primary IP to a network that sees the static IP.
		return m.out.admits(link) && within(m.src, want.Primary) && want.translates(m.dst), sure
	}
	arrives := m.in.admits(link) && within(m.dst, want.Static) && want.translates(m.src)
	if arrives {
		return true, sure && !m.src.IsValid()
	}
	// From a container behind another link, on its way out.
	forwarded := m.in.name != "" && m.in.name != "lo" && !m.in.admits(link) && want.translates(m.dst)
	return forwarded, false
}

// within reports whether a network, or any if it is invalid, contains the address.
func within(p netip.Prefix, a netip.Addr) bool { return !p.IsValid() || p.Contains(a) }

// never are networks that see the primary IP in every scope.
var never = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/4"), broadcast}

// translates reports whether some addresses of a network, or of any if it is invalid, see the
// static IP.
func (c Config) translates(p netip.Prefix) bool {
	if !p.IsValid() {
		return true
	}
	spared := slices.Concat(never, c.Exclude)
	for _, own := range []netip.Addr{c.Primary, c.Static} {
		spared = append(spared, netip.PrefixFrom(own, own.BitLen()))
	}
	if c.scope() != ScopeAll {
		spared = append(spared, c.VPC...)
	}
	if slices.ContainsFunc(spared, func(s netip.Prefix) bool { return s.Contains(p.Addr()) && s.Bits() <= p.Bits() }) {
		return false
	}
	targets := c.targets()
	return len(targets) == 0 || slices.ContainsFunc(targets, p.Overlaps)
}

// parseUntracking reads a line of `iptables -t raw -S`. It returns false if the line is no rule.
func parseUntracking(line string) (m match, chain string, ok bool) {
	words, err := splitWords(line)
	if err != nil || len(words) < 2 || words[0] != "-A" {
		return match{}, "", false
	}
	not := false
	for i := 2; i < len(words); i++ {
		value := ""
		if i+1 < len(words) {
			value = words[i+1]
		}
		switch words[i] {
		case "!":
			not = true
			continue
		case "-i", "-o":
			l := linkMatch{strings.TrimSuffix(value, "+"), strings.HasSuffix(value, "+"), not}
			if words[i] == "-i" {
				m.in = l
			} else {
				m.out = l
			}
			i++
		case "-s", "-d":
			p, known := parsePrefix(value)
			switch {
			case not || !known:
				m.other = true
			case words[i] == "-s":
				m.src = p
			default:
				m.dst = p
			}
			i++
		case "-p":
			m.proto = map[string]int{"tcp": unix.IPPROTO_TCP, "all": 0}[value]
			m.other = m.other || not || value != "tcp" && value != "all"
			i++
		case "-m":
			m.other = m.other || value != "comment" && value != "tcp"
			i++
		case "--comment":
			i++
		case "-j", "-g":
			m.untracks = value == "NOTRACK" || value == "CT" && slices.Contains(words[i:], "--notrack")
			m.ends, m.to = !m.untracks && !slices.Contains(goingOn, value), value
			return m, words[1], true
		default:
			m.other = true
		}
		not = false
	}
	return m, words[1], true // a rule without target counts packets
}

// goingOn are targets of iptables after which the next rule follows.
var goingOn = []string{"LOG", "NFLOG", "MARK", "CONNMARK", "CT", "TRACE", "TCPMSS", "DSCP", "TOS", "TTL", "SET"}
