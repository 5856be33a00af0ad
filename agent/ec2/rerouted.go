package ec2

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// cutOffCalls and cutOffAfter are how many connections in a row must time out, and for how long,
// until an endpoint that has answered before the rules counts as cut off by them. An address that
// EC2 has just assigned may lead nowhere for some seconds: the assignment is asynchronous.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssignPrivateIpAddresses.html
const (
	cutOffCalls = 2
	cutOffAfter = 20 * time.Second
)

// CutOffError is the error of an endpoint that answered before the rules were programmed, and to
// which no connection comes about with them.
type CutOffError struct {
	Service string // ssm, ec2
	Err     error
}

// Error returns the message.
func (e *CutOffError) Error() string { return e.text() + e.Err.Error() }

// text returns the message without its cause.
func (e *CutOffError) text() string {
	return fmt.Sprintf("the %s endpoint answered before the rules were programmed and does not with them: the static IP does not reach it: ", e.Service)
}

// Unwrap returns the error of the last attempt.
func (e *CutOffError) Unwrap() error { return e.Err }

// IsCutOff reports whether the rules keep the node from an endpoint.
func IsCutOff(err error) bool {
	e := (*CutOffError)(nil)
	return errors.As(err, &e)
}

// Rerouted tells the session that new connections may leave with another source address from now
// on: rules were programmed. Connections that exist keep their address, so the session gives them
// up. Its next call then shows whether the endpoint can be reached by the rules.
func (s *Session) Rerouted() {
	s.giveUp()
	s.Tally.reroute(time.Now())
}

// Restored tells the session that the rules are gone again.
func (s *Session) Restored() {
	s.giveUp()
	s.Tally.reroute(time.Time{})
}

// giveUp closes the connections that no call uses.
func (s *Session) giveUp() {
	if c, ok := s.Config.HTTPClient.(*http.Client); ok {
		c.CloseIdleConnections()
	}
}

// route is what the tally knows about connections since the rules were programmed.
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

// judge returns a CutOffError in the place of err if the rules are its cause. began is when the
// attempt began. The lock is held.
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

// connectTimedOut reports whether no connection came about because nothing answered.
func connectTimedOut(err error) bool {
	op, dns := (*net.OpError)(nil), (*net.DNSError)(nil)
	return errors.As(err, &op) && op.Op == "dial" && op.Timeout() && !errors.As(err, &dns)
}
