package agent

import (
	"net/netip"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/pool"
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
	DefaultIMDSTimeout = 2 * time.Minute
	DefaultLockWait    = 30 * time.Second
	DefaultStateDir    = "/var/lib/emr-static-ip"
	DefaultLogFormat   = "console"
	DefaultOutput      = "text"
	DefaultOnError     = OnErrorFail
)

// Config is one run's settings, as the operator gave them (arguments, flags, environment).
type Config struct {
	Pools   Pools          // empty: take the pools of the last run from the state file
	Region  string         // that the node must be in; of ledger: where it is; empty: any, or found out
	Role    Role           // empty: detect it
	Scope   string         // SNAT scope: external, private or all
	Only    []netip.Prefix // SNAT only to these networks
	Exclude []netip.Prefix // never SNAT to these
	Backend string         // auto, iptables or nftables

	Prefix           string        // of the ledger in Parameter Store, with a leading slash: /emr-static-ip
	NameTag          bool          // append the role to the Name tag
	PutRate          float64       // PutParameter calls a second that the account allows, for pacing a launch
	Verify           []Target      // services that the node must reach with its static IP
	NoUnits          bool          // install no systemd units
	NoShutdownAction bool          // install no EMR shutdown action, and remove one that is there
	DryRun           bool          // say what would be changed, and change nothing
	OnError          string        // what a failed run does to the node: fail or continue
	Retrying         bool          // this is a run of the timer that --on-error continue leaves behind
	Output           string        // of status and ledger: text or json
	Subnet           string        // of ledger; empty: the node's own, or all
	Yes              bool          // of ledger gc and repair: do it
	Timeout          time.Duration // bounds the whole run
	IMDSTimeout      time.Duration // how long a late IMDS is waited for
	LockWait         time.Duration // how long the xtables lock is waited for
	StateDir         string        // where state.json is kept
	Verbose          bool
	LogFormat        string // console or json

	// Given names the flags that the operator set, on the command line or in the environment, without their dashes.
	// Only a run without pools looks at it: what is not given is repeated from the last run.
	Given []string
}

// DefaultConfig is the configuration of a command line without arguments and flags.
func DefaultConfig() Config {
	return Config{
		Scope:       DefaultScope,
		Backend:     DefaultBackend,
		Prefix:      DefaultPrefix,
		NameTag:     true,
		PutRate:     DefaultPutRate,
		Timeout:     DefaultTimeout,
		IMDSTimeout: DefaultIMDSTimeout,
		LockWait:    DefaultLockWait,
		StateDir:    DefaultStateDir,
		LogFormat:   DefaultLogFormat,
		Output:      DefaultOutput,
		OnError:     DefaultOnError,
	}
}

// Settings are what the state file keeps of c.
func (c Config) Settings() Settings {
	return Settings{
		Pools: c.Pools, Role: c.Role, Scope: c.Scope, Only: c.Only, Exclude: c.Exclude,
		Backend: c.Backend, Prefix: c.Prefix, NameTag: c.NameTag, NoUnits: c.NoUnits, PutRate: c.PutRate, Verify: c.Verify,
		NoShutdownAction: c.NoShutdownAction,
	}
}

// Repeating is c completed from the last run. A run that names addresses says all there is to say, and stays as it is; one
// that names none repeats the last run, except for the flags that it was given.
func (c Config) Repeating(last Settings) Config {
	if !c.Pools.Empty() {
		return c
	}
	c.Pools = last.Pools
	given := func(flag string) bool { return slices.Contains(c.Given, flag) }
	if !given(flagRole) {
		c.Role = last.Role
	}
	if !given(flagScope) {
		c.Scope = last.Scope
	}
	if !given(flagOnly) {
		c.Only = last.Only
	}
	if !given(flagExclude) {
		c.Exclude = last.Exclude
	}
	if !given(flagBackend) {
		c.Backend = last.Backend
	}
	if !given(flagPrefix) {
		c.Prefix = last.Prefix
	}
	if !given(flagNoNameTag) {
		c.NameTag = last.NameTag
	}
	if !given(flagNoUnits) {
		c.NoUnits = last.NoUnits
	}
	if !given(flagShutdown) {
		c.NoShutdownAction = last.NoShutdownAction
	}
	if !given(flagPutRate) {
		c.PutRate = last.PutRate
	}
	if !given(flagVerify) {
		c.Verify = last.Verify
	}
	return c
}

// The flags, without their dashes. Each is also an environment variable: see variableOf.
const (
	flagRole      = "role"
	flagScope     = "snat-scope"
	flagOnly      = "only-cidr"
	flagExclude   = "exclude-cidr"
	flagBackend   = "nat-backend"
	flagPrefix    = "prefix"
	flagNoNameTag = "no-name-tag"
	flagNoUnits   = "no-units"
	flagShutdown  = "no-shutdown-action"
	flagDryRun    = "dry-run"
	flagOnError   = "on-error"
	flagOutput    = "output"
	flagPutRate   = "ssm-put-rate"
	flagVerify    = "verify"
	flagTimeout   = "timeout"
	flagIMDS      = "imds-timeout"
	flagLockWait  = "lock-wait"
	flagStateDir  = "state-dir"
	flagLogFormat = "log-format"
	flagVerbose   = "verbose"
	flagSubnet    = "subnet"
	flagRegion    = "region"
	flagYes       = "yes"
)
