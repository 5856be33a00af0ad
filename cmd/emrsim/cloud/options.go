package cloud

import (
	"math/rand/v2"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
)

// Options are the settings of the account and its imperfections. The zero value is a fast and
// consistent account without quotas.
type Options struct {
	Region  string // default us-east-1
	Account string // 12 digits; default 123456789012
	Seed    uint64

	// Quotas are the account's request limits: see [DefaultQuotas]. Nil means no limits.
	Quotas map[string]Quota

	// Latency returns the duration of a call. Half of it passes before the effect and half after.
	// Nil means no delay.
	Latency func(r *rand.Rand, call Call) time.Duration
	// UniqueTimes makes the calls of each caller take effect at nanoseconds that no other caller
	// uses. This delays a call by at most 4.1 µs and allows at most 4096 callers. With a virtual
	// clock, no two calls of different callers then take effect at the same instant, where the
	// scheduler would decide about their order. The same holds for calls that one caller begins at
	// different nanoseconds.
	UniqueTimes bool

	StaleSSM   Staleness // reads of Parameter Store
	StaleEC2   Staleness // EC2 Describe* calls
	RemapDelay Range     // delay until Describe* shows an address assigned or unassigned; EC2 decides at once
	IMDSDelay  Range     // additional delay until IMDS shows it
	IMDSBoot   Range     // time after the launch in which the instance's IMDS does not answer
	// IMDSBootMode is how IMDS fails during that time.
	IMDSBootMode BootMode

	BootTime          Range         // from launch to running; default 0
	ShutdownTime      Range         // from shutting-down to terminated, when the addresses become free; default 30 s
	TerminatedVisible time.Duration // how long describe calls show a terminated instance; default 1 h

	// Unverified has more answers of AWS that no source confirms.
	Unverified Unverified
	// AssignSameENI is the outcome for an address that the ENI already has. AWS's behaviour is not
	// documented.
	AssignSameENI Outcome
	// ConcurrentUpdates makes a change of a parameter fail with TooManyUpdates shortly after
	// another caller's change.
	ConcurrentUpdates Race
	// ConcurrentCreates lets a PutParameter with Overwrite=false succeed although another caller
	// created the parameter shortly before. AWS does not promise that creating is linearizable. The
	// later value stays.
	ConcurrentCreates Race
	// Recreate is the outcome of a PutParameter that creates a name less than [RecreateWait] after
	// its deletion. Overwriting an existing parameter is not affected.
	Recreate Recreate
	// EmptyPages is the probability that GetParametersByPath returns an empty page with a token.
	EmptyPages float64
	// NoArbiter lets EC2 assign one address to two ENIs, which AWS never does. It is for showing
	// that a test can fail.
	NoArbiter bool

	// ClockSkew is how far the services' clock is ahead of Now, the nodes' clock. The services date
	// their answers and check signatures by their clock.
	ClockSkew time.Duration
	// VerifyInProcess also verifies the SigV4 signatures of calls through Transport; calls over
	// HTTP are always verified. Without it, such a call needs a well-formed Authorization header
	// with a known access key and the right region and service, and its date is checked only if
	// ClockSkew is set.
	VerifyInProcess bool
	// AnyCredentials accepts every access key, for clients with made-up credentials. A call with an
	// unknown key counts as a call of the transport's instance, or of the operator. Unsigned calls
	// are still refused.
	AnyCredentials bool
	// Authorize decides whether a caller may make a request, for example iam.Policies.OnInstances.
	// nil allows everything. If it returns an error, the caller gets the denial that the service
	// would send. A *iam.Denial says which resource the denial names, and of which kind it is. The
	// text of the error is only recorded.
	Authorize func(AccessRequest) error

	Now func() time.Time // default time.Now, which is virtual in a synctest bubble
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

// Range is a duration that is drawn uniformly between two bounds.
type Range struct{ Min, Max time.Duration }

// Exactly returns a range with only one value.
func Exactly(d time.Duration) Range { return Range{d, d} }

func (r Range) draw(rng *rand.Rand) time.Duration {
	if r.Max <= r.Min {
		return r.Min
	}
	return r.Min + time.Duration(rng.Int64N(int64(r.Max-r.Min)+1))
}

// Staleness models eventual consistency: with the probability, a read shows a state that is up to
// MaxAge old.
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

// Race is the probability that a call fails, or succeeds wrongly, within Window after another
// caller's call.
type Race struct {
	Probability float64
	Window      time.Duration
}

// RecreateWait is how long AWS asks callers to wait before they create a deleted name again: "After
// deleting a parameter, wait for at least 30 seconds to create a parameter with the same name" (API
// reference of DeleteParameter).
const RecreateWait = 30 * time.Second

// Recreate has the probabilities of failures for a caller that does not wait. AWS's behaviour is
// not documented. If neither failure happens, the parameter is created.
type Recreate struct {
	// Refuse is the probability of TooManyUpdates, the only error of PutParameter that fits.
	Refuse float64
	// Lose is the probability of an answer that reports success although nothing was created.
	Lose float64
}

// Outcome is the outcome of a call for which AWS's behaviour is not known.
type Outcome int

// The two outcomes.
const (
	OutcomeSuccess Outcome = iota
	OutcomeError
)

// BootMode is how IMDS fails before it is up.
type BootMode int

// The boot modes.
const (
	BootRefuse   BootMode = iota // connection refused
	BootHang                     // no answer; the caller has to give up
	BootError                    // HTTP 500
	BootNotFound                 // HTTP 404 for metadata; tokens are issued
)

// Caller identifies the caller of a request.
type Caller = iam.Caller

// AccessRequest is the question for Options.Authorize.
type AccessRequest = iam.Request
