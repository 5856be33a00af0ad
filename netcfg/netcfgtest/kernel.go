// Package netcfgtest has a netcfg.Kernel in memory, for tests and for simulations in virtual time.
//
// Kernel passes the contract suite of the real backends. Its methods also do what neighbours of the
// program do to addresses and rules, and show tests the result. It starts no goroutine and reads no
// clock.
package netcfgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// builtin has the built-in chains of the nat table that can hold jumps.
var builtin = []string{"OUTPUT", "POSTROUTING", "PREROUTING"}

// Kernel holds links with addresses, and one nat table. It is safe for concurrent use.
type Kernel struct {
	mu      sync.Mutex
	backend netcfg.Backend
	links   []netcfg.Link
	chains  []netcfg.Chain    // ours, by name
	table   map[string][]rule // rules of the built-in chains, ours and others', in order
	applied []netcfg.Change
	looks   int // how often Observe was called

	before     []netcfg.NATChain  // chains of others that come first
	translated map[netip.Addr]int // connections that a translation keeps alive, by static IP
	untracked  []netcfg.Untracking
	rawError   error
	routes     map[netip.Addr]netcfg.Route
}

// rule is one rule of a built-in chain. to is the chain of ours that it jumps to, or "" if the rule
// is somebody else's.
type rule struct {
	to, text string
}

// New returns a kernel with these links and their addresses, and with an empty nat table.
func New(links ...netcfg.Link) *Kernel {
	k := &Kernel{backend: netcfg.IptablesLegacy, table: map[string][]rule{}, translated: map[netip.Addr]int{}}
	for _, l := range links {
		l.Addrs = slices.Clone(l.Addrs)
		k.links = append(k.links, l)
	}
	return k
}

// Link returns a link of kind veth for New. Each address has its prefix length.
func Link(name string, index int, mac net.HardwareAddr, addrs ...netip.Prefix) netcfg.Link {
	l := netcfg.Link{Name: name, Index: index, MAC: mac, Kind: "veth", Promote: true}
	for _, p := range addrs {
		l.Addrs = append(l.Addrs, netcfg.Address{Prefix: p})
	}
	return l
}

// Backend returns the name that reports show.
func (k *Kernel) Backend() string { return "in memory" }

// Observe returns the links and the rules, and counts the connections of the addresses in gone.
func (k *Kernel) Observe(ctx context.Context, mac net.HardwareAddr, gone ...netip.Addr) (netcfg.Observed, error) {
	if err := ctx.Err(); err != nil {
		return netcfg.Observed{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.looks++
	links := make([]netcfg.Link, 0, len(k.links))
	for _, l := range k.links {
		l.Addrs = slices.Clone(l.Addrs)
		links = append(links, l)
	}
	link, others, err := netcfg.FindLink(links, mac)
	if err != nil {
		return netcfg.Observed{}, err
	}
	o := netcfg.Observed{Link: link, Others: others, Backend: k.backend, Rules: k.rules(), Before: slices.Clone(k.before),
		Translated: map[netip.Addr]int{}}
	for a, n := range k.translated {
		o.Conntrack.Count += n
		if slices.Contains(gone, a) {
			o.Translated[a] = n
		}
	}
	o.Conntrack.Max = 65536
	return o, nil
}

// Try accepts all rules.
func (k *Kernel) Try(ctx context.Context, _ netcfg.SetRules) error { return ctx.Err() }

// Translation evaluates the rules for a new connection from one of this node's addresses.
func (k *Kernel) Translation(ctx context.Context, c netcfg.Connection) (netcfg.Translation, error) {
	if err := ctx.Err(); err != nil {
		return netcfg.Translation{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	t := netcfg.Translation{Tracked: true, Source: c.Source, Destination: c.Destination}
	if primary, ok := k.rules().Primary(); !ok || c.Source.Addr() != primary || len(k.before) > 0 {
		return t, nil
	}
	if static, ok := k.rules().Static(); ok && k.rules().Translates(c.Destination.Addr()) {
		t.Source = netip.AddrPortFrom(static, c.Source.Port())
	}
	return t, nil
}

func (k *Kernel) rules() (set netcfg.RuleSet) {
	for _, c := range k.chains {
		set.Chains = append(set.Chains, netcfg.Chain{Name: c.Name, Rules: slices.Clone(c.Rules)})
	}
	for _, name := range builtin {
		for i, r := range k.table[name] {
			if r.to != "" {
				set.Jumps = append(set.Jumps, netcfg.Jump{Chain: name, Position: i + 1, To: r.to, Text: r.text})
				if i > 0 {
					if set.First == nil {
						set.First = map[string]string{}
					}
					set.First[name] = k.table[name][0].text
				}
			}
		}
	}
	return set
}

// Apply makes one change, all of it or nothing. It refuses a change of the rules that deletes what
// does not exist, as iptables-restore does.
func (k *Kernel) Apply(ctx context.Context, c netcfg.Change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch c := c.(type) {
	case netcfg.AddAddress:
		l, err := k.link(c.Index)
		if err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		if !slices.ContainsFunc(l.Addrs, func(a netcfg.Address) bool { return a.Prefix == c.Prefix }) {
			l.Addrs = append(l.Addrs, netcfg.Address{Prefix: c.Prefix})
		}
	case netcfg.DeleteAddress:
		l, err := k.link(c.Index)
		if err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		l.Addrs = slices.DeleteFunc(l.Addrs, func(a netcfg.Address) bool { return a.Prefix == c.Prefix })
	case netcfg.ForgetConnections:
		delete(k.translated, c.Addr)
	case netcfg.SetRules:
		if err := k.setRules(c); err != nil {
			return fmt.Errorf("%s: %w", c.Summary(), err)
		}
	default:
		return fmt.Errorf("a change of unknown type %T", c)
	}
	k.applied = append(k.applied, c)
	return nil
}

func (k *Kernel) link(index int) (*netcfg.Link, error) {
	for i := range k.links {
		if k.links[i].Index == index {
			return &k.links[i], nil
		}
	}
	return nil, fmt.Errorf("there is no link %d", index)
}

func (k *Kernel) setRules(c netcfg.SetRules) error {
	if c.Backend != k.backend {
		return fmt.Errorf("backend %s is not this kernel's", c.Backend)
	}
	table := map[string][]rule{}
	for name, rules := range k.table {
		table[name] = slices.Clone(rules)
	}
	remove, insert := c.Have.JumpEdits(c.Want)
	for _, j := range remove {
		i := slices.IndexFunc(table[j.Chain], func(r rule) bool { return r.text == j.Text })
		if i < 0 {
			return fmt.Errorf("deleting from %s: no rule %s", j.Chain, j.Text)
		}
		table[j.Chain] = slices.Delete(table[j.Chain], i, i+1)
	}
	for _, j := range insert {
		at := len(table[j.Chain])
		if j.Position > 0 {
			at = j.Position - 1
		}
		table[j.Chain] = slices.Insert(table[j.Chain], at, rule{j.To, j.Text})
	}
	chains := slices.Clone(c.Want.Chains)
	for name, rules := range table {
		for _, r := range rules {
			if r.to != "" && !slices.ContainsFunc(chains, func(c netcfg.Chain) bool { return c.Name == r.to }) {
				return fmt.Errorf("chain %s is still in use by %s", r.to, name)
			}
		}
	}
	k.table, k.chains = table, chains
	return nil
}

// AddAddress puts an address on a link, as a DHCP hook or ec2-net-utils would.
func (k *Kernel) AddAddress(link string, p netip.Prefix) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.links {
		if k.links[i].Name == link {
			k.links[i].Addrs = append(k.links[i].Addrs, netcfg.Address{Prefix: p})
		}
	}
}

// RemoveAddress removes an address from all links, whatever its prefix length.
func (k *Kernel) RemoveAddress(a netip.Addr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.links {
		k.links[i].Addrs = slices.DeleteFunc(k.links[i].Addrs, func(e netcfg.Address) bool { return e.Prefix.Addr() == a })
	}
}

// InsertRule inserts somebody else's rule at the head of a built-in chain, as Docker does.
func (k *Kernel) InsertRule(chain, text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.table[chain] = slices.Insert(k.table[chain], 0, rule{text: text})
}

// Redirections lists the rules of others that name the address.
func (k *Kernel) Redirections(ctx context.Context, to netip.Addr) (list []string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.table["PREROUTING"] {
		if r.to == "" && strings.Contains(r.text, "-d "+to.String()+"/32") && strings.Contains(r.text, "DNAT") {
			list = append(list, fmt.Sprintf("PREROUTING has %q, which gives packets to %s another destination", r.text, to))
		}
	}
	return list, ctx.Err()
}

// Untracked returns what SetUntracked was given.
func (k *Kernel) Untracked(ctx context.Context, _ netcfg.Config, _ string) ([]netcfg.Untracking, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.untracked), errors.Join(ctx.Err(), k.rawError)
}

// SetUntracked makes rules of somebody else's that keep packets from connection tracking, or an
// error for the attempt to read them.
func (k *Kernel) SetUntracked(err error, rules ...netcfg.Untracking) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.untracked, k.rawError = rules, err
}

// SetBackend makes the rules those of a backend, in reports. New takes iptables-legacy.
func (k *Kernel) SetBackend(b netcfg.Backend) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.backend = b
}

// SetDown switches a link off or on.
func (k *Kernel) SetDown(link string, down bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.links {
		if k.links[i].Name == link {
			k.links[i].Down = down
		}
	}
}

// DeleteJump deletes our jumps from a built-in chain, as flushing that one chain does.
func (k *Kernel) DeleteJump(chain string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.table[chain] = slices.DeleteFunc(k.table[chain], func(r rule) bool { return r.to != "" })
}

// Overtake puts a chain of somebody else's before our rules, as a masquerade made later does.
func (k *Kernel) Overtake(chains ...netcfg.NATChain) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.before = chains
}

// Translate makes this many connections go on with a static IP.
func (k *Kernel) Translate(a netip.Addr, connections int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.translated[a] = connections
}

// FlushNAT empties the nat table, as a restarted firewall service does.
func (k *Kernel) FlushNAT() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.table, k.chains = map[string][]rule{}, nil
}

// Reboot drops all rules, and all addresses except these.
func (k *Kernel) Reboot(keep ...netip.Addr) {
	k.FlushNAT()
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.links {
		k.links[i].Addrs = slices.DeleteFunc(k.links[i].Addrs, func(e netcfg.Address) bool { return !slices.Contains(keep, e.Prefix.Addr()) })
	}
}

// Addresses returns the addresses of a link, oldest first.
func (k *Kernel) Addresses(link string) (list []netip.Prefix) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range k.links {
		if l.Name == link {
			for _, a := range l.Addrs {
				list = append(list, a.Prefix)
			}
		}
	}
	return list
}

// Has reports whether any link has the address.
func (k *Kernel) Has(a netip.Addr) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.ContainsFunc(k.links, func(l netcfg.Link) bool { return len(l.Find(a)) > 0 })
}

// RuleStatic returns the static IP that the rules translate to, if there are rules.
func (k *Kernel) RuleStatic() (netip.Addr, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.rules().Static()
}

// Uses returns the addresses that a link has or a rule names, without the primary ones.
func (k *Kernel) Uses(primary ...netip.Addr) (list []netip.Addr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range k.links {
		for _, a := range l.Addrs {
			list = append(list, a.Prefix.Addr())
		}
	}
	if s, ok := k.rules().Static(); ok {
		list = append(list, s)
	}
	slices.SortFunc(list, netip.Addr.Compare)
	list = slices.Compact(list)
	return slices.DeleteFunc(list, func(a netip.Addr) bool { return slices.Contains(primary, a) })
}

// Rules returns the table as `iptables -t nat -S` prints it, without policies.
func (k *Kernel) Rules() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var b strings.Builder
	for _, c := range k.chains {
		fmt.Fprintf(&b, "-N %s\n", c.Name)
	}
	for _, name := range builtin {
		for _, r := range k.table[name] {
			fmt.Fprintf(&b, "-A %s %s\n", name, r.text)
		}
	}
	for _, c := range k.chains {
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "-A %s %s\n", c.Name, r)
		}
	}
	return b.String()
}

// Applied returns the changes made, oldest first.
func (k *Kernel) Applied() []netcfg.Change {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.applied)
}
