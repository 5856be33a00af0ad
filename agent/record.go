package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// recording writes the record of an address that the kernel has in use, and does what else belongs
// to the end of a run.
type recording struct {
	c         *ssmcoord.Coordinator
	plan      ssmcoord.Plan
	due       time.Time // when it is this node's turn to write
	timer     bool      // the timer can write the record
	memory    *memory
	ec2       *ec2.Node
	naming    *naming
	installed *installed
	report    *reporter
	explain   explainer
	undo      func(ctx context.Context, err error) error // takes the address back
}

// write writes the record of the node's address, and installs what is to act after this run. The
// traffic flows already. So the run leaves the record to the timer, if there is one, where the
// node's turn to write is far away, and where Parameter Store does not take the record in time.
//
// An unproven address is taken back if its record is denied or a tag of it refused, or if the rules
// cut off the endpoint of Parameter Store, or EC2's, which the Name tag's call and probe show. The
// state file says what is unproven, so that a run which goes on after a kill decides as the killed
// one would have.
func (w *recording) write(ctx context.Context) error {
	doubted := w.memory.State().Doubts(w.plan.Addr)
	pending := time.Until(w.due) > ssmcoord.RecordSoon && w.timer
	if doubted {
		if err := w.probe(ctx, pending); err != nil {
			return w.undo(ctx, err)
		}
	}
	if pending {
		if err := w.naming.join(ctx); err != nil && doubted {
			return w.undo(ctx, err)
		}
		w.installed.ensure(ctx)
		if leaveToTimer(ctx, w.installed.Host, w.report) {
			w.report.warn(fmt.Sprintf("record pending: many nodes start at the same time, and Parameter Store admits few records a second; "+
				"%s writes the record of %s at about %s", systemd.Timer, w.plan.Addr, w.due.UTC().Format(time.RFC3339)), addressField(w.plan.Addr))
			return w.memory.save(state.Programmed, (*state.State).Prove)
		}
	}
	writing, stop := reserveForTimer(ctx, w.timer)
	defer stop()
	written, err := w.c.Record(writing, w.plan)
	switch {
	case recordRefused(err) && doubted:
		return w.undo(ctx, err)
	case err != nil && doubted && w.naming.cutOff() != nil:
		return w.undo(ctx, w.naming.cutOff())
	case err != nil:
		return w.failed(ctx, err, w.explain(writing, err))
	case !written:
		w.report.unchanged(1)
	}
	if err := w.memory.save(state.Programmed, func(s *state.State) { s.RecordDue = time.Time{} }); err != nil {
		return err
	}
	if err := w.naming.join(ctx); err != nil && doubted {
		return w.undo(ctx, err)
	}
	w.installed.ensure(ctx)
	return w.memory.save(state.Programmed, (*state.State).Prove)
}

// cutOff makes a call by the rules. The error says that the rules cut the endpoint off, and is
// nothing else: the run can do without the answer.
func cutOff(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, optional(ctx))
	defer cancel()
	if err := call(ctx); ec2.IsCutOff(err) {
		return err
	}
	return nil
}

// probe makes the calls to AWS that the run would make after the address is proven, when there is
// no way back. It calls EC2 if the plan gives other addresses back, and Parameter Store if the
// record is left to the timer. See cutOff for the error.
func (w *recording) probe(ctx context.Context, pending bool) error {
	gives := slices.ContainsFunc(w.plan.Settle, func(s ssmcoord.Step) bool { return s.Op == ssmcoord.OpGiveBack })
	if gives {
		err := cutOff(ctx, func(ctx context.Context) error { _, err := w.ec2.Own(ctx); return err })
		if err != nil {
			return err
		}
	}
	if !pending {
		return nil
	}
	return cutOff(ctx, func(ctx context.Context) error { _, err := w.c.Ledger.ReadOne(ctx, w.plan.Addr); return err })
}

// recordRefused reports whether no repetition writes the record before somebody acts: a permission
// is missing, a tag is refused, or the rules cut off the endpoint.
func recordRefused(err error) bool {
	tag := (*ssmcoord.TagError)(nil)
	return ec2.IsPermission(err) || ec2.IsCutOff(err) || errors.As(err, &tag)
}

// failed handles a record that could not be written. The state file says when the record is
// due. If Parameter Store throttled the call or was not reached, only the record is missing, and
// the timer writes it. After any other error the timer tries too, but an operator has to act.
func (w *recording) failed(ctx context.Context, err, explained error) error {
	if ctx.Err() != nil || recordRefused(err) || !w.timer {
		return explained
	}
	w.installed.ensure(ctx)
	if !leaveToTimer(ctx, w.installed.Host, w.report) {
		return explained
	}
	pending := fmt.Sprintf("record pending: %s is in use without its record, and %s writes it as soon as Parameter Store takes it", w.plan.Addr, systemd.Timer)
	switch exit.CodeOf(explained) {
	case exit.Deadline, exit.Unreachable:
		w.report.warn(pending+": "+withRemedies(explained), addressField(w.plan.Addr))
		return w.memory.save(state.Programmed, (*state.State).Prove)
	}
	w.report.warn(pending, addressField(w.plan.Addr))
	return explained
}

// reserveForTimer returns ctx with an earlier deadline if the timer can write the record. It leaves
// time to leave the record to the timer: a tenth of what is left, 15 s at most.
func reserveForTimer(ctx context.Context, timer bool) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok || !timer {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-min(time.Until(deadline)/10, 15*time.Second)))
}

// timerWrites reports whether the timer can write the node's record.
func timerWrites(cfg Config, env Environment) bool {
	return cfg.wantedParts(env).Units && !hasOwnWay(env)
}

// leaveToTimer starts the service that writes the record when it is due. It returns false if the
// timer, which goes on if the service fails, is not active.
func leaveToTimer(ctx context.Context, env Environment, report *reporter) bool {
	if systemd.Systemctl(ctx, env, "is-active", "--quiet", systemd.Timer) != nil {
		return false
	}
	if err := systemd.Systemctl(ctx, env, "start", "--no-block", systemd.Service); err != nil {
		report.note(err.Error())
	}
	return true
}

// hasOwnWay reports whether the run reaches AWS by settings of its environment, which the timer's
// unit lacks. AWS_ENDPOINT_URL is not among them: it is for emulators, and for the rehearsal's
// nodes, whose timers have it too.
func hasOwnWay(env Environment) bool {
	return slices.ContainsFunc([]string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_CONFIG_FILE",
		"AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ENDPOINT_URL_SSM"}, func(name string) bool { return env.Getenv(name) != "" })
}
