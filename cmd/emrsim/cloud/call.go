package cloud

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Call is one call to the model. Fault hooks see the fields up to Params; the record has all of
// them.
type Call struct {
	Service string // ssm, ec2, elasticmapreduce, sts, imds
	Action  string // as in the API; for IMDS: PutToken or GetMetadata
	Caller  string // id of the calling instance, empty for the operator
	Nth     int    // number of the call among the caller's calls, from 1
	OfKind  int    // number of the call among the caller's calls of this service and action, from 1
	Seed    uint64 // derived from Options.Seed, Caller, Service, Action and OfKind: see Rand
	Params  string // short form of the important parameters, never a secret; the path for IMDS
	Old     string // the value that a PutParameter or DeleteParameter found, if the parameter existed
	New     string // the value that a PutParameter wrote

	// The fields below are set when the call is recorded.
	Began   time.Time     // when the call reached the model
	Took    time.Duration // from then to the answer, or to the caller's giving up
	Time    time.Time     // of the effect, or of the call's end if it had none
	Status  int           // HTTP status; 0 without a response
	Code    string        // error code; empty for success; Canceled, ConnectionReset or Hung without a response
	Message string        // the error's text
	Applied bool          // the model's state was changed
	Lost    bool          // there was a response, but the caller did not get it
	Fault   FaultKind     // what the fault hook did

	slot int64 // the nanoseconds reserved for the caller: see Options.UniqueTimes
}

// Rand returns a random stream that belongs to this call. A fault hook that uses it does not depend
// on the order of calls.
func (c Call) Rand() *rand.Rand { return newRand(mixNumber(c.Seed, 7)) }

// Key returns the service and action as an IAM policy names them: "ssm:PutParameter".
func (c Call) Key() string { return c.Service + ":" + c.Action }

// Throttled reports whether a quota refused the call.
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

// Calls returns all recorded calls in the order in which they took effect.
func (c *Cloud) Calls() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Call(nil), c.calls...)
}

// ForgetCalls empties the record. The callers' counters continue.
func (c *Cloud) ForgetCalls() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = nil
}

// Count says how often an action was called.
type Count struct{ Calls, Throttled, Failed int }

// Counts sums up the record by "service:Action". Failed does not include throttled calls.
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

// record adds a finished call and returns its index. The lock must be held.
func (c *Cloud) record(call Call) int {
	c.calls = append(c.calls, call)
	return len(c.calls) - 1
}

// recordNow records a call that ended before the model could serve it.
func (c *Cloud) recordNow(call Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	call.Time = c.now()
	call.Took = call.Time.Sub(call.Began)
	c.record(call)
}
