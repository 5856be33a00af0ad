package agent

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/pool"
	"github.com/emr-static-ip/emr-static-ip/internal/tag"
)

// Pools are the static IPs offered to each role, in the operator's order.
type Pools = pool.Pools

// Defaults of the flags.
const (
	DefaultScope       = "external"
	DefaultBackend     = "auto"
	DefaultPrefix      = "/emr-static-ip"
	DefaultPutRate     = 3.0 // PutParameter/s that an account without paid throughput has in one region
	DefaultTimeout     = 10 * time.Minute
	DefaultIMDSTimeout = 2 * time.Minute // of apply, plan and release
	DefaultLockWait    = 30 * time.Second
	// Restore and status do not wait for an IMDS that is late. Doctor reports such an IMDS.
	DefaultRestoreIMDSTimeout = 5 * time.Second
	DefaultDoctorIMDSTimeout  = 10 * time.Second
	DefaultDoctorLockWait     = 5 * time.Second
	DefaultStateDir           = "/var/lib/emr-static-ip"
	DefaultLogFormat          = "console"
	DefaultOutput             = "text"
	DefaultOnError            = OnErrorFail
)

// The values of --on-error.
const (
	OnErrorFail     = "fail"     // the exit code says what failed: EMR ends a node whose bootstrap action fails
	OnErrorContinue = "continue" // the node is kept; log, tag and status are loud, and a timer keeps retrying
)

// Config is one run's settings, as the operator gave them (arguments, flags, environment).
type Config struct {
	Pools   Pools          // empty: take the pools of the last run from the state file
	Region  string         // the region that the node must be in, or that the ledger is in; empty: any, or detected
	Role    Role           // empty: detect it
	Scope   string         // SNAT scope: external, private or all
	Only    []netip.Prefix // SNAT only to these networks
	Exclude []netip.Prefix // never SNAT to these
	Backend string         // auto, iptables or nftables

	Cluster          string        // of cluster check, and of doctor with Subnet: j-...
	Prefix           string        // of the ledger in Parameter Store, with a leading slash: /emr-static-ip
	NameTag          bool          // append the role to the Name tag
	PutRate          float64       // PutParameter calls a second that the account allows, for pacing a launch
	Verify           []Target      // services to be reached with the static IP
	NoUnits          bool          // install no systemd units
	NoShutdownAction bool          // install no EMR shutdown action, and remove one that is there
	DryRun           bool          // say what would be changed, and change nothing
	Wait             time.Duration // how long status looks again
	Bundle           string        // of doctor: the archive to write; empty: none
	OnError          string        // what a failed run does to the node: fail or continue
	Retrying         bool          // this is a run of the timer that --on-error continue leaves behind
	AtPoweroff       bool          // a release by the release unit, which does nothing unless the machine ends
	Output           string        // of status and ledger: text or json
	Subnet           string        // of ledger and doctor; empty: the node's own, or all
	AllRegions       bool          // of ledger list
	RoleName         string        // of doctor with Subnet: the nodes' IAM role, by name or ARN; may be empty
	Yes              bool          // of ledger gc, repair and remove: make the changes
	Timeout          time.Duration // bounds the whole run
	IMDSTimeout      time.Duration // how long to wait for a late IMDS; 0: as long as the command does by default
	LockWait         time.Duration // how long to wait for the xtables lock; 0: as long as the command does by default
	StateDir         string        // where state.json is kept
	Verbose          bool
	LogFormat        string // console or json

	ClaimTags []tag.Tag // of the node's record in Parameter Store

	Given Given // the settings that the operator set
}

// Given says which settings the operator set, by arguments or in the environment. A run without
// pools takes the others from the last run.
type Given struct {
	Role, Scope, Only, Exclude, Backend, Prefix, NameTag bool
	NoUnits, NoShutdownAction, PutRate, Verify           bool
	OnError, ClaimTags                                   bool
}

// DefaultConfig returns the configuration of a command line without arguments and flags.
func DefaultConfig() Config {
	return Config{
		Scope:     DefaultScope,
		Backend:   DefaultBackend,
		Prefix:    DefaultPrefix,
		NameTag:   true,
		PutRate:   DefaultPutRate,
		Timeout:   DefaultTimeout,
		StateDir:  DefaultStateDir,
		LogFormat: DefaultLogFormat,
		Output:    DefaultOutput,
		OnError:   DefaultOnError,
	}
}

// names reports whether the run looks after the Name tag. It gets the role, which an instance
// outside EMR does not have.
func (c Config) names() bool { return c.NameTag && !c.Pools.Plain() }

// Bound returns ctx with the deadline of a run that begins now.
func (c Config) Bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return c.BoundBy(ctx, c.Timeout)
}

// BoundBy is Bound with a limit other than --timeout, or what is left of it.
func (c Config) BoundBy(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	over := fmt.Errorf("%s ran out: %w", limit, context.DeadlineExceeded)
	if limit == c.Timeout {
		over = fmt.Errorf("--timeout %w", over)
	}
	return context.WithTimeoutCause(ctx, limit, over)
}

// Settings returns the part of c that the state file keeps.
func (c Config) Settings() Settings {
	onError := c.OnError
	if onError == DefaultOnError {
		onError = ""
	}
	from := ScopeDerived
	if c.Given.Scope {
		from = ScopeAsked
	}
	return Settings{
		Pools: c.Pools, Role: c.Role, Scope: c.Scope, ScopeFrom: from, Only: c.Only, Exclude: c.Exclude,
		Backend: c.Backend, Prefix: c.Prefix, NameTag: c.NameTag, NoUnits: c.NoUnits, PutRate: c.PutRate, Verify: c.Verify,
		NoShutdownAction: c.NoShutdownAction, OnError: onError, ClaimTags: c.ClaimTags,
	}
}

// Repeating returns c completed from the last run. If c names addresses, nothing is taken from the
// last run. Otherwise everything is, except the settings that c gives.
func (c Config) Repeating(last Settings) Config {
	if !c.Pools.Empty() {
		return c
	}
	c.Pools = last.Pools
	if !c.Given.Role {
		c.Role = last.Role
	}
	if !c.Given.Scope {
		c.Scope, c.Given.Scope = last.Scope, scopeAsked(last)
	}
	if !c.Given.Only {
		c.Only = last.Only
	}
	if !c.Given.Exclude {
		c.Exclude = last.Exclude
	}
	if !c.Given.Backend {
		c.Backend = last.Backend
	}
	if !c.Given.Prefix {
		c.Prefix = last.Prefix
	}
	if !c.Given.NameTag {
		c.NameTag = last.NameTag
	}
	if !c.Given.NoUnits {
		c.NoUnits = last.NoUnits
	}
	if !c.Given.NoShutdownAction {
		c.NoShutdownAction = last.NoShutdownAction
	}
	if !c.Given.PutRate {
		c.PutRate = last.PutRate
	}
	if !c.Given.ClaimTags {
		c.ClaimTags = last.ClaimTags
	}
	if !c.Given.Verify {
		c.Verify = last.Verify
	}
	if !c.Given.OnError {
		c.OnError = cmp.Or(last.OnError, DefaultOnError)
	}
	return c
}
