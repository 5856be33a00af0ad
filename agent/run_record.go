package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// record writes the record of the node's address, and installs what is to act after this run. The
// traffic flows already. Where the node's turn to write is far away, and the timer is there to look
// after it, the run leaves the record to the timer.
func (r *run) record(ctx context.Context, c *ssmcoord.Coordinator, plan ssmcoord.Plan) error {
	installed := false
	if time.Until(r.recordDue) > ssmcoord.RecordSoon && r.wantsUnits() && !r.hasOwnWay() {
		r.install(ctx)
		installed = true
		if systemd.Systemctl(ctx, r.env, "is-active", "--quiet", systemd.Timer) == nil {
			// The service waits for the node's turn; the timer goes on where that fails.
			if err := systemd.Systemctl(ctx, r.env, "start", "--no-block", systemd.Service); err != nil {
				r.note(err.Error())
			}
			r.warn(fmt.Sprintf("record pending: many nodes start at the same time, and Parameter Store admits few records a second; "+
				"%s writes the record of %s at about %s", systemd.Timer, plan.Addr, r.recordDue.UTC().Format(time.RFC3339)))
			return nil
		}
	}
	changes := len(r.rep.Changes)
	err := c.Record(ctx, plan)
	if isPermission(err) && !plan.Kept {
		if backErr := r.takeBack(ctx, c, plan.Addr); backErr != nil {
			return errors.Join(r.explain(ctx, err), backErr)
		}
		return errors.Join(r.explain(ctx, err), fmt.Errorf("what the run had done with %s was taken back", plan.Addr))
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
//
// An address that the node had before is not given back yet: it is put into use again.
func (r *run) takeBack(ctx context.Context, c *ssmcoord.Coordinator, a netip.Addr) error {
	r.recordDue = time.Time{}
	others := slices.DeleteFunc(c.Intents(), func(b netip.Addr) bool { return a == b })
	if before := c.Past.Last; before.IsValid() && before != a {
		if err := r.save(PhaseProgrammed, before, []netip.Addr{a}, c.Intents()); err != nil {
			return err
		}
		if err := r.program(ctx, before, []netip.Addr{a}); err != nil {
			return err
		}
		if _, err := r.ec2.Unassign(ctx, a); err != nil {
			return err
		}
		r.rep.Static = before
		r.note(fmt.Sprintf("%s is in use again, as before; %s was given back", before, a))
		return r.save(PhaseProgrammed, before, nil, slices.DeleteFunc(others, func(b netip.Addr) bool { return b == before }))
	}
	if err := r.save(PhaseReleasing, a, r.state.Former, c.Intents()); err != nil {
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
	r.rep.Changes = slices.DeleteFunc(r.rep.Changes, func(text string) bool { return !strings.HasPrefix(text, renamed) })
	return r.save(PhaseClaiming, netip.Addr{}, nil, others)
}

// hasOwnWay reports whether the run reaches AWS by settings of its environment, which the timer's
// unit does not have.
func (r *run) hasOwnWay() bool {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_CONFIG_FILE",
		"AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"} {
		if r.env.Getenv(name) != "" {
			return true
		}
	}
	return false
}

func (r *run) wantsUnits() bool { return !r.cfg.NoUnits && systemd.Running(r.env) }

// writePending writes the record that a run left to the timer, when it is due: it is the only AWS
// call of a restore. It is called without the lock, which it takes for the write, so that a release
// need not wait for it. A failure is a warning: the next restore tries again.
func (r *run) writePending(ctx context.Context) {
	wait := time.Until(r.state.RecordDue)
	if r.state.Written.After(time.Now()) {
		wait = 0 // the clock was ahead when the run said so
	}
	if r.state.RecordDue.IsZero() || wait > recordWait {
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

// recordWait is how long a restore waits for the node's turn: longer than the time between two. The
// unit's time is longer still. recordTry bounds one attempt.
const (
	recordWait = 70 * time.Second
	recordTry  = 5 * time.Second
)

func (r *run) recordNow(ctx context.Context) error {
	before := r.state
	// Briefly: a release may wait for the lock.
	ctx, cancel := context.WithTimeout(ctx, recordTry)
	defer cancel()
	unlock, err := Lock(ctx, r.dir)
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
	ledger := ssmcoord.NewLedger(r.aws.Config, r.cfg.Prefix, s.SubnetID).WithTags(r.cfg.ClaimTags)
	self := ssmcoord.Self{Instance: s.InstanceID, ENI: s.ENI, Cluster: s.ClusterID, Role: string(s.Role)}
	if err := ledger.Record(ctx, s.Static, self); err != nil {
		return err
	}
	r.change(fmt.Sprintf("%s %s: %s names this node", ssmcoord.EventRecorded, s.Static, ledger.Name(s.Static)))
	s.RecordDue, s.Written, s.Tool = time.Time{}, time.Now().UTC(), Version()
	return r.store(s)
}
