package agent

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// The steps of a run, as its log names them in the field "step".
const (
	stepIdentify = "identify"
	stepClaim    = "claim" // what the claim protocol does; the field "event" says more
	stepKernel   = "kernel"
	stepName     = "name"
	stepInstall  = "install"
	stepRetry    = "retry" // what --on-error continue has left
	stepVerify   = "verify"
)

// reporter writes the report of a run, and logs what it writes. No decision of the run depends on
// the report.
type reporter struct {
	rep   Report
	steps []string // of each change
	log   *zap.Logger
}

// addressField is the field of a log line about an address.
func addressField(a netip.Addr) zap.Field { return zap.Stringer("address", a) }

// identity reports who the node is.
func (p *reporter) identity(f node.Facts) {
	if p.rep.InstanceID == "" && f.ID.InstanceID != "" {
		p.log = p.log.With(zap.String("instance", f.ID.InstanceID))
	}
	p.rep.InstanceID, p.rep.SubnetID, p.rep.ENI, p.rep.Primary = f.ID.InstanceID, f.ID.SubnetID, f.ID.ENI, f.ID.PrimaryIP
	p.rep.ClusterID, p.rep.Link = f.Cluster, f.Link
}

// role reports the node's role.
func (p *reporter) role(f node.Facts) {
	p.rep.Role, p.rep.RoleSource = f.Role.Role, f.Role.Source
	for _, w := range f.Role.Warnings {
		p.warn(w)
	}
}

// kernel reports what works on the node's kernel, and the interface once it is known.
func (p *reporter) kernel(backend, link string) {
	p.rep.Backend, p.rep.Link = backend, link
}

// left stores the time in the state file that the run leaves.
func (p *reporter) left(m *state.Memory) {
	if m.Known() {
		p.rep.StateWritten = m.State().Written
	}
}

// dryRun marks the changes as not made.
func (p *reporter) dryRun() { p.rep.DryRun = true }

// static reports the node's static IP. The zero Addr means that it has none.
func (p *reporter) static(a netip.Addr) { p.rep.Static = a }

// leftAlone reports why nothing was to be done on this node.
func (p *reporter) leftAlone(why string) { p.rep.LeftAlone = why }

// change reports a change that was made.
func (p *reporter) change(step, text string, fields ...zap.Field) {
	p.would(step, text)
	p.log.Info(text, append(fields, zap.String("step", step))...)
}

// would reports a change that a dry run does not make.
func (p *reporter) would(step, text string) {
	p.rep.Changes, p.steps = append(p.rep.Changes, text), append(p.steps, step)
}

// takenBack removes the changes that were undone. The name of the instance is not.
func (p *reporter) takenBack() {
	var changes, steps []string
	for i, step := range p.steps {
		if step == stepName {
			changes, steps = append(changes, p.rep.Changes[i]), append(steps, step)
		}
	}
	p.rep.Changes, p.steps = changes, steps
}

// unchanged counts objects that were as wanted.
func (p *reporter) unchanged(n int) { p.rep.Unchanged += n }

// note reports what the operator may want to know. It reports the same text once.
func (p *reporter) note(text string) {
	if slices.Contains(p.rep.Notes, text) {
		return
	}
	p.rep.Notes = append(p.rep.Notes, text)
	p.log.Debug(text)
}

// warn reports what needs the operator's attention. It reports the same text once.
func (p *reporter) warn(text string, fields ...zap.Field) {
	if slices.Contains(p.rep.Warnings, text) {
		return
	}
	p.rep.Warnings = append(p.rep.Warnings, text)
	p.log.Warn(text, fields...)
}

// retract removes a warning that is no longer true.
func (p *reporter) retract(text string) {
	p.rep.Warnings = slices.DeleteFunc(p.rep.Warnings, func(w string) bool { return w == text })
}

// event reports one line of the claim protocol.
func (p *reporter) event(e ssmcoord.Event) {
	line := e.Line(text.Clean(e.Detail, text.MaxLine))
	fields := []zap.Field{zap.String("event", string(e.Kind))}
	if e.Addr.IsValid() {
		fields = append(fields, addressField(e.Addr))
	}
	if e.Change {
		p.change(stepClaim, line, fields...)
		return
	}
	p.log.Info(line, append(fields, zap.String("step", stepClaim))...)
}

// changed reports a change to the kernel.
func (p *reporter) changed(c netcfg.Change) {
	p.change(stepKernel, c.Summary())
	p.log.Debug("the change as a command", zap.String("command", c.String()), zap.String("step", stepKernel))
}

// putBack reports a change to the kernel that puts back what was lost, rule by rule.
func (p *reporter) putBack(c netcfg.Change) {
	var found []string
	if rules, ok := c.(netcfg.SetRules); ok {
		for _, f := range netcfg.Shorten(rules.Have.Findings(rules.Want)) {
			found = append(found, f.Line())
		}
	}
	p.log.Warn("put back: "+strings.Join(append([]string{c.Summary()}, found...), "; "), zap.String("step", stepKernel))
	p.would(stepKernel, strings.Join(append([]string{c.Summary()}, found...), "\n"))
}

// programmed reports what netcfg did, and chains of others that come before the rules.
func (p *reporter) programmed(res netcfg.Result) {
	p.unchanged(res.Unchanged)
	p.kernel(res.Backend, res.Link)
	for _, note := range res.Notes {
		p.note(note)
	}
	for _, c := range res.Before {
		p.warn(c.String() + " changes the source of packets and comes, or may come, before the rules: the other side may not see the static IP; --nat-backend nftables comes first")
	}
}

// end returns the report of a run that began at the given time.
func (p *reporter) end(began time.Time, aws *ec2.Session) Report {
	p.rep.Duration = time.Since(began)
	if aws != nil {
		p.rep.Calls, p.rep.Throttled = aws.Tally.Snapshot()
	}
	return p.rep
}
