package cloud

import (
	"net"
	"os"
	"syscall"
	"time"
)

// FaultKind is what goes wrong with a call.
type FaultKind int

// The kinds of faults.
const (
	FaultNone      FaultKind = iota
	FaultFail                // no effect; the service answers with Code, Message, Status
	FaultReset               // no effect; the connection is reset
	FaultLose                // the effect takes place; the connection is reset instead of the response
	FaultFailAfter           // the effect takes place; the service answers with Code, Message, Status
	FaultHang                // no effect and no answer, until the caller gives up
	FaultHangAfter           // the effect takes place; no answer until the caller gives up
	FaultLate                // the connection is reset; the effect takes place later, when nobody waits for it any more
)

func (k FaultKind) String() string {
	names := [...]string{"none", "fail", "reset", "lose", "fail-after", "hang", "hang-after", "late"}
	if k < 0 || int(k) >= len(names) {
		return "unknown"
	}
	return names[k]
}

// FaultAction is a fault hook's decision. The zero value lets the call pass.
type FaultAction struct {
	Kind    FaultKind
	Code    string        // default InternalServerError (SSM, EMR), InternalError (EC2)
	Message string        // default as AWS words it
	Status  int           // default 500
	Delay   time.Duration // added before the effect, whatever the kind
	// Late is how long after the reset the effect of a FaultLate takes place.
	Late time.Duration
	// Then runs after the effect and before the response, without the model's lock: for ending the caller there.
	Then func()
}

// Fault sets the hook that is asked before each call, IMDS calls included; nil takes it away. The hook runs on the
// caller's goroutine without the model's lock and may call the model's methods.
func (c *Cloud) Fault(hook func(Call) FaultAction) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = hook
}

// Watch sets the hook that is told of each AWS call right after its effect, before anything else
// happens; nil takes it away. Under [Options.UniqueTimes] the model's state is then the one that the
// call has left. The hook runs on the caller's goroutine without the model's lock and may call the
// model's methods.
func (c *Cloud) Watch(hook func(Call)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watch = hook
}

// FaultRates are probabilities for [RandomFaults].
type FaultRates struct {
	Fail, Reset, Lose, Hang float64
	Slow                    float64 // an extra delay of up to MaxSlow
	MaxSlow                 time.Duration
}

// RandomFaults is a hook that draws faults from each call's own stream. It leaves calls alone for which only returns false
// (nil: none).
func RandomFaults(rates FaultRates, only func(Call) bool) func(Call) FaultAction {
	return func(call Call) FaultAction {
		if only != nil && !only(call) {
			return FaultAction{}
		}
		r := call.Rand()
		var a FaultAction
		if rates.Slow > 0 && r.Float64() < rates.Slow {
			a.Delay = Range{0, rates.MaxSlow}.draw(r)
		}
		x := r.Float64()
		for _, f := range []struct {
			kind FaultKind
			p    float64
		}{{FaultFail, rates.Fail}, {FaultReset, rates.Reset}, {FaultLose, rates.Lose}, {FaultHang, rates.Hang}} {
			if x < f.p {
				a.Kind = f.kind
				return a
			}
			x -= f.p
		}
		return a
	}
}

// errorFor is the error that a FaultFail answers with.
func (a FaultAction) errorFor(service string) *Error {
	e := &Error{Code: a.Code, Message: a.Message, Status: a.Status}
	if e.Status == 0 {
		e.Status = 500
	}
	if e.Code == "" {
		if e.Code = "InternalServerError"; service == "ec2" {
			e.Code = "InternalError"
		}
	}
	if e.Message == "" {
		e.Message = "An internal error has occurred"
	}
	return e
}

// Errors of the connection, as an http.Transport would return them: the SDK decides by their types whether to retry.
var (
	errReset   = &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
)
