package agent

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
)

// memory is what a run knows of earlier runs, and what it leaves for later ones: the state file,
// and the node's addresses that the state file does not name.
type memory struct {
	*state.Memory
	dir     string // the state directory
	cfg     *Config
	facts   *node.Facts
	session *node.Session

	unnamed Unnamed // addresses of this node that the state file does not name
}

// claimant returns what this node's coordinator is made of.
func (m *memory) claimant() *Claimant {
	c := &Claimant{Config: *m.cfg, Facts: *m.facts, EC2: m.session.EC2, File: m.State(), Known: m.Known(), Unnamed: m.unnamed}
	if m.session.AWS != nil {
		c.AWS = m.session.AWS.Config
	}
	return c
}

// findUnnamed finds the addresses of this node that the state file does not name. programmed are
// the static IPs that the kernel's rules name. It changes nothing on the node.
func (m *memory) findUnnamed(ctx context.Context, programmed []netip.Addr) error {
	c := m.claimant()
	err := c.FindUnnamed(ctx, programmed)
	m.unnamed = c.Unnamed
	return err
}

// past returns what earlier runs have left, as this one may use it.
func (m *memory) past() state.State { return m.claimant().State() }

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

// For relistedAfter after a withdrawal, restore ignores that IMDS lists the static IP: the listing
// may be stale.
const relistedAfter = 2 * time.Minute

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
