package doctor

import (
	"context"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
)

// lastError reports runs that failed under --on-error continue, if none has succeeded since. Their
// exit code was 0, and the node has no static IP. It returns an empty finding if there was no such
// run.
func (d *examination) lastError(ctx context.Context) Finding {
	last, recorded, err := state.ReadLastError(d.dir)
	pending := systemd.RetryPending(d.env)
	switch {
	case err != nil && d.notRoot:
		return unknown("last-error", "", "", "%v", err)
	case err != nil:
		return warning("last-error", "", "remove the file: emr-static-ip writes a new one if it needs one", "%v", err)
	case !recorded && !pending:
		return Finding{}
	}
	next, remedy := "no retry is scheduled", "run emr-static-ip when the cause is repaired"
	if pending {
		next, remedy = systemd.RetryTimer+" keeps retrying: journalctl -u "+systemd.RetryService, "repair the cause; then wait for the timer, or run emr-static-ip"
		if systemd.Systemctl(ctx, d.env, "is-active", "--quiet", systemd.RetryTimer) != nil {
			next, remedy = systemd.RetryTimer+" is installed, but not active", "systemctl start "+systemd.RetryTimer+", or run emr-static-ip when the cause is repaired"
		}
	}
	switch {
	case !recorded:
		return warning("last-error", "", remedy, "a run failed under --on-error continue, and there is no record of it; %s", next)
	case last.Over:
		return warning("last-error", "", "run emr-static-ip again, or remove the tag by hand", "the instance still has the tag %s of an earlier failure, which could not be removed", ec2.ErrorTag)
	case last.Count == 0:
		return warning("last-error", "", remedy, "%s; %s", last.Error, next)
	case d.known && last.InstanceID != "" && last.InstanceID != d.facts.ID.InstanceID:
		return warning("last-error", "", "the next run that succeeds removes it", "the record of a failed run is from another instance (%s), probably through an image; %s", text.Quote(last.InstanceID), next)
	}
	return warning("last-error", "", strings.Join(append(last.Remedies, remedy), "; "), "a run failed under --on-error continue, and none has succeeded since: %s: %s; %s",
		last.Headline(), last.Error, next)
}
