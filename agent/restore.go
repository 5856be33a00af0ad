package agent

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// Limits of the waits of a restore, which runs at boot and every minute. No wait may hold up a
// boot.
const (
	restoreLock = 10 * time.Second          // for another run on this node
	restoreIMDS = DefaultRestoreIMDSTimeout // for IMDS, unless --imds-timeout says otherwise
)

// Restore puts back into the kernel what the last run of Apply left there, by the state file. It
// reports as changes what it finds lost. It calls no AWS API but IMDS, and works without IMDS if
// that does not answer. If a run has left the node's record to the timer, Restore also writes the
// record.
//
// While IMDS, answering properly, does not list the static IP, Restore puts nothing back. After
// absentChecks such checks in a row it takes address and rules out of the kernel. The error of that
// restore, and of every later one, has the code ExitWithdrawn, until IMDS lists the address again
// or Apply is run. An IMDS that fails or is late is no evidence.
//
// These are no errors: a node that was never given an address or has released it, a state file of
// another instance, and another run at work.
func Restore(ctx context.Context, cfg Config, env Environment) (Report, error) {
	return conduct(ctx, cfg, env, func(r *run, ctx context.Context) error {
		sure, err := r.restore(ctx)
		if err == nil && sure {
			r.writePending(ctx)
		}
		return err
	})
}

// restore is Restore without the record. sure says that the static IP is this node's: IMDS lists
// it, or a run has ended a moment ago, so that IMDS may not list it yet.
func (r *run) restore(ctx context.Context) (sure bool, err error) {
	// Without a state file there is nothing to lock, and no directory is made.
	if known, err := r.recall(); err != nil {
		return false, err
	} else if !known {
		return false, r.orphaned(ctx)
	}
	r.memory.GoOn()
	defer r.tellUnsaved()
	patient, cancel := context.WithTimeout(ctx, restoreLock)
	defer cancel()
	unlock, err := state.Lock(patient, r.dir)
	if err != nil {
		if ctx.Err() == nil && patient.Err() != nil {
			r.report.leftAlone("another emr-static-ip is running on this node, at most until its --timeout: nothing is put back now; the next restore checks again")
			return recent(r.memory.State()), nil
		}
		return false, err
	}
	defer unlock()
	if known, err := r.recall(); err != nil || !known {
		return false, err
	}
	if note := r.keepPrefix(); note != "" {
		r.report.note(note)
	}
	if last := r.backendOfLast(); last != "" {
		r.report.warn(fmt.Sprintf("--nat-backend %s is for this restore alone: the next one uses that of the last run, %s; emr-static-ip --nat-backend %[1]s changes it", r.cfg.Backend, last))
	}
	if err := r.memory.Retry(); err != nil {
		return false, StateDirError(r.dir, err)
	}
	v := view{answers: true, lists: true}
	if !r.refresh(ctx) {
		if v, err = r.askIMDS(ctx); err != nil || v.foreign != "" {
			r.report.leftAlone(v.foreign)
			return false, err
		}
	}
	err = r.restoreBy(ctx, v)
	return v.lists || recent(r.memory.State()), err
}

// recall reads the state file, and reports what it says of the node. It returns false if there is
// none: the node is then left alone.
func (r *run) recall() (known bool, err error) {
	if err := r.memory.Load(""); err != nil {
		return false, StateError(r.dir, err)
	}
	if !r.memory.Known() {
		r.report.leftAlone(r.notConfigured())
		return false, nil
	}
	s := r.memory.State()
	r.repeat(s)
	r.facts.Cluster, r.facts.Role, r.facts.Link = s.ClusterID, lastRole(s), s.Link
	if r.facts.ID.InstanceID == "" { // IMDS has said nothing yet
		r.facts.ID = node.Remembered(s)
	}
	r.report.identity(r.facts)
	r.report.role(r.facts)
	r.report.static(s.Static)
	return true, nil
}

// notConfigured returns the message that there is no state file.
func (r *run) notConfigured() string {
	return "not configured: no run has given this node a static IP (there is no " + filepath.Join(r.dir, state.File) + ")"
}

// lastRole returns the role that the last run found.
func lastRole(s state.State) emr.Decision {
	if s.Role == "" {
		return emr.Decision{}
	}
	return emr.Decision{Role: s.Role, Source: "the state file"}
}

// askIMDS identifies the node, from IMDS, or from the state file if IMDS does not answer properly.
func (r *run) askIMDS(ctx context.Context) (v view, err error) {
	s := r.memory.State()
	id, err := r.session.OpenIMDS(r.env).Identity(ctx, r.env, cmp.Or(r.cfg.IMDSTimeout, restoreIMDS))
	switch {
	case err == nil && id.InstanceID != s.InstanceID:
		v.foreign = fmt.Sprintf("the state file is from another instance (%s; this is %s), probably through an image: it is ignored",
			text.Quote(s.InstanceID), id.InstanceID)
		return v, nil
	case err == nil && !slices.Contains(id.Addresses, id.PrimaryIP):
		err = fmt.Errorf("IMDS lists the addresses %v, without the primary IP %s", id.Addresses, id.PrimaryIP)
	case err == nil:
		r.facts.ID = id
		return view{answers: true, lists: slices.Contains(id.Addresses, s.Static)}, nil
	}
	if ctx.Err() != nil {
		return v, err
	}
	v.silent = fmt.Errorf("by the state file alone: %w", err)
	r.report.note(v.silent.Error())
	if _, macErr := net.ParseMAC(s.MAC); macErr != nil {
		return v, exit.With(ExitInternal, fmt.Errorf("the state file has no MAC address (%w), and IMDS does not answer: %w", macErr, err), "run this again when IMDS answers")
	}
	if len(s.VPC) == 0 && netcfg.Scope(r.cfg.Scope) != netcfg.ScopeAll {
		return v, exit.With(ExitIdentity, fmt.Errorf("the state file was written by a version that did not keep the VPC's CIDRs, and IMDS does not answer: %w", err),
			"run this again when IMDS answers")
	}
	return v, nil
}

// vpcEvery is how often, in minutes, a restore asks IMDS for the CIDRs of the VPC. An operator may
// add one once in a while.
const vpcEvery = 10

// refresh asks IMDS only what can have changed on a node that is in order by the state file. It
// returns false if the node is not, or if IMDS does not list primary and static IP.
func (r *run) refresh(ctx context.Context) bool {
	s := r.memory.State()
	known := node.Remembered(s)
	if s.Phase != state.Programmed || !s.RecordDue.IsZero() || known.MAC == nil || len(known.VPC) == 0 {
		return false
	}
	id, ok := r.session.OpenIMDS(r.env).Refresh(ctx, known, time.Now().Minute()%vpcEvery == 0)
	if !ok || !slices.Contains(id.Addresses, s.Static) || !slices.Contains(id.Addresses, s.Primary) {
		return false
	}
	r.facts.ID = id
	return true
}

// restoreBy acts on what the state file and IMDS say.
func (r *run) restoreBy(ctx context.Context, v view) error {
	s := r.memory.State()
	switch {
	case s.Phase == state.Released:
		r.report.leftAlone("not configured: the static IP was released")
		return nil
	case s.Phase == state.Releasing:
		return r.finishKernel(ctx)
	case !s.Static.IsValid():
		r.report.leftAlone("not configured: no run has finished yet")
		return nil
	}
	if err := r.kernel.open(ctx); err != nil {
		return err
	}
	if s.Phase == state.Withdrawn && s.Written.After(time.Now()) { // the clock was ahead then, perhaps by years
		if err := r.memory.store(s); err != nil {
			return err
		}
		s = r.memory.State()
	}
	if v.answers && !v.lists && s.Phase != state.Withdrawn {
		return r.unlisted(ctx)
	}
	if v.lists {
		if err := state.ForgetAbsence(r.env.Root, r.dir); err != nil {
			return err
		}
	}
	switch {
	case s.Phase == state.Withdrawn && !v.lists:
		return r.withdraw(ctx, "")
	case s.Phase == state.Withdrawn && time.Since(s.Written) < relistedAfter:
		return r.withdraw(ctx, " (IMDS lists it again, which may be late: that counts from "+s.Written.Add(relistedAfter).UTC().Format(time.RFC3339)+" on)")
	case s.Phase == state.Claiming && !v.lists:
		r.report.leftAlone("the last run was interrupted before EC2 confirmed an address, and IMDS lists none: run emr-static-ip again")
		return nil
	}
	return r.putBack(ctx)
}

// finishKernel takes out of the kernel what an interrupted release has left there: until somebody
// runs the release again, no run would check the address.
func (r *run) finishKernel(ctx context.Context) error {
	if s := r.memory.State(); s.TakingBack {
		r.report.leftAlone(takingBackText(s.Static) + ": run emr-static-ip again")
	} else {
		r.report.leftAlone("a release was started and has not finished: run emr-static-ip release again")
	}
	if err := r.kernel.open(ctx); err != nil {
		return err
	}
	return r.kernel.unprogram(ctx, r.memory.State().Touched())
}

// putBack brings the kernel into the state that the last run left, and updates the state file with
// what IMDS says now.
func (r *run) putBack(ctx context.Context) error {
	s := r.memory.State()
	former := formerOf(s.Former, s.Static, r.facts.ID.PrimaryIP)
	seen, err := r.kernel.awaitLink(ctx, former)
	if err != nil {
		return err
	}
	if err := r.kernel.program(ctx, s.Static, former, r.report.putBack, seen...); err != nil {
		return err
	}
	changed := false
	switch s.Phase {
	case state.Attached: // as the run that was killed would have said
		s.Phase, changed = state.Programmed, true
	case state.Withdrawn:
		s.Phase, changed = state.Programmed, true
		r.report.warn(fmt.Sprintf("IMDS lists %s on this node's network interface again: it is in use again", s.Static), addressField(s.Static))
	}
	if vpc := node.Sorted(r.facts.ID.VPC); !slices.Equal(vpc, node.Sorted(s.VPC)) {
		s.VPC, changed = vpc, true
	}
	if !changed {
		return nil
	}
	return r.memory.store(s)
}

// unlisted handles a check in which IMDS, answering properly, does not list the static IP.
func (r *run) unlisted(ctx context.Context) error {
	s := r.memory.State()
	a, err := state.CountAbsence(r.env.Root, r.dir, s.InstanceID, s.Static, time.Now())
	if err != nil {
		return err
	}
	if a.Count < state.AbsentChecks {
		r.report.warn(fmt.Sprintf("IMDS does not list %s on this node's network interface (check %d of %d): nothing is put back, and the last check withdraws it",
			s.Static, a.Count, state.AbsentChecks), addressField(s.Static))
		return nil
	}
	return r.withdraw(ctx, fmt.Sprintf(": IMDS answered and did not list it in %d checks since %s", a.Count, a.Since.UTC().Format(time.RFC3339)))
}

// withdraw removes the static IP from the kernel. It writes the state file first, so that no later
// restore puts the address back while IMDS is silent.
func (r *run) withdraw(ctx context.Context, evidence string) error {
	s := r.memory.State()
	if s.Phase != state.Withdrawn {
		s.Phase = state.Withdrawn
		if err := r.memory.store(s); err != nil {
			return err
		}
	}
	if err := r.kernel.unprogram(ctx, append([]netip.Addr{s.Static}, s.Former...)); err != nil {
		return err
	}
	if err := state.ForgetAbsence(r.env.Root, r.dir); err != nil {
		return err
	}
	return exit.With(ExitWithdrawn, fmt.Errorf("EC2 no longer assigns %s to this node%s; address and rules were removed from the kernel, so that no two nodes use one address", s.Static, evidence),
		"find out who moved it (CloudTrail: AssignPrivateIpAddresses, UnassignPrivateIpAddresses); run emr-static-ip to get an address of the list again, or emr-static-ip release")
}
