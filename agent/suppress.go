package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
)

// Suppress does what --on-error continue promises: it records the error in the state directory,
// tags the instance with it, and installs the timer that tries again. It returns no error. What it
// cannot do is among the problems.
func Suppress(ctx context.Context, cfg Config, env Environment, f Failed) Suppressed {
	r := newRun(cfg, env)
	failures := r.failures
	var s Suppressed
	problem := func(format string, args ...any) {
		s.Problems = append(s.Problems, text.Clean(fmt.Sprintf(format, args...), text.MaxLine))
	}

	record := LastError{Code: f.Code, Meaning: f.Code.Meaning(), Error: text.Clean(text.Line(env.Redactor.Text(f.Err.Error())), text.MaxLine), Last: time.Now().UTC(), Count: 1}
	record.First, record.List = record.Last, listDigest(cfg.Pools)
	for _, remedy := range f.Remedies {
		record.Remedies = append(record.Remedies, text.Clean(env.Redactor.Text(remedy), text.MaxLine))
	}
	id, imdsErr := ec2.OpenIMDS(env).Identity(ctx, env, onErrorIMDS)
	if imdsErr == nil {
		r.facts.ID, record.InstanceID = id, id.InstanceID
	}
	root := os.Geteuid() == 0 || env.Root != ""
	keeps, set := false, ""
	if !root {
		again := "no retry is scheduled"
		if systemd.RetryPending(env) {
			again = earlierTimer
		}
		problem("not root: the error cannot be recorded on this node, and %s", again)
	} else if unlock, err := lockBriefly(ctx, r.dir, onErrorLock); errors.Is(err, context.DeadlineExceeded) {
		problem("%v: nothing is recorded, since the other run decides what happens to the node", err)
		return s
	} else {
		if err == nil {
			defer unlock()
		}
		if over := failures.overtaken(f); over != "" {
			problem("%s: this failure is not recorded, and not retried", over)
			return s
		}
		record.State = r.memory.State().Written
		r.facts.Plain = cfg.Repeating(r.memory.State().Settings).Pools.Plain()
		if last, found, _ := state.ReadLastError(r.dir); found && last.Count > 0 && (last.InstanceID == "" || record.InstanceID == "" || last.InstanceID == record.InstanceID) {
			set = record.Follow(last, cfg.Retrying || f.Hopeless)
		}
		keeps = err == nil
		if err != nil {
			problem("the error cannot be recorded on this node: %v", err)
		}
	}
	if ctx.Err() != nil {
		return s // a signal, which is obeyed
	}
	s.Retrying = root && failures.keepTrying(ctx, f, &s)
	record.Retrying = s.Retrying

	tag := errorTag(record)
	if imdsErr == nil {
		record.Tag = tag
	}
	record.Tagged = set == tag
	if keeps {
		if err := state.WriteLastError(r.dir, record); err != nil {
			keeps = false
			problem("the error cannot be recorded on this node: %v", err)
		} else {
			s.Done = append(s.Done, "recorded the error: emr-static-ip status shows it")
		}
	}
	switch {
	case record.Tagged:
	case imdsErr != nil:
		problem("the instance cannot be tagged: %v", imdsErr)
	default:
		if err := failures.setTag(ctx, tag); err != nil {
			problem("could not set the tag %s on the instance: %s", tagError, withRemedies(err))
			break
		}
		s.Done = append(s.Done, "set the instance's tag "+tagError)
		if record.Tagged = true; keeps {
			if err := state.WriteLastError(r.dir, record); err != nil {
				problem("%v", err) // the next attempt sets the tag again
			}
		}
	}
	return s
}
