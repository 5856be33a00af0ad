package cloud

import (
	"math/rand/v2"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
)

// Options are the account's settings and the ways in which it is unpleasant. The zero value is a prompt, consistent account without
// quotas.
type Options struct {
	Region  string // default us-east-1
	Account string // 12 digits; default 123456789012
	Seed    uint64

	// Quotas are the account's request limits: see [DefaultQuotas]. Nil: no limits.
	Quotas map[string]Quota

	// Latency is how long a call takes, half of it before its effect and half after. Nil: no time.
	Latency func(r *rand.Rand, call Call) time.Duration
	// UniqueTimes makes every caller's calls take effect at nanoseconds of its own (at most 4096 callers, 4.1 µs later at
	// most), so that under a virtual clock no two calls of different callers ever meet at one instant, where their order would be the scheduler's.
	// Calls that one caller begins at different nanoseconds do not meet either.
	UniqueTimes bool

	StaleSSM   Staleness // reads of Parameter Store
	StaleEC2   Staleness // EC2 Describe* calls
	RemapDelay Range     // until Describe* shows an address assigned or unassigned; EC2's decision itself is immediate
	IMDSDelay  Range     // how much later than Describe* IMDS shows it
	IMDSBoot   Range     // how long after its launch an instance's IMDS does not answer
	// IMDSBootMode is what a call to IMDS meets in that time.
	IMDSBootMode BootMode

	BootTime          Range         // from launch to running; default 0
	ShutdownTime      Range         // from shutting-down to terminated, when the addresses come free; default 30 s
	TerminatedVisible time.Duration // how long describes still show a terminated instance; default 1 h

	// AssignSameENI is the answer for an address that the ENI has already: no source says what AWS does.
	AssignSameENI Outcome
	// ConcurrentUpdates answers TooManyUpdates to a change of a parameter shortly after another caller's change of it.
	ConcurrentUpdates Race
	// ConcurrentCreates lets a PutParameter with Overwrite=false succeed although another caller created the parameter
	// shortly before: AWS does not promise that creating is linearizable. The later value stays.
	ConcurrentCreates Race
	// Recreate is what happens to a PutParameter that creates a name less than [RecreateWait] after it
	// was deleted. Overwriting a parameter that exists is not affected.
	Recreate Recreate
	// EmptyPages is the probability that GetParametersByPath returns an empty page with a token.
	EmptyPages float64
	// NoArbiter lets EC2 give one address to two ENIs. AWS never does: this is for showing that a test can fail.
	NoArbiter bool

	// ClockSkew is by how much the services' clock, which dates their answers and judges signatures, is ahead of Now, which is the nodes'.
	ClockSkew time.Duration
	// VerifyInProcess verifies SigV4 signatures also for calls through Transport; over HTTP they always are. Without it such a call, whose date
	// is looked at only where there is a ClockSkew, needs a well-formed Authorization header with a known access key and the right region and service.
	VerifyInProcess bool
	// AnyCredentials accepts every access key, for clients set up with made-up credentials. An unknown key's calls count as those of the
	// transport's instance, or the operator's. Unsigned calls are still refused.
	AnyCredentials bool
	// Authorize decides whether a caller may do something, for example iam.Policies.OnInstances.
	// nil allows everything. An error denies: the caller gets the denial that the service would
	// send, which names the resource and the kind of a *iam.Denial. The error's text is only
	// recorded.
	Authorize func(AccessRequest) error

	Now func() time.Time // default time.Now, which is virtual inside a synctest bubble
}

func (o Options) withDefaults() Options {
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Account == "" {
		o.Account = "123456789012"
	}
	if o.ShutdownTime == (Range{}) {
		o.ShutdownTime = Exactly(30 * time.Second)
	}
	if o.TerminatedVisible == 0 {
		o.TerminatedVisible = time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Range is a duration drawn evenly between two bounds.
type Range struct{ Min, Max time.Duration }

// Exactly is the range with one value.
func Exactly(d time.Duration) Range { return Range{d, d} }

func (r Range) draw(rng *rand.Rand) time.Duration {
	if r.Max <= r.Min {
		return r.Min
	}
	return r.Min + time.Duration(rng.Int64N(int64(r.Max-r.Min)+1))
}

// Staleness is eventual consistency: with the probability, a read shows the state of up to MaxAge ago.
type Staleness struct {
	Probability float64
	MaxAge      time.Duration
}

func (s Staleness) draw(rng *rand.Rand) time.Duration {
	if s.Probability <= 0 || rng.Float64() >= s.Probability {
		return 0
	}
	return Range{0, s.MaxAge}.draw(rng)
}

// Race is what may happen, with a probability, to a call that follows another caller's within the window.
type Race struct {
	Probability float64
	Window      time.Duration
}

// RecreateWait is how long AWS asks to wait before a deleted name is created again: "After deleting a
// parameter, wait for at least 30 seconds to create a parameter with the same name" (API reference of
// DeleteParameter).
const RecreateWait = 30 * time.Second

// Recreate is what a caller meets that does not wait: no source says what AWS does, so that these are
// probabilities of the ways in which it can go wrong. Otherwise the parameter is created.
type Recreate struct {
	// Refuse answers TooManyUpdates, the only error of PutParameter that fits.
	Refuse float64
	// Lose answers as if the parameter had been created, and it does not come to exist.
	Lose float64
}

// Outcome is one of two answers where AWS's is not known.
type Outcome int

// The two outcomes.
const (
	OutcomeSuccess Outcome = iota
	OutcomeError
)

// BootMode is how an IMDS fails that is not up yet.
type BootMode int

// What a late IMDS does.
const (
	BootRefuse   BootMode = iota // connection refused
	BootHang                     // no answer until the caller gives up
	BootError                    // HTTP 500
	BootNotFound                 // HTTP 404 for metadata (tokens are given)
)

// Caller makes a call. AccessRequest is the question that Options.Authorize answers.
type (
	Caller        = iam.Caller
	AccessRequest = iam.Request
)
