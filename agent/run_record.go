package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// record writes the record of the node's address, and installs what is to act after this run. The
// traffic flows already. Where the node's turn to write is far away, and the timer is there to look
// after it, the run leaves the record to the timer.
func (r *run) record(ctx context.Context, c *ssmcoord.Coordinator, plan ssmcoord.Plan) error {
	installed := false
	if time.Until(r.recordDue) > ssmcoord.RecordSoon && r.wantsUnits() {
		r.install(ctx)
		installed = true
		if systemd.Systemctl(ctx, r.env, "is-active", "--quiet", systemd.Timer) == nil {
			r.warn(fmt.Sprintf("record pending: many nodes start at the same time, and Parameter Store admits few records a second; "+
				"%s writes the record of %s at about %s", systemd.Timer, plan.Addr, r.recordDue.UTC().Format(time.RFC3339)))
			return nil
		}
	}
	changes := len(r.rep.Changes)
	err := c.Record(ctx, plan)
	if isPermission(err) && !plan.Kept {
		return errors.Join(r.explain(ctx, err), r.takeBack(ctx, plan.Addr))
	}
	if err != nil {
		return err
	}
	if len(r.rep.Changes) == changes {
		r.rep.Unchanged++
	}
	r.recordDue = time.Time{}
	if !installed {
		r.install(ctx)
	}
	return nil
}

// takeBack undoes what this run did for an address whose record it may not write: a node whose
// address nobody can see in the ledger would be a trap for the next cluster.
func (r *run) takeBack(ctx context.Context, a netip.Addr) error {
	r.recordDue = time.Time{}
	if err := r.save(PhaseReleasing, a, r.state.Former, r.state.Intents); err != nil {
		return err
	}
	if err := r.unprogram(ctx, []netip.Addr{a}); err != nil {
		return err
	}
	had, err := r.ec2.Unassign(ctx, a)
	if err != nil {
		return err
	}
	if had {
		r.change(fmt.Sprintf("unassigned %s: its record cannot be written", a))
	}
	r.rep.Static = netip.Addr{}
	return r.save(PhaseClaiming, netip.Addr{}, nil, nil)
}

func (r *run) wantsUnits() bool { return !r.cfg.NoUnits && systemd.Running(r.env) }

// writePending writes the record that a run left to the timer, when it is due: it is the only AWS
// call of a restore. It is called without the lock, which it takes for the write, so that a release
// need not wait for it. A failure is a warning: the next restore tries again.
func (r *run) writePending(ctx context.Context) {
	wait := time.Until(r.state.RecordDue)
	if r.state.RecordDue.IsZero() || wait > ssmcoord.RecordSoon {
		return
	}
	err := pause(ctx, max(wait, 0))
	if err == nil {
		err = r.recordNow(ctx)
	}
	if err != nil {
		r.warn("record pending: " + withRemedies(r.explain(ctx, err)) + "; the next restore tries again")
	}
}

func (r *run) recordNow(ctx context.Context) error {
	before := r.state
	soon, cancel := context.WithTimeout(ctx, restoreLock)
	unlock, err := Lock(soon, r.dir)
	cancel()
	if err != nil {
		return err
	}
	defer unlock()
	if err := r.recall(""); err != nil || !r.hasState {
		return err
	}
	s := r.state
	if s.RecordDue.IsZero() || s.Static != before.Static || s.Phase != PhaseProgrammed {
		return nil // another run has been here
	}
	if err := r.connect(ctx); err != nil {
		return err
	}
	ledger := ssmcoord.NewLedger(r.aws.Config, r.cfg.Prefix, s.SubnetID)
	self := ssmcoord.Self{Instance: s.InstanceID, ENI: s.ENI, Cluster: s.ClusterID, Role: string(s.Role)}
	if err := ledger.Record(ctx, s.Static, self); err != nil {
		return err
	}
	r.change(fmt.Sprintf("%s %s: %s names this node", ssmcoord.EventRecorded, s.Static, ledger.Name(s.Static)))
	s.RecordDue, s.Written, s.Tool = time.Time{}, time.Now().UTC(), Version()
	return r.store(s)
}
