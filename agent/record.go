package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// record writes the record of the node's address, and installs what is to act after this run. The
// traffic flows already. So the run leaves the record to the timer, if there is one, where the
// node's turn to write is far away, and where Parameter Store does not take the record in time.
//
// An unproven address is taken back if its record is denied or a tag of it refused, or if the rules
// cut off the endpoint of Parameter Store, or EC2's, which the Name tag's call and probe show. The
// state file says what is unproven, so that a run which goes on after a kill decides as the killed
// one would have.
func (r *run) record(ctx context.Context, c *ssmcoord.Coordinator, plan ssmcoord.Plan, due time.Time) error {
	doubted := r.memory.State().Doubts(plan.Addr)
	pending := time.Until(due) > ssmcoord.RecordSoon && r.timerWrites()
	if doubted {
		if err := r.probe(ctx, c, plan, pending); err != nil {
			return r.undo(ctx, c, plan, err)
		}
	}
	if pending {
		if err := r.joinName(ctx); err != nil && doubted {
			return r.undo(ctx, c, plan, err)
		}
		r.install(ctx)
		if r.leaveToTimer(ctx) {
			r.report.warn(fmt.Sprintf("record pending: many nodes start at the same time, and Parameter Store admits few records a second; "+
				"%s writes the record of %s at about %s", systemd.Timer, plan.Addr, due.UTC().Format(time.RFC3339)), addressField(plan.Addr))
			return r.save(state.Programmed, (*state.State).Prove)
		}
	}
	writing, stop := r.reserveForTimer(ctx)
	defer stop()
	written, err := c.Record(writing, plan)
	switch {
	case recordRefused(err) && doubted:
		return r.undo(ctx, c, plan, err)
	case err != nil && doubted && r.nameCutOff() != nil:
		return r.undo(ctx, c, plan, r.nameCutOff())
	case err != nil:
		return r.unrecorded(ctx, plan.Addr, err, r.explain(writing, err))
	case !written:
		r.report.unchanged(1)
	}
	if err := r.save(state.Programmed, func(s *state.State) { s.RecordDue = time.Time{} }); err != nil {
		return err
	}
	if err := r.joinName(ctx); err != nil && doubted {
		return r.undo(ctx, c, plan, err)
	}
	r.install(ctx)
	return r.save(state.Programmed, (*state.State).Prove)
}

// recordRefused reports whether no repetition writes the record before somebody acts: a permission
// is missing, a tag is refused, or the rules cut off the endpoint.
func recordRefused(err error) bool {
	tag := (*ssmcoord.TagError)(nil)
	return ec2.IsPermission(err) || ec2.IsCutOff(err) || errors.As(err, &tag)
}

// unrecorded handles a record that could not be written. The state file says when the record is
// due. If Parameter Store throttled the call or was not reached, only the record is missing, and
// the timer writes it. After any other error the timer tries too, but an operator has to act.
func (r *run) unrecorded(ctx context.Context, static netip.Addr, err, explained error) error {
	if ctx.Err() != nil || recordRefused(err) || !r.timerWrites() {
		return explained
	}
	r.install(ctx)
	if !r.leaveToTimer(ctx) {
		return explained
	}
	pending := fmt.Sprintf("record pending: %s is in use without its record, and %s writes it as soon as Parameter Store takes it", static, systemd.Timer)
	switch exit.CodeOf(explained) {
	case exit.Deadline, exit.Unreachable:
		r.report.warn(pending+": "+withRemedies(explained), addressField(static))
		return r.save(state.Programmed, (*state.State).Prove)
	}
	r.report.warn(pending, addressField(static))
	return explained
}

// reserveForTimer returns ctx with an earlier deadline if the timer can write the record. It leaves
// time to leave the record to the timer: a tenth of what is left, 15 s at most.
func (r *run) reserveForTimer(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok || !r.timerWrites() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-min(time.Until(deadline)/10, 15*time.Second)))
}

// timerWrites reports whether the timer can write the node's record.
func (r *run) timerWrites() bool { return r.cfg.wantedParts(r.env).Units && !r.hasOwnWay() }

// leaveToTimer starts the service that writes the record when it is due. It returns false if the
// timer, which goes on if the service fails, is not active.
func (r *run) leaveToTimer(ctx context.Context) bool {
	if systemd.Systemctl(ctx, r.env, "is-active", "--quiet", systemd.Timer) != nil {
		return false
	}
	if err := systemd.Systemctl(ctx, r.env, "start", "--no-block", systemd.Service); err != nil {
		r.report.note(err.Error())
	}
	return true
}

// hasOwnWay reports whether the run reaches AWS by settings of its environment, which the timer's
// unit lacks.
func (r *run) hasOwnWay() bool {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_CONFIG_FILE",
		"AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"} {
		if r.env.Getenv(name) != "" {
			return true
		}
	}
	return false
}

// writePending writes the record that a run left to the timer, when it is due. It makes the only
// AWS call of a restore. It runs without the lock and takes it for the write, so that a release
// need not wait. A failure is a warning: the next restore tries again.
func (r *run) writePending(ctx context.Context) {
	last := r.memory.State()
	wait := last.RecordWait(time.Now())
	if last.RecordDue.IsZero() || wait > recordWait {
		return
	}
	err := pause.Sleep(ctx, max(wait, 0))
	if err == nil {
		err = r.recordNow(ctx)
	}
	if err != nil {
		r.report.warn("record pending: "+withRemedies(r.explain(ctx, err))+"; the next restore tries again", addressField(last.Static))
	}
}

// recordWait is how long a restore waits for the node's turn. It is longer than the time between
// two restores, and shorter than the unit's limit. recordTry limits one attempt.
const (
	recordWait = 70 * time.Second
	recordTry  = 5 * time.Second
)

func (r *run) recordNow(ctx context.Context) error {
	before := r.memory.State()
	// A release may wait for the lock, so the attempt is short.
	ctx, cancel := context.WithTimeout(ctx, recordTry)
	defer cancel()
	unlock, err := state.Lock(ctx, r.dir)
	if err != nil {
		return err
	}
	defer unlock()
	if known, err := r.recall(); err != nil || !known {
		return err
	}
	s := r.memory.State()
	if s.RecordDue.IsZero() || s.Static != before.Static || s.Phase != state.Programmed {
		return nil // another run has been here
	}
	if err := r.connect(ctx); err != nil {
		return err
	}
	ledger := ssmcoord.NewLedger(r.session.AWS.Config, r.cfg.Prefix, s.SubnetID).WithTags(r.cfg.ClaimTags)
	self := ssmcoord.Self{Instance: s.InstanceID, ENI: s.ENI, Cluster: s.ClusterID, Role: string(s.Role)}
	if err := ledger.Record(ctx, s.Static, self); err != nil {
		return err
	}
	r.report.event(ssmcoord.Event{Kind: ssmcoord.EventRecorded, Addr: s.Static, Detail: ledger.Name(s.Static) + " names this node", Change: true})
	s.RecordDue = time.Time{}
	return r.store(s)
}
