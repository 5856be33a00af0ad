package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// memory is what a run knows of earlier runs, and what it leaves for later ones: the state file,
// and the node's addresses that the state file does not name.
type memory struct {
	*state.Memory
	dir     string // the state directory
	cfg     *Config
	facts   *node.Facts
	session *node.Session

	claims []netip.Addr // addresses of this node that the state file does not name
	strays strays       // those of them that the kernel's rules name
}

// strays are addresses that the rules of this program in the kernel name, and that are not in use
// by the state file: it is lost, or the run that programmed them had another state directory.
type strays struct {
	kept []netip.Addr // EC2 gives them to this node
	gone []netip.Addr // EC2 does not
}

// past returns what earlier runs have left, as this one may use it. Without a state file these are
// the addresses whose records name the node, and what the kernel has in use.
func (m *memory) past() state.State {
	s := m.State().Usable()
	s.Intents = union(s.Intents, m.claims)
	if kept := m.strays.kept; len(kept) > 0 && !s.Static.IsValid() && !m.State().GivenBack() {
		s.Static, s.Phase = kept[0], state.Programmed
	}
	return s
}

// save writes the state file: what the run has found, the phase, and what edit changes of the rest.
func (m *memory) save(phase state.Phase, edit func(*state.State)) error {
	s, id := m.past(), m.facts.ID
	s.Phase = phase
	s.InstanceID, s.SubnetID, s.ENI, s.MAC = id.InstanceID, id.SubnetID, id.ENI, id.MAC.String()
	s.ClusterID, s.Role, s.Primary, s.VPC = m.facts.Cluster, m.facts.Role.Role, id.PrimaryIP, node.Sorted(id.VPC)
	s.Gateways, s.GatewaysAt = m.facts.Gateways, m.facts.GatewaysAt
	s.Backend, s.Settings = m.session.Kernel.Backend(), m.cfg.Settings()
	if m.facts.Link != "" {
		s.Link = m.facts.Link
	}
	edit(&s)
	return m.store(s)
}

// store makes s the state file.
func (m *memory) store(s state.State) error {
	if err := m.Save(s); err != nil {
		return StateDirError(m.dir, err)
	}
	return nil
}

// intend stores the addresses that EC2 may have assigned to this node, or is about to be asked for.
//
// One that the node did not have in use, and that EC2 is asked for, is unproven from then on.
func (m *memory) intend(_ context.Context, intents []netip.Addr, asked netip.Addr) error {
	phase, last := state.Claiming, m.past()
	if last.Static.IsValid() && (last.Phase == state.Attached || last.Phase == state.Programmed) {
		phase = last.Phase // that address is in use, whatever becomes of the others
	}
	return m.save(phase, func(s *state.State) {
		s.Intents = intents
		if asked.IsValid() && asked != last.Resumed().Static {
			s.Unproven = union(s.Unproven, []netip.Addr{asked})
		}
	})
}

// unnamed returns those of the kernel's static IPs that are neither in use by the state file nor
// withdrawn because of it.
func (m *memory) unnamed(statics []netip.Addr) []netip.Addr {
	s := m.State()
	known := []netip.Addr{s.Static, s.Before}
	if s.GivenBack() {
		known = s.Touched()
	}
	return slices.DeleteFunc(slices.Clone(statics), func(a netip.Addr) bool { return slices.Contains(known, a) })
}

// recall finds the addresses of this node that the state file does not name: those of the kernel's
// rules, which statics are, and, if the state file is lost and the network interface has more than
// the primary IP, those whose records name this node. It changes nothing on the node.
func (m *memory) recall(ctx context.Context, statics []netip.Addr) error {
	m.claims, m.strays = m.unnamed(statics), strays{}
	if len(m.claims) > 0 {
		own, err := m.session.EC2.Own(ctx)
		if err != nil {
			return err
		}
		for _, a := range m.claims {
			if slices.Contains(own, a) {
				m.strays.kept = append(m.strays.kept, a)
			} else {
				m.strays.gone = append(m.strays.gone, a)
			}
		}
	}
	if m.Known() && !m.State().Lost || len(m.facts.ID.Addresses) < 2 {
		return nil
	}
	claims, err := ssmcoord.NewLedger(m.session.AWS.Config, m.cfg.Prefix, m.facts.ID.SubnetID).Claims(ctx, m.facts.ID.InstanceID)
	m.claims = union(m.claims, without(claims, m.facts.ID.PrimaryIP))
	return err
}

// claimed returns what the claim protocol needs to know of earlier runs. last is what they have
// left.
func (m *memory) claimed(last state.State) ssmcoord.Past {
	past := ssmcoord.Past{Intents: last.Touched(), Used: last.Former, Recorded: true}
	if m.Known() {
		past.Written, past.Last = last.Written, last.Static
		// Of a run that is resumed, the record of either address may be written or deleted.
		past.Recorded = last.Static.IsValid() && last.RecordDue.IsZero() && last.Static == m.State().Static
		past.Used = union(past.Used, []netip.Addr{m.State().Static})
	}
	past.Used = union(past.Used, m.strays.kept)
	if slices.Contains(m.strays.kept, last.Static) { // when it was assigned is not known
		past.Written, past.Last = time.Now(), last.Static
	}
	switch last.Phase {
	case state.Released:
		past.Released = last.Written
	case state.Releasing: // an interrupted release may have deleted a record later than it said so
		past.Released = time.Now()
	}
	return past
}

// prefixChanged reports whether this node has addresses in the ledger of another prefix, and which.
func (m *memory) prefixChanged() (bool, string) {
	last := m.State()
	former := last.Settings.Prefix
	return m.Known() && len(last.Touched()) > 0 && former != "" && former != m.cfg.Prefix, former
}

// checkPrefix refuses a run under another prefix while this node has an address in that ledger.
func (m *memory) checkPrefix() error {
	changed, former := m.prefixChanged()
	if !changed {
		return nil
	}
	return exit.With(ExitUsage, fmt.Errorf("--prefix %s: this node has its address in the ledger %s", text.Quote(m.cfg.Prefix), text.Quote(former)),
		"emr-static-ip release first, then run this again")
}

// recent reports whether the state file was written a moment ago.
func recent(s state.State) bool {
	since := time.Since(s.Written)
	return since >= -time.Second && since < relistedAfter // or else the clock was set meanwhile
}

// ago says how long ago the state file was written.
func ago(s state.State) string { return time.Since(s.Written).Round(time.Second).String() }

// formerOf lists the addresses that a node must not keep beside static. primary is its primary IP.
func formerOf(touched []netip.Addr, static, primary netip.Addr) []netip.Addr {
	return without(without(touched, static), primary)
}

// union lists each address of a and b once, in their order.
func union(a, b []netip.Addr) []netip.Addr {
	list := slices.Clone(a)
	for _, x := range b {
		if !slices.Contains(list, x) {
			list = append(list, x)
		}
	}
	return list
}

// without returns list without a.
func without(list []netip.Addr, a netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(list), func(b netip.Addr) bool { return a == b })
}
