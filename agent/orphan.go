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

// recallClaims finds the addresses of this node that the state file does not name. It changes
// nothing.
func (r *run) recallClaims(ctx context.Context) error {
	var programmed []netip.Addr
	if !unprivileged(r.env) { // otherwise a plan, which has said that the kernel cannot be read
		var err error
		if programmed, err = r.programmedStatics(ctx); err != nil {
			return err
		}
	}
	c := r.claimant()
	err := c.FindUnnamed(ctx, programmed)
	r.unnamed = c.Unnamed
	return err
}

// withdrawStrays takes out of the kernel what EC2 does not give to this node. An address that the
// node uses beside it stays in use: the run that goes on replaces the other's rules.
//
// The state file names the addresses first: EC2's describe calls may be late, and an address of
// this node that nothing names any more would stay on its network interface.
func (r *run) withdrawStrays(ctx context.Context) error {
	gone := r.unnamed.Gone
	if len(gone) == 0 {
		return nil
	}
	if err := r.intend(ctx, r.past().Touched(), netip.Addr{}); err != nil {
		return err
	}
	for _, a := range gone {
		r.report.warn(lostText(a)+", and the kernel has its rules", addressField(a))
	}
	named, err := r.programmedStatics(ctx)
	if err != nil || slices.Contains(named, r.past().Static) {
		return err
	}
	return r.unprogram(ctx, gone)
}

// programmedStatics returns the static IPs that the rules in the kernel name.
func (r *run) programmedStatics(ctx context.Context) ([]netip.Addr, error) {
	o, err := r.look(ctx)
	if errors.Is(err, netcfg.ErrNoLink) {
		return nil, nil // others report that
	} else if err != nil {
		return nil, err
	}
	return ProgrammedStatics(o, r.facts.ID.PrimaryIP), nil
}
