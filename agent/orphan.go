package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// This file is about a node whose state file is lost or damaged, or cannot be written.

// doesWithoutState reports whether the run can work without a state file: a release, and a run that
// was given a list. Both find the node's address by EC2, the ledger and the kernel.
func (r *run) doesWithoutState() bool { return r.gives || r.list != "" }

// tellUnsaved warns of a state that is in memory only.
func (r *run) tellUnsaved() {
	if err := r.memory.Unsaved(); err != nil {
		r.report.warn("the state cannot be saved, and is kept until the next boot: " + withRemedies(StateDirError(r.dir, err)))
	}
}

// orphaned returns an error if the kernel carries an address or rules of this program and there is
// still no state file. It returns nil if the kernel cannot be looked at.
func (r *run) orphaned(ctx context.Context) error {
	carries := r.carries(ctx)
	if carries == "" {
		return nil
	}
	// A run may have begun since the state file was looked for. It writes the file first.
	if err := r.memory.Load(""); err != nil || r.memory.Known() {
		return err
	}
	return exit.With(ExitInternal, fmt.Errorf("the state file %s is missing, but the kernel carries %s", filepath.Join(r.dir, state.File), carries),
		"run emr-static-ip again with the list of addresses: it finds the node's address by EC2 and the ledger; or emr-static-ip release")
}

// carries says what the kernel has of this program. It returns "" if there is nothing, or if that
// cannot be found out.
func (r *run) carries(ctx context.Context) string {
	o, err := r.look(ctx)
	if err != nil {
		return ""
	}
	sets := []netcfg.RuleSet{o.Rules, o.Strays[netcfg.IptablesLegacy], o.Strays[netcfg.IptablesNFT], o.Strays[netcfg.Nftables]}
	i := slices.IndexFunc(sets, func(s netcfg.RuleSet) bool { return !s.Empty() })
	if i < 0 {
		return ""
	}
	static, ok := sets[i].Static()
	switch {
	case !ok:
		return "rules of emr-static-ip"
	case len(o.Link.Find(static)) > 0:
		return fmt.Sprintf("the static IP %s and its rules", static)
	}
	return fmt.Sprintf("rules for the static IP %s", static)
}

// look observes the kernel of a node that no state file tells of.
func (r *run) look(ctx context.Context) (netcfg.Observed, error) {
	if r.facts.ID.MAC == nil {
		id, err := ec2.OpenIMDS(r.env).Identity(ctx, r.env, cmp.Or(r.cfg.IMDSTimeout, restoreIMDS))
		if err != nil {
			return netcfg.Observed{}, err
		}
		r.facts.ID = id
	}
	if r.session.Kernel == nil {
		if err := r.openKernel(ctx); err != nil {
			return netcfg.Observed{}, err
		}
	}
	o, err := r.session.Kernel.Observe(ctx, r.facts.ID.MAC)
	return o, node.KernelError(err)
}

// strays are addresses that the rules of this program in the kernel name, and that are not in use
// by the state file: it is lost, or the run that programmed them had another state directory.
type strays struct {
	kept []netip.Addr // EC2 gives them to this node
	gone []netip.Addr // EC2 does not
}

// recallClaims finds the addresses of this node that the state file does not name: those of the
// kernel's rules, and, if the state file is lost and the network interface has more than the
// primary IP, those whose records name this node. It changes nothing.
func (r *run) recallClaims(ctx context.Context) error {
	named, err := r.strayStatics(ctx)
	if err != nil {
		return err
	}
	r.strays = strays{}
	if len(named) > 0 {
		own, err := r.session.EC2.Own(ctx)
		if err != nil {
			return err
		}
		for _, a := range named {
			if slices.Contains(own, a) {
				r.strays.kept = append(r.strays.kept, a)
			} else {
				r.strays.gone = append(r.strays.gone, a)
			}
		}
	}
	r.claims = named
	if r.memory.Known() && !r.memory.State().Lost || len(r.facts.ID.Addresses) < 2 {
		return nil
	}
	claims, err := ssmcoord.NewLedger(r.session.AWS.Config, r.cfg.Prefix, r.facts.ID.SubnetID).Claims(ctx, r.facts.ID.InstanceID)
	r.claims = union(r.claims, without(claims, r.facts.ID.PrimaryIP))
	return err
}

// withdrawStrays takes out of the kernel what EC2 does not give to this node. An address that the
// node uses beside it stays in use: the run that goes on replaces the other's rules.
//
// The state file names the addresses first: EC2's describe calls may be late, and an address of
// this node that nothing names any more would stay on its network interface.
func (r *run) withdrawStrays(ctx context.Context) error {
	gone := r.strays.gone
	if len(gone) == 0 {
		return nil
	}
	if err := r.intend(ctx, r.past().Touched(), netip.Addr{}); err != nil {
		return err
	}
	for _, a := range gone {
		r.report.warn(lostText(a)+", and the kernel has its rules", addressField(a))
	}
	named, err := r.programmedStatic(ctx)
	if err != nil || slices.Contains(named, r.past().Static) {
		return err
	}
	return r.unprogram(ctx, gone)
}

// strayStatics returns what programmedStatic does, without what is in use by the state file, or is
// withdrawn because of it.
func (r *run) strayStatics(ctx context.Context) ([]netip.Addr, error) {
	if unprivileged(r.env) {
		return nil, nil // a plan, which has said that the kernel cannot be read
	}
	named, err := r.programmedStatic(ctx)
	s := r.memory.State()
	known := []netip.Addr{s.Static, s.Before}
	if s.GivenBack() {
		known = s.Touched()
	}
	return slices.DeleteFunc(named, func(a netip.Addr) bool { return slices.Contains(known, a) }), err
}

// programmedStatic returns the static IP that the rules in the kernel name, if there are any.
func (r *run) programmedStatic(ctx context.Context) ([]netip.Addr, error) {
	o, err := r.look(ctx)
	if errors.Is(err, netcfg.ErrNoLink) {
		return nil, nil // others report that
	} else if err != nil {
		return nil, err
	}
	var list []netip.Addr
	for _, set := range []netcfg.RuleSet{o.Rules, o.Strays[netcfg.IptablesLegacy], o.Strays[netcfg.IptablesNFT], o.Strays[netcfg.Nftables]} {
		if static, ok := set.Static(); ok && static != r.facts.ID.PrimaryIP && !slices.Contains(list, static) {
			list = append(list, static)
		}
	}
	return list, nil
}
