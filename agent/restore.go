package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// Bounds of the waits of a restore, which runs at boot and every minute: none of them is worth holding up a boot for.
const (
	restoreLock = 10 * time.Second          // for another run on this node
	restoreIMDS = DefaultRestoreIMDSTimeout // for IMDS, unless --imds-timeout says otherwise
	restoreLink = 20 * time.Second          // for the primary interface to get its address
)

// relistedAfter is how long after its withdrawal IMDS is not believed that it lists the static IP: it may be that late.
const relistedAfter = 2 * time.Minute

// Restore puts back into the kernel what the last run of Apply left there, by the state file. It
// calls no AWS API but IMDS, and does without that where it does not answer. While a run has left
// the node's record to the timer, Restore also writes that. What it finds lost, it reports as changes.
//
// While IMDS, answering properly, does not list the static IP, nothing is put back; when it has not listed it in absentChecks checks in a row,
// address and rules are taken out, the error has the code ExitWithdrawn, and so has every later one until IMDS lists the address
// again or Apply is run. An IMDS that fails or is late is no evidence of anything.
//
// A node that was never given an address, or that has released it, a state file of another instance, and another run that is at work are no errors.
func Restore(ctx context.Context, cfg Config, env Environment) (Report, error) {
	return conduct(ctx, cfg, env, func(r *run, ctx context.Context) error {
		err := r.restore(ctx)
		// IMDS may list a new address late; a run that has just ended knows better.
		if err == nil && (r.imdsLists || time.Since(r.state.Written) < relistedAfter) {
			r.writePending(ctx)
		}
		return err
	})
}

func (r *run) restore(ctx context.Context) error {
	// Without a state file there is nothing to lock, and no directory is made.
	if err := r.recall(""); err != nil || !r.hasState {
		return err
	}
	patient, cancel := context.WithTimeout(ctx, restoreLock)
	defer cancel()
	unlock, err := Lock(patient, r.dir)
	if err != nil {
		if ctx.Err() == nil && patient.Err() != nil {
			r.rep.LeftAlone = "another emr-static-ip is at work on this node: nothing is looked at or put back while it lasts, which its --timeout bounds; the next restore looks again"
			return nil
		}
		return err
	}
	defer unlock()
	if err := r.recall(""); err != nil || !r.hasState {
		return err
	}
	answers, err := r.askIMDS(ctx)
	if err != nil || r.rep.LeftAlone != "" {
		return err
	}
	return r.restoreBy(ctx, answers)
}

// recall reads the state file; a node without one is left alone.
func (r *run) recall(instanceID string) (err error) {
	r.state, r.hasState, err = LoadState(r.dir, instanceID)
	switch {
	case err != nil:
		return stateError(r.dir, err)
	case !r.hasState:
		r.rep.LeftAlone = "not configured: no run has given this node a static IP (there is no " + filepath.Join(r.dir, stateFile) + ")"
		return nil
	}
	s := r.state
	r.cfg = r.cfg.Repeating(s.Settings)
	r.gateways, r.gatewaysKnown = s.Gateways, s.GatewaysKnown
	r.cluster, r.role = s.ClusterID, RoleDecision{Role: s.Role, Source: "the state file"}
	r.rep.InstanceID, r.rep.ClusterID, r.rep.SubnetID, r.rep.ENI, r.rep.Link = s.InstanceID, s.ClusterID, s.SubnetID, s.ENI, s.Link
	r.rep.Role, r.rep.Primary, r.rep.Static = s.Role, s.Primary, s.Static
	if s.Role != "" {
		r.rep.RoleSource = r.role.Source
	}
	return nil
}

// stateError is what to do about a state file that cannot be used.
func stateError(dir string, err error) error {
	if errors.Is(err, ErrStateVersion) {
		return coded(ExitInternal, err, "a newer emr-static-ip wrote it: run that version, which the file names as its tool. To go back to this version, release the address with "+
			"that one first; or remove "+filepath.Join(dir, stateFile)+" and run this one with the list of addresses: it finds its claim and its attachment again")
	}
	return coded(ExitInternal, err, "look at "+filepath.Join(dir, stateFile)+"; when nothing in it is needed, remove it and run again with the list of addresses")
}

// stateDirError is what to do about a state directory that cannot be written to.
func stateDirError(dir string, err error) error {
	return coded(ExitInternal, err, "make "+dir+" a directory that root alone can write to, on a file system that is not read-only and has room; or keep the state elsewhere with --state-dir")
}

// askIMDS fills r.id: from IMDS where that answers properly (true), from the state file where it does not.
func (r *run) askIMDS(ctx context.Context) (answers bool, err error) {
	id, err := openIMDS(r.env).Identity(ctx, r.env, cmp.Or(r.cfg.IMDSTimeout, restoreIMDS))
	if err == nil && id.InstanceID != r.state.InstanceID {
		r.hasState = false
		r.rep.LeftAlone = fmt.Sprintf("the state file is of another instance (%s; this is %s), as after a start from an image of that one: nothing of it is used",
			quoted(r.state.InstanceID), id.InstanceID)
		return true, nil
	}
	if err == nil && !slices.Contains(id.Addresses, id.PrimaryIP) {
		err = fmt.Errorf("IMDS lists the addresses %v, without the primary IP %s", id.Addresses, id.PrimaryIP)
	}
	if err == nil {
		r.id = id
		return true, nil
	}
	if ctx.Err() != nil {
		return false, err
	}
	r.note(fmt.Sprintf("by the state file alone: %v", err))
	s := r.state
	mac, merr := net.ParseMAC(s.MAC)
	if merr != nil {
		return false, coded(ExitInternal, fmt.Errorf("the state file gives no MAC address (%w), and IMDS does not tell it: %w", merr, err), "run this again when IMDS answers")
	}
	r.id = Identity{InstanceID: s.InstanceID, MAC: mac, ENI: s.ENI, SubnetID: s.SubnetID, VPC: s.VPC, PrimaryIP: s.Primary}
	if len(s.VPC) == 0 && r.cfg.Scope == DefaultScope {
		return false, coded(ExitIdentity, fmt.Errorf("the state file was written by a version that did not keep the VPC's CIDRs, and IMDS does not tell them: %w", err),
			"run this again when IMDS answers")
	}
	return false, nil
}

// restoreBy acts on what the state file and IMDS say.
func (r *run) restoreBy(ctx context.Context, answers bool) error {
	s := r.state
	listed := answers && slices.Contains(r.id.Addresses, s.Static)
	r.imdsLists = listed
	switch s.Phase {
	case PhaseReleased:
		r.rep.LeftAlone = "not configured: the static IP was released"
		return nil
	case PhaseReleasing:
		return r.finishKernel(ctx)
	}
	if !s.Static.IsValid() {
		r.rep.LeftAlone = "not configured: no run has come to its end yet"
		return nil
	}
	if err := r.openKernel(ctx); err != nil {
		return err
	}
	if s.Phase == PhaseWithdrawn && s.Written.After(time.Now()) { // the clock was ahead then, perhaps by years
		s.Written = time.Now().UTC()
		if err := r.store(s); err != nil {
			return err
		}
	}
	if answers && !listed && s.Phase != PhaseWithdrawn {
		return r.unlisted(ctx)
	}
	if listed {
		if err := forgetAbsence(r.dir); err != nil {
			return err
		}
	}
	switch {
	case s.Phase == PhaseWithdrawn && !listed:
		return r.withdraw(ctx, "")
	case s.Phase == PhaseWithdrawn && time.Since(s.Written) < relistedAfter:
		return r.withdraw(ctx, " (IMDS lists it, and may be late: it is believed from "+s.Written.Add(relistedAfter).UTC().Format(time.RFC3339)+" on)")
	case s.Phase == PhaseClaiming && !listed:
		r.rep.LeftAlone = "the last run was interrupted before EC2 confirmed an address, and IMDS does not tell of one: run emr-static-ip again"
		return nil
	}
	return r.putBack(ctx)
}

// finishKernel takes out of the kernel what a release that was interrupted has left there: nothing would watch the address until somebody runs the
// release again.
func (r *run) finishKernel(ctx context.Context) error {
	r.rep.LeftAlone = "a release has begun and not ended: run emr-static-ip release again"
	if err := r.openKernel(ctx); err != nil {
		return err
	}
	return r.unprogram(ctx, r.touched())
}

// putBack makes the kernel what the last run left, and brings the state file in line with what IMDS says now.
func (r *run) putBack(ctx context.Context) error {
	s := r.state
	if err := r.awaitLink(ctx); err != nil {
		return err
	}
	former := slices.DeleteFunc(slices.Clone(s.Former), func(a netip.Addr) bool { return a == s.Static || a == r.id.PrimaryIP })
	res, err := netcfg.Ensure(ctx, r.kernel, r.wanted(s.Static, former), r.lost)
	r.rep.Unchanged += res.Unchanged
	r.rep.Link, r.rep.Backend = res.Link, res.Backend
	r.rep.Notes = append(r.rep.Notes, res.Notes...)
	r.tellOvertaken(res.Before)
	if err != nil {
		return kernelError(err)
	}
	if s.Phase == PhaseAttached {
		s.Phase = PhaseProgrammed // as the run that was killed would have said
	}
	if s.Phase == PhaseWithdrawn {
		s.Phase = PhaseProgrammed
		r.warn(fmt.Sprintf("IMDS lists %s on this node's network interface again: it is in use again", s.Static))
	}
	s.VPC = sorted(r.id.VPC)
	if s.Phase == r.state.Phase && slices.Equal(s.VPC, sorted(r.state.VPC)) {
		return nil
	}
	s.Written, s.Tool = time.Now().UTC(), Version()
	return r.store(s)
}

// awaitLink waits a moment, as at boot, for the primary interface and its address. What is missing then is for others to report.
func (r *run) awaitLink(ctx context.Context) error {
	for began := time.Now(); ; {
		o, err := r.kernel.Observe(ctx, r.id.MAC)
		switch {
		case err != nil && !errors.Is(err, netcfg.ErrNoLink):
			return kernelError(err)
		case err == nil && len(o.Link.Find(r.id.PrimaryIP)) > 0, time.Since(began) >= restoreLink:
			return nil
		}
		if err := pause(ctx, time.Second); err != nil {
			return fmt.Errorf("waiting for %s on the interface %s: %w", r.id.PrimaryIP, r.id.MAC, err)
		}
	}
}

// unlisted is a check in which IMDS, answering properly, does not list the static IP.
func (r *run) unlisted(ctx context.Context) error {
	a, err := countAbsence(r.env.Root, r.dir, r.state.InstanceID, r.state.Static, time.Now())
	if err != nil {
		return err
	}
	if a.Count < absentChecks {
		r.warn(fmt.Sprintf("IMDS does not list %s on this node's network interface (check %d of %d): nothing is put back, and with the last check it is taken out of use",
			r.state.Static, a.Count, absentChecks))
		return nil
	}
	return r.withdraw(ctx, fmt.Sprintf(": IMDS, answering properly, has not listed it in %d checks since %s", a.Count, a.Since.UTC().Format(time.RFC3339)))
}

// withdraw takes the static IP out of use. The state file says so first, so that no later restore puts it back while IMDS is silent.
func (r *run) withdraw(ctx context.Context, evidence string) error {
	s := r.state
	if s.Phase != PhaseWithdrawn {
		s.Phase, s.Written, s.Tool = PhaseWithdrawn, time.Now().UTC(), Version()
		if err := r.store(s); err != nil {
			return err
		}
	}
	if err := r.unprogram(ctx, append([]netip.Addr{s.Static}, s.Former...)); err != nil {
		return err
	}
	if err := forgetAbsence(r.dir); err != nil {
		return err
	}
	return coded(ExitWithdrawn, fmt.Errorf("EC2 does not give %s to this node any more%s; address and rules are out of use, so that no two nodes use one address", s.Static, evidence),
		"find out who moved it (CloudTrail: AssignPrivateIpAddresses, UnassignPrivateIpAddresses); run emr-static-ip to get an address of the list again, or emr-static-ip release")
}

// wanted is the kernel's wanted state.
func (r *run) wanted(static netip.Addr, former []netip.Addr) netcfg.Config {
	return netcfg.Config{
		MAC: r.id.MAC, Primary: r.id.PrimaryIP, Static: static, Former: former, VPC: r.id.VPC,
		Scope: netcfg.Scope(r.cfg.Scope), Only: r.cfg.Only, Exclude: r.excluded(),
	}
}

// lost reports a change that puts back what had been lost, rule by rule.
func (r *run) lost(c netcfg.Change) {
	text := c.Summary()
	if rules, ok := c.(netcfg.SetRules); ok {
		differences := rules.Differences()
		text += "\n" + strings.Join(differences, "\n")
		r.log.Warn("put back: "+c.Summary(), zap.Strings("differences", differences))
	} else {
		r.log.Warn("put back: " + text)
	}
	r.rep.Changes = append(r.rep.Changes, text)
}

func (r *run) warn(text string) {
	r.rep.Warnings = append(r.rep.Warnings, text)
	r.log.Warn(text)
}

func (r *run) note(text string) {
	r.rep.Notes = append(r.rep.Notes, text)
	r.log.Debug(text)
}

// sorted is a list of networks in a fixed order: IMDS promises none.
func sorted(list []netip.Prefix) []netip.Prefix {
	list = slices.Clone(list)
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}
