package cloud

import (
	"net"
	"os"
	"syscall"
	"time"
)

// FaultKind says how a call fails.
type FaultKind int

// The kinds of faults.
const (
	FaultNone      FaultKind = iota
	FaultFail                // no effect; the service answers with Code, Message and Status
	FaultReset               // no effect; the connection is reset
	FaultLose                // the effect takes place; the connection is reset before the response
	FaultFailAfter           // the effect takes place; the service answers with Code, Message and Status
	FaultHang                // no effect and no answer; the caller has to give up
	FaultHangAfter           // the effect takes place, but no answer; the caller has to give up
	FaultLate                // the connection is reset; the effect takes place later, after the caller has its error
	FaultBreak               // the effect takes place; the answer breaks off in the middle of its body
)

func (k FaultKind) String() string {
	names := [...]string{"none", "fail", "reset", "lose", "fail-after", "hang", "hang-after", "late", "break"}
	if k < 0 || int(k) >= len(names) {
		return "unknown"
	}
	return names[k]
}

// FaultAction is the decision of a fault hook. The zero value lets the call pass.
type FaultAction struct {
	Kind    FaultKind
	Code    string        // default InternalServerError (SSM, EMR), InternalError (EC2)
	Message string        // default: AWS's text
	Status  int           // default 500
	Delay   time.Duration // extra delay before the effect, for every kind
	// Late is the time from the reset to the effect of a FaultLate.
	Late time.Duration
	// Then, if set, is called after the effect and before the response, without the model's lock. A
	// test can end the caller there.
	Then func()
}

// Fault sets the hook that is called before each call, including calls to IMDS. nil removes it. The
// hook runs on the caller's goroutine without the model's lock and may call the model's methods.
func (c *Cloud) Fault(hook func(Call) FaultAction) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = hook
}

// Watch sets the hook that is called right after the effect of each AWS call, before anything else
// happens. nil removes it. With [Options.UniqueTimes] the hook sees the state that the call has
// left. It runs on the caller's goroutine without the model's lock and may call the model's
// methods.
func (c *Cloud) Watch(hook func(Call)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watch = hook
}

// FaultRates are probabilities for [RandomFaults].
type FaultRates struct {
	Fail, Reset, Lose, Hang, Break float64
	Slow                           float64 // an extra delay of up to MaxSlow
	MaxSlow                        time.Duration
}

// RandomFaults returns a hook that draws faults from each call's own random stream. It affects only
// calls for which only returns true; a nil only selects all calls.
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
		}{{FaultFail, rates.Fail}, {FaultReset, rates.Reset}, {FaultLose, rates.Lose}, {FaultHang, rates.Hang}, {FaultBreak, rates.Break}} {
			if x < f.p {
				a.Kind = f.kind
				return a
			}
			x -= f.p
		}
		return a
	}
}

// errorFor returns the error for a FaultFail.
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

// Connection errors as an http.Transport returns them. The SDK decides by their types whether to
// retry.
var (
	errReset   = &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
)
