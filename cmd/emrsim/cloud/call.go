package cloud

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Call is one call to the model, as it is shown to fault hooks (until Params) and recorded.
type Call struct {
	Service string // ssm, ec2, elasticmapreduce, sts, imds
	Action  string // as in the API; for IMDS: PutToken or GetMetadata
	Caller  string // the calling instance's id, empty for the operator
	Nth     int    // this caller's n-th call, from 1
	OfKind  int    // this caller's n-th call of this service and action, from 1
	Seed    uint64 // from Options.Seed, Caller, Service, Action and OfKind: see Rand
	Params  string // the parameters that matter, short; never a secret. For IMDS the path
	Old     string // the value that a PutParameter or DeleteParameter found, if the name existed
	New     string // the value of a PutParameter

	// Set when recorded.
	Time    time.Time // of the effect, or when the call ended without one
	Status  int       // HTTP status; 0 where no response was made
	Code    string    // error code; empty for success. Canceled, ConnectionReset, Hung where no response was made
	Message string    // the error's text
	Applied bool      // the model's state was changed
	Lost    bool      // the caller did not get the response that was made
	Fault   FaultKind // what the fault hook did

	slot int64 // the caller's nanoseconds: see Options.UniqueTimes
}

// Rand is a stream of the call's own: for a fault hook whose choices must not depend on the order of calls.
func (c Call) Rand() *rand.Rand { return newRand(mixNumber(c.Seed, 7)) }

// Key is the service and action as in an IAM policy: "ssm:PutParameter".
func (c Call) Key() string { return c.Service + ":" + c.Action }

// Throttled tells whether a quota refused the call.
func (c Call) Throttled() bool {
	return c.Code == "ThrottlingException" || c.Code == "RequestLimitExceeded"
}

func (c Call) String() string {
	who := c.Caller
	if who == "" {
		who = "operator"
	}
	s := fmt.Sprintf("%s %s #%d %s %s", c.Time.UTC().Format("15:04:05.000000000"), who, c.Nth, c.Key(), c.Params)
	if c.Code != "" {
		s += fmt.Sprintf(" -> %d %s", c.Status, c.Code)
	}
	if c.Applied {
		s += " applied"
	}
	if c.Lost {
		s += " lost"
	}
	if c.Fault != FaultNone {
		s += " fault=" + c.Fault.String()
	}
	return s
}

// Calls returns all calls so far in the order in which they took effect.
func (c *Cloud) Calls() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Call(nil), c.calls...)
}

// ForgetCalls empties the record; counters of callers go on.
func (c *Cloud) ForgetCalls() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = nil
}

// Count is how often an action was called.
type Count struct{ Calls, Throttled, Failed int }

// Counts sums up the record by "service:Action". Failed does not include Throttled.
func (c *Cloud) Counts() map[string]Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := map[string]Count{}
	for i := range c.calls {
		call := &c.calls[i]
		n := m[call.Key()]
		n.Calls++
		switch {
		case call.Throttled():
			n.Throttled++
		case call.Code != "":
			n.Failed++
		}
		m[call.Key()] = n
	}
	return m
}

// record adds a finished call and returns its place. The lock must be held.
func (c *Cloud) record(call Call) int {
	c.calls = append(c.calls, call)
	return len(c.calls) - 1
}

// recordNow records a call that ended without the model's doing.
func (c *Cloud) recordNow(call Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	call.Time = c.now()
	c.record(call)
}
