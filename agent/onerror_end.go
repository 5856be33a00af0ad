package agent

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
)

// tellOfRetries says, after a failed run by hand, that the timer of an earlier failure keeps
// retrying. With --on-error continue, Suppress says so.
func (r *run) tellOfRetries(err error) {
	if err != nil && !r.cfg.Retrying && r.cfg.OnError != OnErrorContinue && systemd.RetryPending(r.env) {
		r.report.warn(earlierTimer + ", until that or a run by hand succeeds; emr-static-ip release ends it too")
	}
}

// superseded reports whether a retry has nothing left to do: another run has succeeded since, a
// release was begun or finished, or the retry came with an image of another instance. It then
// removes the units of the retry. The caller holds the lock.
func (r *run) superseded(ctx context.Context) (bool, error) {
	if !systemd.RetryPending(r.env) {
		why := "no retry needed: another run has succeeded, or the address was released"
		if _, found, err := state.ReadLastError(r.dir); found && err == nil { // the run had --no-units
			why = "no retry is scheduled, though the last run failed: run emr-static-ip when the cause is repaired"
		}
		r.report.leftAlone(why)
		return true, nil
	}
	last, found, err := state.ReadLastError(r.dir)
	switch {
	case err != nil || !found:
		return false, nil
	case last.InstanceID != "" && last.InstanceID != r.facts.ID.InstanceID:
		r.report.leftAlone(fmt.Sprintf("the failed run was on another instance (%s; this is %s), probably through an image: it is not repeated here",
			text.Quote(last.InstanceID), r.facts.ID.InstanceID))
	case last.Count > 0 && r.memory.State().Released() && !r.memory.State().Written.Equal(last.State):
		// The times are compared for equality: the clock may have been set since.
		r.report.leftAlone("no retry needed: a release began after the failed run")
	default:
		return false, nil
	}
	return true, r.forgetFailure(ctx)
}

// supersede ends the retries of a failed run if this run was given another list of addresses. This
// run replaces that one, whether it succeeds or not.
func (r *run) supersede(ctx context.Context) {
	if r.cfg.Retrying || r.list == "" || !systemd.RetryPending(r.env) {
		return
	}
	if last, found, err := state.ReadLastError(r.dir); err == nil && found && last.List == r.list {
		return
	}
	if r.stopRetrying(ctx) {
		r.report.warn(systemd.RetryTimer + " was removed: this run's list replaces the one that it retried")
	}
}

// stopRetrying removes the timer that repeats a failed run, and its service. It returns false, with
// a warning, if the timer is still there.
func (r *run) stopRetrying(ctx context.Context) bool {
	if !systemd.RetryPending(r.env) {
		return true
	}
	if err := r.installer().RemoveRetry(ctx); err != nil {
		r.report.warn(fmt.Sprintf("%s is still there and keeps retrying: %v; run again", systemd.RetryTimer, err))
		return false
	}
	return true
}

// forgetFailure removes what a suppressed failure has left: the instance's tag, then the timer, and
// the record last, so that the next run can finish after a kill. It makes no call if nothing was
// left. If the tag cannot be removed, the record stays, as a note for the next run.
func (r *run) forgetFailure(ctx context.Context) error {
	last, found, err := state.ReadLastError(r.dir)
	if err != nil {
		r.report.warn(fmt.Sprintf("%v; remove it by hand", err))
	}
	own := found && (last.InstanceID == "" || last.InstanceID == r.facts.ID.InstanceID)
	tagged := own && last.Tag != "" || found && last.Count == 0 || systemd.RetryPending(r.env) && !found
	if r.session.Connected() && !tagged {
		_, tagged = r.session.EC2.SeenTags[tagError]
	}
	stays := false
	if tagged {
		if err := r.asking(ctx, r.removeErrorTag); err != nil {
			if ctx.Err() != nil {
				return err
			}
			stays = true
			r.report.warn(withRemedies(err))
		} else {
			r.report.change(stepRetry, "removed the instance's tag "+tagError)
		}
	}
	if !r.stopRetrying(ctx) {
		return nil
	}
	switch {
	case stays && last.Over:
		return nil
	case stays:
		note := LastError{InstanceID: r.facts.ID.InstanceID, Over: true, Tag: cmp.Or(last.Tag, "unknown"), First: last.First, Last: last.Last, Count: max(last.Count, 1)}
		if err := state.WriteLastError(r.dir, note); err != nil {
			r.report.warn(err.Error())
		}
		return nil
	case !found:
		return nil
	}
	if err := state.RemoveLastError(r.dir); err != nil {
		return err
	}
	r.report.change(stepRetry, "removed the record of the last error ("+filepath.Join(r.cfg.StateDir, state.LastErrorFile)+")")
	return nil
}

func (r *run) removeErrorTag(ctx context.Context) error { return r.session.EC2.RemoveErrorTag(ctx) }

// reportLastError adds the last error of an earlier run to a status.
func (r *run) reportLastError(s *Status) {
	last, found, err := state.ReadLastError(r.dir)
	switch {
	case err != nil:
		s.Notes = append(s.Notes, err.Error())
		return
	case !found:
		return
	}
	if last.Over {
		s.Notes = append(s.Notes, "the instance still has the tag "+tagError+" of an earlier failure, which could not be removed: run emr-static-ip again, or remove it by hand")
		return
	}
	last.Retrying = systemd.RetryPending(r.env)
	s.LastError = &last
}

// lastErrorLines returns the last error for people.
func lastErrorLines(e LastError) []string {
	if e.Count == 0 {
		return []string{e.Error}
	}
	again := "no retry is scheduled: run emr-static-ip when the cause is repaired"
	if e.Retrying {
		again = systemd.RetryTimer + " keeps retrying: journalctl -u " + systemd.RetryService
	}
	return slices.Concat([]string{e.Headline(), e.Error}, e.Remedies, []string{again})
}
