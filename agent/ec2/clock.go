package ec2

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
)

// AWS refuses a signature whose time is more than 5 minutes from its own clock. The SDK corrects
// the times of its signatures by the dates of AWS's answers, and tries again, unless
// AWS_DISABLE_CLOCK_SKEW_CORRECTION is set. It does not do so after RequestExpired, an answer of
// EC2.
const (
	ClockLimit = 5 * time.Minute
	ClockNear  = time.Minute // a smaller difference is not reported
)

// AheadOf returns by how much the clock that dated an answer is ahead of this node's. It returns
// false if the answer has no date. sent and received are the node's times. A date has whole
// seconds.
func AheadOf(h http.Header, sent, received time.Time) (time.Duration, bool) {
	at, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0, false
	}
	ahead := at.Sub(sent.Add(received.Sub(sent) / 2))
	return ahead.Round(time.Second), true
}

// SkewText returns how this node's clock differs if AWS's is ahead by so much: "12m0s ahead of" or
// "12m0s behind".
func SkewText(ahead time.Duration) string {
	if ahead > 0 {
		return fmt.Sprintf("%s behind", ahead)
	}
	return fmt.Sprintf("%s ahead of", -ahead)
}

// ClockRemedy is what to do about a wrong clock.
const ClockRemedy = "set the node's clock: chronyc makestep, then chronyc tracking (Amazon Time Sync is at 169.254.169.123; systemctl status chronyd)"

// ClockError returns err with the difference of the clocks if a wrong clock is why AWS, or a
// certificate, was refused. Otherwise it returns nil.
func ClockError(err error, now time.Time) error {
	if invalid := (x509.CertificateInvalidError{}); errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return exit.With(exit.Unreachable, fmt.Errorf("by this node's clock (%s) the endpoint's certificate is not valid: %w", now.UTC().Format(time.RFC3339), err), ClockRemedy)
	}
	var ahead time.Duration
	var known bool
	if r := (*smithyhttp.ResponseError)(nil); errors.As(err, &r) && r.Response != nil {
		ahead, known = AheadOf(r.Response.Header, now, now)
	}
	switch code, message := ErrorCode(err), ErrorMessage(err); {
	case code == "RequestExpired", code == "RequestTimeTooSkewed", code == "RequestInTheFuture":
	case strings.Contains(message, "Signature expired"), strings.Contains(message, "Signature not yet current"):
	case known && ahead.Abs() > ClockLimit && (code == "AuthFailure" && strings.Contains(message, "not able to validate") || code == "SignatureDoesNotMatch" || code == "InvalidSignatureException"):
	default:
		return nil
	}
	what := "this node's clock is wrong: AWS refuses requests that are more than 5 minutes from its own time"
	remedy := ClockRemedy
	switch {
	case known && ahead.Abs() < ClockNear:
		what = "AWS refused the time of the request, although its clock and this node's agree now"
		remedy = "run again: the clock was set meanwhile, or something on the way held the request back (a proxy). If it lasts, " + ClockRemedy
	case known:
		what = fmt.Sprintf("this node's clock is wrong, %s AWS's: AWS refuses requests that are more than 5 minutes from its own time", SkewText(ahead))
	}
	return exit.With(exit.Permission, fmt.Errorf("%s: %w", what, err), remedy)
}
