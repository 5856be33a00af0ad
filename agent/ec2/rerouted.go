package ec2

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// An endpoint that answered before the rules counts as cut off by them if cutOffCalls connections
// in a row time out, over at least cutOffAfter. EC2 assigns an address asynchronously, so a new
// address may lead nowhere for as long as describe calls may not show it.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssignPrivateIpAddresses.html
const (
	cutOffCalls = 2
	cutOffAfter = ssmcoord.DescribeLag
)

// CutOffError is the error of an endpoint that answered before the rules were programmed, and
// cannot be connected to since.
type CutOffError struct {
	Service string // ssm, ec2
	Err     error
}

// Error returns the message.
func (e *CutOffError) Error() string { return e.text() + e.Err.Error() }

// text returns the message without its cause.
func (e *CutOffError) text() string {
	return fmt.Sprintf("the %s endpoint answered before the rules were programmed, and no longer answers: the static IP does not reach it: ", e.Service)
}

// Unwrap returns the error of the last attempt.
func (e *CutOffError) Unwrap() error { return e.Err }

// IsCutOff reports whether the rules keep the node from an endpoint.
func IsCutOff(err error) bool {
	e := (*CutOffError)(nil)
	return errors.As(err, &e)
}

// Rerouted tells the session that rules were programmed: new connections may leave with another
// source address. Existing connections keep theirs, so the session closes them. The next call then
// shows whether the endpoint can be reached through the rules.
func (s *Session) Rerouted() {
	s.giveUp()
	s.Tally.reroute(time.Now())
}

// Restored tells the session that the rules are gone again.
func (s *Session) Restored() {
	s.giveUp()
	s.Tally.reroute(time.Time{})
}

// giveUp closes idle connections.
func (s *Session) giveUp() {
	if c, ok := s.Config.HTTPClient.(*http.Client); ok {
		c.CloseIdleConnections()
	}
}

// route holds what the tally knows about connections since the rules were programmed.
type route struct {
	since    time.Time       // when the rules were programmed; zero: not in this session
	answered map[string]bool // services that have answered since
	timeouts map[string]int  // connections that timed out in a row
}

func (t *Tally) reroute(since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.route = route{since: since, answered: map[string]bool{}, timeouts: map[string]int{}}
}

// judge returns a CutOffError instead of err if the rules are its cause. began is when the attempt
// began. The caller holds the lock.
func (r *route) judge(service string, before bool, began time.Time, err error) error {
	switch {
	case r.since.IsZero() || began.Before(r.since):
	case hasResponse(err):
		r.answered[service] = true
	case !connectTimedOut(err):
		r.timeouts[service] = 0 // a connection came about
	case before && !r.answered[service]:
		if r.timeouts[service]++; r.timeouts[service] >= cutOffCalls && time.Since(r.since) >= cutOffAfter {
			return &CutOffError{Service: service, Err: err}
		}
	}
	return err
}

// connectTimedOut reports whether a connection attempt got no answer.
func connectTimedOut(err error) bool {
	op, dns := (*net.OpError)(nil), (*net.DNSError)(nil)
	return errors.As(err, &op) && op.Op == "dial" && op.Timeout() && !errors.As(err, &dns)
}
