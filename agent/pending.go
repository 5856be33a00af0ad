package agent

import (
	"context"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

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
	return r.memory.store(s)
}
