package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
)

const tagError = ec2.ErrorTag

// maxTag is how many characters EC2 allows in a tag's value.
const maxTag = 256

// Limits of what is done after a failed run. Each part is tried, whatever becomes of the others.
const (
	onErrorLock = 10 * time.Second // for another run on this node
	onErrorIMDS = 5 * time.Second  // for IMDS, which may be what failed
	onErrorTag  = 30 * time.Second // for EC2, which may be what failed
	afterRetry  = 2 * time.Minute  // for all of that, beyond the timeout of a run by the timer
)

// RepeatedOnError returns --on-error of this run. A run that neither names addresses nor sets
// --on-error takes it from the last run.
func (c Config) RepeatedOnError(env Environment) string {
	if !c.Pools.Empty() || c.Given.OnError {
		return c.OnError
	}
	m := state.NewMemory(env.Root, env.Path(c.StateDir), Version(), nil)
	if err := m.Load(""); err != nil || !m.Known() {
		return c.OnError // nothing to repeat
	}
	return c.Repeating(m.State().Settings).OnError
}

// Failed is a run whose failure is to be suppressed.
type Failed struct {
	Code     ExitCode
	Err      error
	Remedies []string
	Args     []string  // of a later run, after the command retry
	Environ  []string  // of a later run, as NAME=value
	Omitted  []string  // names of variables that a later run lacks, since they may hold secrets
	Began    time.Time // when the run did
	// StateWritten is the time in the state file that the run left; see Report.
	StateWritten time.Time
	// Hopeless is set if the command line itself is wrong, so that a retry would fail too. A list
	// of addresses that does not fit the node or the cluster is not hopeless: EMR's files may be
	// complete later, and an interface may get room.
	Hopeless bool
}

// Suppressed is what was done about the failure, for the log.
type Suppressed struct {
	Done     []string
	Problems []string
	Retrying bool // a timer keeps retrying
}

// failures is what failed runs under --on-error continue leave on a node: the record of the last
// error, the instance's tag, and the timer that tries again.
type failures struct {
	cfg       *Config
	env       Environment
	dir       string // the state directory
	list      string // listDigest of the addresses that the operator named for this run
	facts     *node.Facts
	session   *node.Session
	memory    *memory
	installed *installed
	report    *reporter
	connect   func(context.Context) error
	explain   explainer
}

// overtaken returns what has happened since the failed run released its lock that makes the failure
// obsolete, or "". The caller holds the lock.
func (e *failures) overtaken(f Failed) string {
	err := e.memory.Load("")
	if last := e.memory.State(); err == nil && last.Released() && f.missed(last) {
		return "meanwhile a release has begun, or the address was released"
	}
	if e.cfg.Retrying && !systemd.RetryPending(e.env) {
		return "meanwhile another run has succeeded, or the address was released"
	}
	return ""
}

// missed reports whether the state was written after the failed run. The clock may have been set
// since, so it compares the times for equality and not for their order. If the run failed before
// it read the state, only a time between its begin and now counts.
func (f Failed) missed(last state.State) bool {
	if !f.StateWritten.IsZero() {
		return !last.Written.Equal(f.StateWritten)
	}
	return !f.Began.IsZero() && last.Written.After(f.Began) && !last.Written.After(time.Now())
}

// lockBriefly is Lock, for a time of its own.
func lockBriefly(ctx context.Context, dir string, atMost time.Duration) (func(), error) {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	return state.Lock(ctx, dir)
}

// earlierTimer is the message if the timer of an earlier run stays as it is.
const earlierTimer = systemd.RetryTimer + " keeps retrying the earlier command line"

// keepTrying installs the timer that repeats the failed run. It returns true if a timer is active
// afterwards, this one or an earlier run's.
func (e *failures) keepTrying(ctx context.Context, f Failed, s *Suppressed) bool {
	const nothing = "no retry is scheduled"
	problem := func(format string, args ...any) {
		s.Problems = append(s.Problems, text.Clean(fmt.Sprintf(format, args...), text.MaxLine))
	}
	installer := &systemd.Installer{
		Host: e.env, StateDir: e.cfg.stateDirArgument(),
		Changed: func(text string) {
			s.Done = append(s.Done, text)
			e.report.log.Info(text, zap.String("step", stepRetry))
		},
		Same: func() {},
	}
	goesOn := func() bool {
		return systemd.RetryPending(e.env) && systemd.Running(e.env) && systemd.Systemctl(ctx, e.env, "is-active", "--quiet", systemd.RetryTimer) == nil
	}
	switch {
	case f.Hopeless && !goesOn():
		problem("%s: the arguments are invalid; run emr-static-ip on this node with valid ones", nothing)
		return false
	case f.Hopeless && e.cfg.Retrying:
		problem("this version of emr-static-ip cannot parse the arguments in %s, which another version wrote: run emr-static-ip on this node with valid arguments, or install that version", systemd.RetryService)
		return true
	case f.Hopeless:
		problem("%s, not this one, which is invalid; run emr-static-ip on this node with valid arguments", earlierTimer)
		return true
	case e.cfg.NoUnits:
		err := installer.RemoveRetry(ctx)
		if err != nil && goesOn() {
			problem("%s, although this one has --no-units: %v", earlierTimer, err)
			return true
		}
		problem("%s (--no-units): run emr-static-ip on this node when the cause is repaired", nothing)
		return false
	case !systemd.Running(e.env):
		problem("%s: systemd does not run here (no %s); run emr-static-ip on this node when the cause is repaired", nothing, systemd.RunDir)
		return false
	}
	err := installer.EnsureRetry(ctx, f.Args, f.Environ, e.cfg.Timeout+afterRetry)
	switch {
	case err != nil && goesOn():
		problem("%s, or this one; it could not be brought up to date: %v", earlierTimer, err)
	case err != nil:
		problem("%s: installing %s: %v", nothing, systemd.RetryTimer, err)
		return false
	}
	if len(f.Omitted) > 0 {
		problem("what tries again does without %s, which may be secret and is kept nowhere", strings.Join(f.Omitted, ", "))
	}
	return true
}

// errorTag returns the tag's value: the error and since when, in characters that every AWS service
// takes. The value stays the same while the error does, so that a node that goes on failing does
// not go on calling EC2.
func errorTag(last LastError) string {
	text := fmt.Sprintf("exit code %d, %s, since %s: %s", last.Code, last.Meaning, last.First.UTC().Format(time.RFC3339), ec2.WithoutRequest(last.Error))
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

func (e *failures) setTag(ctx context.Context, value string) error {
	return e.asking(ctx, func(ctx context.Context) error { return e.session.EC2.SetErrorTag(ctx, value) })
}

// asking makes an optional call to EC2 within a limit of its own. Its error is explained.
func (e *failures) asking(ctx context.Context, call func(context.Context) error) error {
	over := fmt.Errorf("%s are over: %w", onErrorTag, context.DeadlineExceeded)
	ctx, cancel := context.WithTimeoutCause(ctx, onErrorTag, over)
	defer cancel()
	if !e.session.Connected() {
		if err := e.connect(ctx); err != nil {
			return e.explain(ctx, err)
		}
	}
	if err := call(ctx); err != nil {
		return e.explain(ctx, err)
	}
	return nil
}

// listDigest returns a digest that tells lists of addresses apart. It is empty if p is empty.
func listDigest(p Pools) string {
	if p.Empty() {
		return ""
	}
	text := fmt.Appendf(nil, "{%v %v %v %t}", p.Master, p.Core, p.Task, p.MasterOnly) // as older versions did
	if p.Plain() {
		text = fmt.Append(text, p.Any)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
