package netcfg

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// maxLine bounds a line of foreign text that is kept or shown.
const maxLine = 512

// ruleParser reads the output of `iptables -t nat -S`, line by line, so that only what is ours is
// kept of a large table. Of other people's chains only jumps to ours matter, and whether a rule
// changes the source of packets. A rule of ours that the tool would never write becomes an Unknown
// one. A line that names one of our chains and cannot be understood is an error: it must not read
// as absent.
type ruleParser struct {
	set   RuleSet
	place map[string]int    // of the last rule, by chain
	first map[string]string // the first rule, by chain
}

func newRuleParser() *ruleParser {
	return &ruleParser{place: map[string]int{}, first: map[string]string{}}
}

func (p *ruleParser) line(line string) error {
	line = strings.TrimRight(line, "\r\n")
	kind, rest, _ := strings.Cut(line, " ")
	chain, args, _ := strings.Cut(rest, " ")
	switch {
	case kind == "-N" && ownChain(chain) && args == "":
		if _, ok := p.set.chain(chain); ok {
			return fmt.Errorf("parsing iptables rules: chain %s is there twice", chain)
		}
		p.set.Chains = append(p.set.Chains, Chain{Name: chain})
	case kind == "-A" && ownChain(chain):
		i := slices.IndexFunc(p.set.Chains, func(c Chain) bool { return c.Name == chain })
		if i < 0 {
			return fmt.Errorf("parsing iptables rules: a rule comes before its chain: %s", clean(line))
		}
		p.set.Chains[i].Rules = append(p.set.Chains[i].Rules, parseRule(args))
	case kind == "-A":
		if p.place[chain]++; p.place[chain] == 1 {
			p.first[chain] = args
		}
		p.set.masks = p.set.masks || changesSource(args)
		to, err := jumpTarget(args)
		if err != nil {
			return fmt.Errorf("parsing iptables rules: %w in %s", err, clean(line))
		}
		if to != "" {
			p.set.Jumps = append(p.set.Jumps, Jump{chain, p.place[chain], to, args})
			if p.place[chain] > 1 {
				if p.set.First == nil {
					p.set.First = map[string]string{}
				}
				p.set.First[chain] = p.first[chain]
			}
		}
	case (kind == "-N" || kind == "-P") && !ownChain(chain), strings.HasPrefix(line, "#"), line == "":
	case slices.ContainsFunc(strings.FieldsFunc(line, notInName), ownChain):
		return fmt.Errorf("parsing iptables rules: not understood: %s", clean(line))
	}
	return nil
}

// notInName reports whether the character cannot be part of the name of one of our chains.
func notInName(r rune) bool {
	return r != '-' && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9')
}

// changesSource reports whether a rule of somebody else's gives packets another source.
func changesSource(args string) bool {
	if !slices.ContainsFunc(sourceTargets, func(t string) bool { return strings.Contains(args, t) }) {
		return false // without taking 100,000 rules apart
	}
	to, err := target(args)
	return err == nil && slices.Contains(sourceTargets, to)
}

// sourceTargets are the targets of iptables that change the source in POSTROUTING.
var sourceTargets = []string{"MASQUERADE", "SNAT", "NETMAP"}

// sort brings chains and jumps into an order that does not depend on the lister.
func (s *RuleSet) sort() {
	slices.SortStableFunc(s.Chains, func(a, b Chain) int { // 2 comes before 10
		return cmp.Or(cmp.Compare(len(a.Name), len(b.Name)), strings.Compare(a.Name, b.Name))
	})
	slices.SortStableFunc(s.Jumps, func(a, b Jump) int { return strings.Compare(a.Chain, b.Chain) })
	slices.Sort(s.Extra)
}

// jumpTarget returns the chain of ours that a rule of somebody else's chain sends packets to, or
// "".
func jumpTarget(args string) (string, error) {
	if !strings.Contains(args, ownPrefix) {
		return "", nil
	}
	to, err := target(args)
	if err != nil || !ownChain(to) {
		return "", err
	}
	return to, nil
}

// target returns the target of a rule, or "".
func target(args string) (string, error) {
	words, err := splitWords(args)
	if err != nil {
		return "", err
	}
	for i := 0; i+1 < len(words); i++ {
		switch words[i] {
		case "--comment":
			i++ // its text may look like anything
		case "-j", "-g":
			return words[i+1], nil
		}
	}
	return "", nil
}

// parseRule reads one rule's arguments; options may come in any order, each at most once.
func parseRule(args string) Rule {
	unknown := Rule{Unknown: clean(args)}
	if unknown.Unknown == "" {
		unknown.Unknown = "(no condition, no target)"
	}
	words, err := splitWords(args)
	if err != nil {
		return unknown
	}
	var r Rule
	var protocol string
	var sport, dport, limit, src bool
	seen := map[string]bool{}
	for len(words) > 0 {
		option := words[0]
		words = words[1:]
		if option == "!" {
			if len(words) == 0 || words[0] != "-s" && words[0] != "-o" && words[0] != "--tcp-flags" {
				return unknown
			}
			option, words = "! "+words[0], words[1:]
		}
		value := ""
		if option != "--limit-iface-out" {
			if len(words) == 0 {
				return unknown
			}
			value, words = words[0], words[1:]
		}
		if option == "-m" { // an extension is known by its options
			if !slices.Contains([]string{"comment", "addrtype", "tcp", "udp"}, value) {
				return unknown
			}
			continue
		}
		if seen[option] {
			return unknown
		}
		seen[option] = true
		ok := true
		switch option {
		case "! -s":
			r.NotSource, ok = parsePrefix(value)
		case "-d":
			r.Destination, ok = parsePrefix(value)
		case "-o":
			r.Out = value
			ok = plainLink(value)
		case "! -o":
			r.NotOut = value
			ok = plainLink(value)
		case "-p":
			protocol = value
		case "! --tcp-flags":
			ok = value == flagsMask && len(words) > 0 && words[0] == flagsSYN
			words = words[min(1, len(words)):]
			r.MidStream = true
		case "--sport":
			sport = true
			ok = value == "68"
		case "--dport":
			dport = true
			ok = value == "67"
		case "--src-type":
			src = true
			ok = value == "LOCAL"
		case "--limit-iface-out":
			limit = true
		case "--comment":
			r.Comment, ok = true, value == Tag
		case "-j":
			r.Action = Action(value)
			ok = !r.Goto && (slices.Contains([]Action{Return, DNAT, SNAT}, r.Action) || ownChain(value))
		case "-g":
			ok = r.Action == "" && ownChain(value)
			r.Action, r.Goto = Action(value), true
		case "--to-destination", "--to-source":
			r.To, err = netip.ParseAddr(value)
			ok = err == nil && r.To.Is4()
		default:
			ok = false
		}
		if !ok {
			return unknown
		}
	}
	r.DHCPRenewal, r.SourceHere = sport && dport, src
	expected := ""
	switch {
	case r.MidStream && r.DHCPRenewal:
		return unknown
	case r.MidStream:
		expected = "tcp"
	case r.DHCPRenewal:
		expected = "udp"
	}
	targeted := (r.Action == Return || ownChain(string(r.Action))) && !seen["--to-source"] && !seen["--to-destination"] ||
		r.Action == SNAT && seen["--to-source"] && !seen["--to-destination"] ||
		r.Action == DNAT && seen["--to-destination"] && !seen["--to-source"]
	if sport != dport || protocol != expected || !targeted || src != limit {
		return unknown
	}
	return r
}

// plainLink reports whether the text is one link's name, and written as iptables prints it.
func plainLink(name string) bool {
	return name != "" && !strings.ContainsAny(name, "+ \"\\'") // + is a wildcard
}

func parsePrefix(s string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return p, false
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	return p, p.Addr().Is4() && p == p.Masked() && p.Bits() > 0
}

// splitWords splits a rule's arguments at spaces, with the quoting that iptables-save and
// iptables-restore share: double quotes, and a backslash before a quote or a backslash.
func splitWords(s string) (words []string, err error) {
	var word strings.Builder
	inWord, quoted, escaped := false, false, false
	for _, c := range []byte(s) {
		switch {
		case escaped:
			word.WriteByte(c)
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted, inWord = !quoted, true
		case c == ' ' && !quoted:
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quoted || escaped {
		return nil, fmt.Errorf("a quote is not closed")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// clean makes foreign text fit for one line of an error or a log: bounded, without control
// characters.
func clean(s string) string {
	if len(s) > maxLine {
		s = s[:maxLine] + "..."
	}
	return strings.ReplaceAll(printable(s), "\n", "?")
}

// printable replaces control characters and whatever is not ASCII, except for the ends of lines.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if (r < ' ' || r >= 0x7f) && r != '\n' {
			return '?'
		}
		return r
	}, s)
}
