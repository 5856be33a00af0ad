package agent

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
)

// tell says, after a failed run by hand, that the timer of an earlier failure keeps
// retrying. With --on-error continue, Suppress says so.
func (e *failures) tell(err error) {
	if err != nil && !e.cfg.Retrying && e.cfg.OnError != OnErrorContinue && systemd.RetryPending(e.env) {
		e.report.warn(earlierTimer + ", until that or a run by hand succeeds; emr-static-ip release ends it too")
	}
}

// superseded reports whether a retry has nothing left to do: another run has succeeded since, a
// release was begun or finished, or the retry came with an image of another instance. It then
// removes the units of the retry. The caller holds the lock.
func (e *failures) superseded(ctx context.Context) (bool, error) {
	if !systemd.RetryPending(e.env) {
		why := "no retry needed: another run has succeeded, or the address was released"
		if _, found, err := state.ReadLastError(e.dir); found && err == nil { // the run had --no-units
			why = "no retry is scheduled, though the last run failed: run emr-static-ip when the cause is repaired"
		}
		e.report.leftAlone(why)
		return true, nil
	}
	last, found, err := state.ReadLastError(e.dir)
	switch {
	case err != nil || !found:
		return false, nil
	case last.InstanceID != "" && last.InstanceID != e.facts.ID.InstanceID:
		e.report.leftAlone(fmt.Sprintf("the failed run was on another instance (%s; this is %s), probably through an image: it is not repeated here",
			text.Quote(last.InstanceID), e.facts.ID.InstanceID))
	case last.Count > 0 && e.memory.State().Released() && !e.memory.State().Written.Equal(last.State):
		// The times are compared for equality: the clock may have been set since.
		e.report.leftAlone("no retry needed: a release began after the failed run")
	default:
		return false, nil
	}
	return true, e.forget(ctx)
}

// supersede ends the retries of a failed run if this run was given another list of addresses. This
// run replaces that one, whether it succeeds or not.
func (e *failures) supersede(ctx context.Context) {
	if e.cfg.Retrying || e.list == "" || !systemd.RetryPending(e.env) {
		return
	}
	if last, found, err := state.ReadLastError(e.dir); err == nil && found && last.List == e.list {
		return
	}
	if e.stopRetrying(ctx) {
		e.report.warn(systemd.RetryTimer + " was removed: this run's list replaces the one that it retried")
	}
}

// stopRetrying removes the timer that repeats a failed run, and its service. It returns false, with
// a warning, if the timer is still there.
func (e *failures) stopRetrying(ctx context.Context) bool {
	if !systemd.RetryPending(e.env) {
		return true
	}
	if err := e.installed.RemoveRetry(ctx); err != nil {
		e.report.warn(fmt.Sprintf("%s is still there and keeps retrying: %v; run again", systemd.RetryTimer, err))
		return false
	}
	return true
}

// forget removes what a suppressed failure has left: the instance's tag, then the timer, and
// the record last, so that the next run can finish after a kill. It makes no call if nothing was
// left. If the tag cannot be removed, the record stays, as a note for the next run.
func (e *failures) forget(ctx context.Context) error {
	last, found, err := state.ReadLastError(e.dir)
	if err != nil {
		e.report.warn(fmt.Sprintf("%v; remove it by hand", err))
	}
	own := found && (last.InstanceID == "" || last.InstanceID == e.facts.ID.InstanceID)
	tagged := own && last.Tag != "" || found && last.Count == 0 || systemd.RetryPending(e.env) && !found
	if e.session.Connected() && !tagged {
		_, tagged = e.session.EC2.SeenTags[tagError]
	}
	stays := false
	if tagged {
		if err := e.asking(ctx, func(ctx context.Context) error { return e.session.EC2.RemoveErrorTag(ctx) }); err != nil {
			if ctx.Err() != nil {
				return err
			}
			stays = true
			e.report.warn(withRemedies(err))
		} else {
			e.report.change(stepRetry, "removed the instance's tag "+tagError)
		}
	}
	if !e.stopRetrying(ctx) {
		return nil
	}
	switch {
	case stays && last.Over:
		return nil
	case stays:
		note := LastError{InstanceID: e.facts.ID.InstanceID, Over: true, Tag: cmp.Or(last.Tag, "unknown"), First: last.First, Last: last.Last, Count: max(last.Count, 1)}
		if err := state.WriteLastError(e.dir, note); err != nil {
			e.report.warn(err.Error())
		}
		return nil
	case !found:
		return nil
	}
	if err := state.RemoveLastError(e.dir); err != nil {
		return err
	}
	e.report.change(stepRetry, "removed the record of the last error ("+filepath.Join(e.cfg.StateDir, state.LastErrorFile)+")")
	return nil
}
