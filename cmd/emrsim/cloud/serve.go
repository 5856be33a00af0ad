package cloud

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
)

// Error is an error response of a service.
type Error struct {
	Code, Message string
	Status        int
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// notImplemented returns the error for something that the model does not implement.
func notImplemented(what string) *Error {
	return &Error{Code: "ModelNotImplemented", Message: "the cloud model does not implement " + what, Status: http.StatusNotImplemented}
}

// action is one API action. prepare parses and checks the parameters without using the model's
// state.
type action struct {
	service, name string
	shared        string // name of a shared quota
	prepare       func(*request) (*operation, *Error)
}

func (a *action) key() string { return a.service + ":" + a.name }

// request is a call while the model serves it.
type request struct {
	cloud  *Cloud
	body   []byte // JSON
	query  *query // EC2 and STS
	caller *caller
	call   *Call
}

// operation is a parsed call that is ready to run.
type operation struct {
	params     string   // for the record of calls
	unfiltered bool     // an EC2 describe call with neither ids nor filters
	resources  []string // ARNs, for Authorize
	keys       iam.Keys
	also       string   // a second action that the call needs on the same resources
	alsoOn     []string // or on these
	dryRun     bool
	// refuses, if set, is what the call would be refused with for a reason other than permissions.
	refuses func(now time.Time) *Error
	// run makes the call take effect and returns the body of the response. The model's lock is
	// held. applied reports whether state was changed.
	run func(now time.Time) (body []byte, applied bool, err *Error)
}

// inbound is a received HTTP request.
type inbound struct {
	method, host, path, rawQuery string
	header                       http.Header
	body                         []byte
	via                          string // instance whose transport is used; empty over HTTP
	verify                       bool
}

// reply is an HTTP response.
type reply struct {
	status      int
	contentType string
	body        []byte
	requestID   string
	errorType   string
	tokenTTL    string // of an IMDS token
	date        string // by the services' clock
	broken      bool   // half of the body arrives
}

// serve answers an AWS API call. Its error is an error of the connection or of the context.
func (c *Cloud) serve(ctx context.Context, in *inbound) (*reply, error) {
	r, err := c.call(ctx, in)
	if r != nil {
		r.date = c.serviceTime().UTC().Format(http.TimeFormat)
	}
	return r, err
}

// bare reports whether a request is not an API call but only asks whether the endpoint is there. An
// endpoint answers such an unsigned request with an HTTP error.
func (in *inbound) bare() bool {
	return (in.method == http.MethodGet || in.method == http.MethodHead) && in.rawQuery == "" && len(in.body) == 0 && in.header.Get("X-Amz-Target") == ""
}

func (c *Cloud) call(ctx context.Context, in *inbound) (*reply, error) {
	if in.bare() {
		call := c.begin(c.callerOf(in.via), "endpoint", "Knock")
		return c.perform(ctx, &call, func(time.Time) ([]byte, bool, *Error) { return nil, false, nil }, func(*Call, []byte, *Error) *reply {
			return &reply{status: http.StatusNotFound, contentType: "text/xml"}
		})
	}
	w := c.identify(in)
	caller, authErr := c.authenticate(in, w.service)
	who := caller
	if who == nil {
		who = c.callerOf("")
		if in.via != "" {
			who = c.callerOf(in.via)
		}
	}
	call := c.begin(who, w.service, w.action)
	r := &request{cloud: c, body: in.body, query: w.query, caller: who, call: &call}

	var op *operation
	err := w.err
	if err == nil {
		err = authErr
	}
	var perr *Error
	if err == nil {
		op, perr = w.act.prepare(r)
		if op != nil {
			call.Params = op.params
		}
	}
	return c.perform(ctx, &call, func(now time.Time) ([]byte, bool, *Error) {
		switch {
		case err != nil:
			return nil, false, err
		case !c.allow(c.bucketName(w.act, op), w.act.shared, now):
			return nil, false, throttled(w.service)
		case perr != nil:
			return nil, false, perr
		}
		if c.opts.Unverified.AddressFirst && op.refuses != nil {
			if e := op.refuses(now); e != nil {
				return nil, false, e
			}
		}
		if e := c.authorize(w.act, op, who, &call, now); e != nil {
			return nil, false, e
		}
		if op.dryRun {
			return nil, false, &Error{Code: "DryRunOperation", Message: "Request would have succeeded, but DryRun flag is set.", Status: http.StatusPreconditionFailed}
		}
		return op.run(now)
	}, w.render)
}

// perform is the frame around every call, including calls to IMDS: faults, latency, the effect
// under the lock, and the record.
func (c *Cloud) perform(ctx context.Context, call *Call, effect func(time.Time) ([]byte, bool, *Error), render func(*Call, []byte, *Error) *reply) (*reply, error) {
	if err := ctx.Err(); err != nil {
		return nil, c.canceled(call, err)
	}
	c.mu.Lock()
	hook := c.fault
	c.mu.Unlock()
	var f FaultAction
	if hook != nil {
		f = hook(*call)
		call.Fault = f.Kind
	}
	var latency time.Duration
	if c.opts.Latency != nil {
		latency = c.opts.Latency(newRand(mixNumber(call.Seed, 1)), *call)
	}
	if err := c.wait(ctx, c.slot(latency/2+f.Delay, call)); err != nil {
		return nil, c.canceled(call, err)
	}
	var body []byte
	var failure *Error
	place := -1
	switch f.Kind {
	case FaultFail:
		failure = f.errorFor(call.Service)
		call.Status, call.Code, call.Message = failure.Status, failure.Code, failure.Message
		c.recordNow(*call)
	case FaultReset:
		call.Code = "ConnectionReset"
		c.recordNow(*call)
		return nil, errReset
	case FaultHang:
		<-ctx.Done()
		call.Code = "Hung"
		c.recordNow(*call)
		return nil, ctx.Err()
	case FaultLate:
		go func() {
			time.Sleep(c.slot(f.Late, call))
			_, _, place := c.carryOut(call, effect)
			c.lost(place)
			if f.Then != nil {
				f.Then()
			}
		}()
		return nil, errReset
	default:
		body, failure, place = c.carryOut(call, effect)
	}
	if f.Then != nil {
		f.Then()
	}
	defer func() { c.answered(call, place) }()
	switch f.Kind {
	case FaultLose:
		c.lost(place)
		return nil, errReset
	case FaultHangAfter:
		<-ctx.Done()
		c.lost(place)
		return nil, ctx.Err()
	case FaultFailAfter:
		c.lost(place)
		body, failure = nil, f.errorFor(call.Service)
	}
	if err := c.wait(ctx, latency-latency/2); err != nil {
		c.lost(place)
		return nil, err
	}
	r := render(call, body, failure)
	if r.broken = f.Kind == FaultBreak; r.broken {
		c.lost(place)
	}
	return r, nil
}

// carryOut makes a call take effect, records it, and calls the Watch hook.
func (c *Cloud) carryOut(call *Call, effect func(time.Time) ([]byte, bool, *Error)) (body []byte, failure *Error, place int) {
	body, failure, place, watch := c.takeEffect(call, effect)
	if watch != nil && call.Service != "imds" {
		watch(*call)
	}
	return body, failure, place
}

func (c *Cloud) takeEffect(call *Call, effect func(time.Time) ([]byte, bool, *Error)) (body []byte, failure *Error, place int, watch func(Call)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.settle(now)
	call.Time = now
	body, call.Applied, failure = effect(now)
	call.Status = http.StatusOK
	if failure != nil {
		call.Status, call.Code = failure.Status, failure.Code
		if call.Message == "" {
			call.Message = failure.Message
		}
	}
	return body, failure, c.record(*call), c.watch
}

func (c *Cloud) canceled(call *Call, err error) error {
	call.Code = "Canceled"
	c.recordNow(*call)
	return err
}

func (c *Cloud) lost(place int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if place >= 0 && place < len(c.calls) {
		c.calls[place].Lost = true
	}
}

// answered notes how long a recorded call took. The record may have been emptied meanwhile.
func (c *Cloud) answered(call *Call, place int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if place >= 0 && place < len(c.calls) && c.calls[place].Caller == call.Caller && c.calls[place].Nth == call.Nth {
		c.calls[place].Took = c.now().Sub(call.Began)
	}
}

// slots is the largest number of callers with UniqueTimes.
const slots = 4096

// slot extends a wait so that it ends at a nanosecond reserved for this caller, at which none of
// the caller's other calls takes effect.
func (c *Cloud) slot(d time.Duration, call *Call) time.Duration {
	if !c.opts.UniqueTimes {
		return d
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now().UnixNano()
	at := now + int64(d)
	at += (call.slot - at%slots + slots) % slots
	who := c.callers[call.Caller]
	who.due = slices.DeleteFunc(who.due, func(t int64) bool { return t < now })
	for slices.Contains(who.due, at) {
		at += slots
	}
	who.due = append(who.due, at)
	return time.Duration(at - now)
}

// wait sleeps, or returns the context's error as soon as the context ends.
func (c *Cloud) wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin counts a call and sets its seed.
func (c *Cloud) begin(who *caller, service, action string) Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	who.calls++
	k := kind{service, action}
	n := who.kinds[k]
	if n == nil {
		n = &kindCount{seed: mix(who.seed, service, action)}
		who.kinds[k] = n
	}
	n.calls++
	return Call{Began: c.now(), Service: service, Action: action, Caller: who.InstanceID, slot: int64(who.index % slots), Nth: who.calls, OfKind: n.calls, Seed: mixNumber(n.seed, uint64(n.calls))}
}

func (c *Cloud) bucketName(a *action, op *operation) string {
	if op != nil && op.unfiltered {
		return a.key() + unfilteredSuffix
	}
	return a.key()
}

func throttled(service string) *Error {
	if service == "ec2" {
		return &Error{Code: "RequestLimitExceeded", Message: "Request limit exceeded.", Status: http.StatusServiceUnavailable}
	}
	if service == "iam" {
		return &Error{Code: "Throttling", Message: "Rate exceeded", Status: http.StatusBadRequest}
	}
	return &Error{Code: "ThrottlingException", Message: "Rate exceeded", Status: http.StatusBadRequest}
}
