package netcfg

import (
	"fmt"
	"net/netip"
	"strings"
)

// Change is one step from the observed to the wanted state. A dry run prints the value that Apply
// carries out.
type Change interface {
	fmt.Stringer     // the equivalent commands, as an operator could type them; may have several lines
	Summary() string // one line
}

// AddAddress puts an address on a link. An address that is there already is no error.
type AddAddress struct {
	Link   string
	Index  int
	Prefix netip.Prefix
}

func (a AddAddress) String() string { return fmt.Sprintf("ip addr add %s dev %s", a.Prefix, a.Link) }

// Summary returns the command.
func (a AddAddress) Summary() string { return a.String() }

// DeleteAddress takes an address from a link. An address that is not there is no error.
type DeleteAddress struct {
	Link   string
	Index  int
	Prefix netip.Prefix
	// Promote switches promote_secondaries on for the deletion. Otherwise the kernel, deleting the
	// first address of a subnet, deletes all other addresses of that subnet too. One of them may be
	// the primary IP.
	Promote bool
	Peer    netip.Prefix // of a point-to-point address: the kernel wants it named
}

func (d DeleteAddress) String() string {
	if !d.Promote {
		return d.Summary()
	}
	key := fmt.Sprintf("sysctl -w net.ipv4.conf.%s.promote_secondaries", strings.ReplaceAll(d.Link, ".", "/"))
	return key + "=1\n" + d.Summary() + "\n" + key + "=0"
}

// Summary returns the command.
func (d DeleteAddress) Summary() string {
	return fmt.Sprintf("ip addr del %s dev %s", Address{Prefix: d.Prefix, Peer: d.Peer}, d.Link)
}

// ForgetConnections ends the translation of connections to or from an address that the node gives
// up.
type ForgetConnections struct {
	Addr  netip.Addr
	Count int // as observed
}

func (f ForgetConnections) String() string {
	return fmt.Sprintf("conntrack -D --src-nat %s\nconntrack -D --dst-nat --orig-dst %[1]s", f.Addr)
}

// Summary says how many connections there are.
func (f ForgetConnections) Summary() string {
	if f.Count == 1 {
		return fmt.Sprintf("end the translation of a connection that uses %s", f.Addr)
	}
	return fmt.Sprintf("end the translation of %d connections that use %s", f.Count, f.Addr)
}

// SetRules makes one backend's rules equal to Want, in one atomic transaction. An empty Want
// removes all.
//
// Where conntrack was off, a first transaction turns it on without translating anything, and the
// rules take effect a moment later: see settle.
type SetRules struct {
	Backend Backend
	Have    RuleSet // as observed
	Want    RuleSet
}

// Differences lists what is added and removed.
func (s SetRules) Differences() []string {
	lines, _ := s.Have.Differences(s.Want)
	return lines
}

// Summary says how many rules, chains and jumps are added and removed.
func (s SetRules) Summary() string {
	var plus, minus int
	for _, l := range s.Differences() {
		if strings.HasPrefix(l, "+") {
			plus++
		} else {
			minus++
		}
	}
	verb := "set"
	switch {
	case s.Want.Empty():
		verb = "remove"
	case !s.Have.Empty():
		verb = "repair"
	}
	return fmt.Sprintf("%s the %s rules in one transaction: %d added, %d removed", verb, s.Backend, plus, minus)
}

// String returns the transaction in the words of iptables-restore or nft.
func (s SetRules) String() string {
	if s.Backend == Nftables {
		return "nft -f - <<'END'\n" + renderNft(s.Want) + "END"
	}
	return string(s.Backend) + "-restore --noflush <<'END'\n" + printable(renderRestore(s.Have, s.Want)) + "END"
}
