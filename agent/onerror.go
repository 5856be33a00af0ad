package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"go.uber.org/zap"
)

// The values of --on-error.
const (
	OnErrorFail     = "fail"     // the exit code says what failed: EMR ends a node whose bootstrap action fails
	OnErrorContinue = "continue" // the node is kept; log, tag and status are loud, and a timer goes on trying
)

// tagError is the tag of an instance whose static IP is missing because of a failure that --on-error continue suppressed.
const tagError = "emr-static-ip:error"

// maxTag is how many characters EC2 allows in a tag's value.
const maxTag = 256

// Bounds of what is done after a failed run: each part of it is tried, whatever becomes of the others.
const (
	onErrorLock = 10 * time.Second // for another run on this node
	onErrorIMDS = 5 * time.Second  // for IMDS, which may be what failed
	onErrorTag  = 30 * time.Second // for EC2, which may be what failed
)

// Failed is a run whose failure is to be suppressed.
type Failed struct {
	Code     ExitCode
	Err      error
	Remedies []string
	Args     []string // what a later run is to be started with, after the command retry
	// Hopeless: the command line itself is wrong, and will not become right. A list of addresses that this node or its cluster contradicts is not
	// hopeless: EMR's files may be complete later, and an interface may get room.
	Hopeless bool
}

// Suppressed is what was done about it, for the log.
type Suppressed struct {
	Done     []string
	Problems []string
	Retrying bool // a timer goes on trying
}

// Suppress does what --on-error continue promises: it records the error in the state directory, tags the instance with it, and installs the
// timer that tries again. It never fails: what it cannot do is among the problems.
func Suppress(ctx context.Context, cfg Config, env Environment, f Failed) Suppressed {
	r := &run{cfg: cfg, env: env, log: env.Log, dir: env.Path(cfg.StateDir), began: time.Now()}
	if r.log == nil {
		r.log = zap.NewNop()
	}
	var s Suppressed
	problem := func(format string, args ...any) {
		s.Problems = append(s.Problems, clean(fmt.Sprintf(format, args...), maxLine))
	}

	record := LastError{Code: f.Code, Meaning: f.Code.Meaning(), Error: clean(env.veil.text(f.Err.Error()), maxLine), Last: time.Now().UTC(), Count: 1}
	record.First = record.Last
	for _, remedy := range f.Remedies {
		record.Remedies = append(record.Remedies, clean(env.veil.text(remedy), maxLine))
	}
	id, imdsErr := openIMDS(env).Identity(ctx, env, onErrorIMDS)
	if imdsErr == nil {
		r.id, record.InstanceID = id, id.InstanceID
	}
	root := os.Geteuid() == 0 || env.Root != ""
	keeps := false
	if !root {
		problem("not root: the error cannot be recorded on this node, and nothing tries again by itself")
	} else if unlock, err := lockBriefly(ctx, r.dir, onErrorLock); errors.Is(err, context.DeadlineExceeded) {
		problem("%v: nothing is recorded, and that run decides what becomes of the node", err)
		return s
	} else {
		if err == nil {
			defer unlock()
		}
		if last, found, _ := readLastError(r.dir); found && last.Count > 0 && (last.InstanceID == "" || record.InstanceID == "" || last.InstanceID == record.InstanceID) {
			record.First, record.Count, record.Tag = last.First, last.Count+1, last.Tag
			if record.InstanceID == "" {
				record.InstanceID = last.InstanceID
			}
		}
		keeps = err == nil
		if err != nil {
			problem("the error cannot be recorded on this node: %v", err)
		}
	}
	if ctx.Err() != nil {
		return s // a signal, which is obeyed
	}
	s.Retrying = root && r.keepTrying(ctx, f, &s)
	record.Retrying = s.Retrying

	tag := errorTag(record)
	tagged := record.Tag == tag // EC2 has it, or was asked for it and did not answer
	if imdsErr == nil {
		record.Tag = tag
	}
	if keeps {
		if err := writeLastError(r.dir, record); err != nil {
			problem("the error cannot be recorded on this node: %v", err)
		} else {
			s.Done = append(s.Done, "recorded the error: emr-static-ip status shows it")
		}
	}
	switch {
	case tagged && record.Count > 1:
	case imdsErr != nil:
		problem("the instance cannot be tagged: %v", imdsErr)
	default:
		if err := r.setErrorTag(ctx, tag); err != nil {
			problem("the instance has no tag %s: %s", tagError, withRemedies(err))
		} else {
			s.Done = append(s.Done, "set the instance's tag "+tagError)
		}
	}
	return s
}

// lockBriefly is Lock, for a time of its own.
func lockBriefly(ctx context.Context, dir string, atMost time.Duration) (func(), error) {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	return Lock(ctx, dir)
}

// keepTrying installs the timer that repeats the failed run. True: it is there, and active.
func (r *run) keepTrying(ctx context.Context, f Failed, s *Suppressed) bool {
	const nothing = "nothing tries again by itself"
	switch {
	case f.Hopeless:
		s.Problems = append(s.Problems, nothing+": the same command line would be as wrong; run emr-static-ip with a right one on this node")
		return false
	case r.cfg.NoUnits:
		s.Problems = append(s.Problems, nothing+" (--no-units): run emr-static-ip on this node when the cause is mended")
		return false
	case !r.env.hasSystemd():
		s.Problems = append(s.Problems, nothing+": systemd does not run here (no "+systemdSign+"); run emr-static-ip on this node when the cause is mended")
		return false
	}
	var environ []string
	if r.env.Environ != nil {
		environ = r.env.Environ()
	}
	list, left := retryUnits(r.cfg, f.Args, environ)
	if err := r.ensure(ctx, list, unitRetryTimer); err != nil {
		s.Problems = append(s.Problems, clean(fmt.Sprintf("%s: installing %s: %v", nothing, unitRetryTimer, err), maxLine))
		return false
	}
	s.Done = append(s.Done, r.rep.Changes...)
	if len(left) > 0 {
		s.Problems = append(s.Problems, fmt.Sprintf("what tries again does without %s, which may be secret and is kept nowhere", strings.Join(left, ", ")))
	}
	return true
}

// errorTag is the tag's value: what failed and since when, in characters that every AWS service takes. It is the same while the error is: so
// a node that goes on failing does not go on calling EC2.
func errorTag(e LastError) string {
	text := fmt.Sprintf("exit code %d, %s, since %s: %s", e.Code, e.Meaning, e.First.UTC().Format(time.RFC3339), withoutRequest(e.Error))
	text = strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r > '~':
			return '?'
		case r == '"' || r == '\\':
			return '\''
		}
		return r
	}, strings.Join(strings.Fields(strings.ReplaceAll(text, `\n`, " ")), " "))
	if len(text) > maxTag {
		text = text[:maxTag-3] + "..."
	}
	return text
}

func (r *run) setErrorTag(ctx context.Context, value string) error {
	return r.asking(ctx, func(ctx context.Context) error { return r.ec2.SetErrorTag(ctx, value) })
}

// asking makes a call to EC2, of which the run does not depend, within a bound of its own. The error is explained.
func (r *run) asking(ctx context.Context, call func(context.Context) error) error {
	over := fmt.Errorf("%s are over: %w", onErrorTag, context.DeadlineExceeded)
	ctx, cancel := context.WithTimeoutCause(ctx, onErrorTag, over)
	defer cancel()
	if r.aws == nil {
		if err := r.connect(ctx); err != nil {
			return r.explain(ctx, err)
		}
	}
	if err := call(ctx); err != nil {
		return r.explain(ctx, err)
	}
	return nil
}

// withRemedies is an error in one line, with what to do about it.
func withRemedies(err error) string {
	return strings.Join(append([]string{err.Error()}, remedies(err)...), "; ")
}

// SetErrorTag tags the instance with what failed on it.
func (a *arbiter) SetErrorTag(ctx context.Context, value string) error {
	_, err := a.api.CreateTags(ctx, &ec2.CreateTagsInput{
		Resources: []string{a.id.InstanceID},
		Tags:      []types.Tag{{Key: aws.String(tagError), Value: aws.String(value)}},
	})
	if err != nil {
		return fmt.Errorf("setting the tag %s of %s: %w", tagError, a.id.InstanceID, err)
	}
	return nil
}

// RemoveErrorTag takes that tag away. One that is not there is no error.
func (a *arbiter) RemoveErrorTag(ctx context.Context) error {
	_, err := a.api.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{a.id.InstanceID}, Tags: []types.Tag{{Key: aws.String(tagError)}}})
	if err != nil {
		return fmt.Errorf("removing the tag %s of %s: %w", tagError, a.id.InstanceID, err)
	}
	return nil
}

// applyOrRetry is apply, unless it is a retry that has nothing to do any more; and the end of what an earlier failure has left.
func (r *run) applyOrRetry(ctx context.Context) error {
	if r.cfg.Retrying && r.superseded() {
		return nil
	}
	if err := r.applyVerified(ctx); err != nil {
		return err
	}
	return r.forgetFailure(ctx)
}

// superseded tells whether a retry has nothing to do any more: since it was started another run has succeeded, or released the address. Call it
// with the lock held.
func (r *run) superseded() bool {
	if !r.env.retryPending() {
		r.rep.LeftAlone = "nothing is to be tried again: another run has succeeded meanwhile, or released the address"
		return true
	}
	if last, found, err := readLastError(r.dir); err == nil && found && last.InstanceID != "" && last.InstanceID != r.id.InstanceID {
		r.rep.LeftAlone = fmt.Sprintf("what failed was a run on another instance (%s; this is %s), as after a start from an image of that one: it is not repeated here",
			quoted(last.InstanceID), r.id.InstanceID)
		return true
	}
	return false
}

// forgetFailure ends what an earlier failure that was suppressed has left: the instance's tag, the timer, and last the record, so that a
// run that is killed in between is finished by the next. Where nothing of the kind is there, it costs no call.
func (r *run) forgetFailure(ctx context.Context) error {
	last, found, err := readLastError(r.dir)
	if err != nil {
		r.warn(fmt.Sprintf("%v; remove it by hand", err))
	}
	pending := r.env.retryPending()
	own := found && (last.InstanceID == "" || last.InstanceID == r.id.InstanceID)
	tagged := own && last.Tag != "" || found && last.Count == 0 || pending && !found
	if r.ec2 != nil && !tagged {
		_, tagged = r.ec2.tags[tagError]
	}
	if tagged {
		if err := r.asking(ctx, r.removeErrorTag); err != nil {
			if ctx.Err() != nil {
				return err
			}
			r.warn(withRemedies(err))
		} else {
			r.change("removed the instance's tag " + tagError)
		}
	}
	if pending {
		list, _ := retryUnits(r.cfg, nil, nil)
		if err := r.remove(ctx, list, unitRetryTimer); err != nil {
			r.warn(fmt.Sprintf("%s is still there and goes on trying: %v; run again", unitRetryTimer, err))
			return nil
		}
	}
	if !found {
		return nil
	}
	if err := removeLastError(r.dir); err != nil {
		return err
	}
	r.change("removed the record of the last error (" + filepath.Join(r.cfg.StateDir, failureFile) + ")")
	return nil
}

func (r *run) removeErrorTag(ctx context.Context) error { return r.ec2.RemoveErrorTag(ctx) }

// reportLastError adds what an earlier run failed with to a status.
func (r *run) reportLastError(s *Status) {
	last, found, err := readLastError(r.dir)
	switch {
	case err != nil:
		s.Notes = append(s.Notes, err.Error())
		return
	case !found:
		return
	}
	last.Retrying = r.env.retryPending()
	s.LastError = &last
}

// lines are the last error for people.
func (e LastError) lines() []string {
	if e.Count == 0 {
		return []string{e.Error}
	}
	text := fmt.Sprintf("exit code %d, %s, at %s", e.Code, e.Meaning, e.Last.UTC().Format(time.RFC3339))
	if e.Count > 1 {
		text += fmt.Sprintf(" (%d times since %s)", e.Count, e.First.UTC().Format(time.RFC3339))
	}
	again := "nothing tries again by itself: run emr-static-ip when the cause is mended"
	if e.Retrying {
		again = unitRetryTimer + " goes on trying: journalctl -u " + unitRetryService
	}
	return slices.Concat([]string{text, e.Error}, e.Remedies, []string{again})
}
