package cloud

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// roleName is the role in the EMR instance profile.
const roleName = "EMR_EC2_DefaultRole"

// caller is an identity with its credentials, counters and random streams.
type caller struct {
	Caller
	creds aws.Credentials
	index int
	seed  uint64
	calls int
	kinds map[kind]*kindCount
	due   []int64 // times at which its calls in flight take effect, with Options.UniqueTimes
}

type kind struct{ service, action string }

type kindCount struct {
	calls int
	seed  uint64
}

// addCaller makes credentials for an instance or for the operator. They are derived from the seed
// and never change. IMDS returns each time an expiry six hours ahead.
func (c *Cloud) addCaller(instanceID string) *caller {
	secret := sha256.Sum256([]byte(fmt.Sprintf("secret %d %s", c.opts.Seed, instanceID)))
	text := strings.ToUpper(hex.EncodeToString(secret[:]))
	w := &caller{index: len(c.callers), seed: mix(c.opts.Seed, "caller", instanceID), kinds: map[kind]*kindCount{}}
	w.InstanceID = instanceID
	w.creds = aws.Credentials{SecretAccessKey: text[:40]}
	if instanceID == "" {
		w.creds.AccessKeyID = "AKIA" + text[48:64]
		w.ARN = "arn:aws:iam::" + c.opts.Account + ":user/operator"
	} else {
		w.creds.AccessKeyID = "ASIA" + text[48:64]
		w.creds.SessionToken = "model-token-" + text[40:60]
		w.ARN = "arn:aws:sts::" + c.opts.Account + ":assumed-role/" + roleName + "/" + instanceID
	}
	w.AccessKeyID = w.creds.AccessKeyID
	c.callers[instanceID] = w
	c.byKey[w.AccessKeyID] = w
	return w
}

// callerOf returns the caller of an instance. An unknown id is treated as the operator.
func (c *Cloud) callerOf(instanceID string) *caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.callers[instanceID]; w != nil {
		return w
	}
	return c.callers[""]
}

// Credentials returns the instance's temporary credentials, as its IMDS does. For "" they are the
// operator's.
func (c *Cloud) Credentials(instanceID string) aws.Credentials { return c.callerOf(instanceID).creds }

// authorization is a parsed SigV4 Authorization header.
type authorization struct {
	key, date, region, service string
	signed                     []string
}

// parseAuthorization parses a header of this form:
//
//	AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request,
//	SignedHeaders=a;b, Signature=hex
func parseAuthorization(h string) (a authorization, ok bool) {
	rest, ok := strings.CutPrefix(h, "AWS4-HMAC-SHA256 ")
	if !ok {
		return a, false
	}
	signature := ""
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			f := strings.Split(value, "/")
			if len(f) != 5 || f[4] != "aws4_request" {
				return a, false
			}
			a.key, a.date, a.region, a.service = f[0], f[1], f[2], f[3]
		case "SignedHeaders":
			a.signed = strings.Split(value, ";")
		case "Signature":
			signature = value
		}
	}
	return a, a.key != "" && len(a.signed) > 0 && len(signature) == 64
}

// authenticate returns the caller that signed the request. Errors have the form of the called
// service.
func (c *Cloud) authenticate(in *inbound, service string) (*caller, *Error) {
	h := in.header.Get("Authorization")
	if h == "" {
		return nil, authError(service, "MissingAuthenticationToken", "Missing Authentication Token")
	}
	a, ok := parseAuthorization(h)
	if !ok {
		return nil, authError(service, "IncompleteSignature", "Authorization header is not a complete AWS4-HMAC-SHA256 signature")
	}
	c.mu.Lock()
	who := c.byKey[a.key]
	c.mu.Unlock()
	if who == nil {
		if c.opts.AnyCredentials {
			return c.callerOf(in.via), nil
		}
		return nil, authError(service, "UnrecognizedClient", "The security token included in the request is invalid.")
	}
	if in.header.Get("X-Amz-Security-Token") != who.creds.SessionToken {
		return nil, authError(service, "UnrecognizedClient", "The security token included in the request is invalid.")
	}
	region := c.opts.Region
	if service == "iam" {
		region = iamRegion
	}
	if a.region != region || (service != "" && a.service != service) {
		return nil, authError(service, "InvalidSignature", fmt.Sprintf("Credential should be scoped to a valid region and service: %s/%s, not %.64s/%.64s", region, service, a.region, a.service))
	}
	verify := in.verify || c.opts.VerifyInProcess
	if verify || c.clockSkew() != 0 {
		if err := checkDate(in, service, c.serviceTime()); err != nil {
			return nil, err
		}
	}
	if verify {
		if err := c.signer.check(in, a, who.creds); err != nil {
			return nil, authError(service, "InvalidSignature", err.Error())
		}
	}
	return who, nil
}

// authError returns an authentication failure in the words of the service.
func authError(service, what, message string) *Error {
	if service == "ec2" {
		switch what {
		case "MissingAuthenticationToken":
			return &Error{Code: what, Message: message, Status: http.StatusForbidden}
		case "IncompleteSignature":
			return &Error{Code: what, Message: message, Status: http.StatusBadRequest}
		case "InvalidSignature":
			return &Error{Code: "SignatureDoesNotMatch", Message: message, Status: http.StatusForbidden}
		}
		return &Error{Code: "AuthFailure", Message: "AWS was not able to validate the provided access credentials", Status: http.StatusUnauthorized}
	}
	if service == "iam" {
		code := map[string]string{"UnrecognizedClient": "InvalidClientTokenId", "InvalidSignature": "SignatureDoesNotMatch"}[what]
		if code == "" {
			code = what
		}
		return &Error{Code: code, Message: message, Status: http.StatusForbidden}
	}
	return &Error{Code: what + "Exception", Message: message, Status: http.StatusBadRequest}
}

// maxSkew is the largest accepted difference between a request's date and the service's clock.
const maxSkew = 5 * time.Minute

// basicFormat is the time format of a signature.
const basicFormat = "20060102T150405Z"

func signedAt(in *inbound) (time.Time, error) {
	date := in.header.Get("X-Amz-Date")
	at, err := time.Parse(basicFormat, date)
	if err != nil {
		return at, fmt.Errorf("Date must be in ISO-8601 'basic format': %.40q", date)
	}
	return at, nil
}

// serviceTime returns the time of the services' clock, which may differ from the nodes' clock.
func (c *Cloud) serviceTime() time.Time { return c.now().Add(c.clockSkew()) }

// checkDate refuses a signature whose date is too far from the service's clock. Each service has
// its own error text.
func checkDate(in *inbound, service string, now time.Time) *Error {
	at, err := signedAt(in)
	if err != nil {
		return authError(service, "InvalidSignature", err.Error())
	}
	early, late := now.Add(-maxSkew), now.Add(maxSkew)
	text := func(t time.Time) string { return t.UTC().Format(basicFormat) }
	switch {
	case !at.Before(early.Truncate(time.Second)) && !at.After(late):
		return nil
	case service == "ec2":
		return &Error{Code: "RequestExpired", Message: "Request has expired.", Status: http.StatusBadRequest}
	case at.Before(early):
		return authError(service, "InvalidSignature", fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - 5 min.)", text(at), text(early), text(now)))
	}
	return authError(service, "InvalidSignature", fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + 5 min.)", text(at), text(late), text(now)))
}

// verifier recomputes signatures with the SDK's own signer, which caches derived keys.
type verifier struct{ signer *v4.Signer }

func newVerifier() *verifier {
	return &verifier{signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })}
}

// check signs the request again and compares the signatures.
func (v *verifier) check(in *inbound, a authorization, creds aws.Credentials) error {
	at, err := signedAt(in)
	if err != nil {
		return err
	}
	url := "http://" + in.host + in.path
	if in.rawQuery != "" {
		url += "?" + in.rawQuery
	}
	again, err := http.NewRequest(in.method, url, bytes.NewReader(in.body))
	if err != nil {
		return fmt.Errorf("the request cannot be read: %w", err)
	}
	again.Body = io.NopCloser(bytes.NewReader(in.body))
	again.ContentLength = 0
	for _, name := range a.signed {
		switch name {
		case "host":
		case "content-length":
			again.ContentLength = int64(len(in.body))
		default:
			for _, value := range in.header.Values(name) {
				again.Header.Add(name, value)
			}
		}
	}
	hash := sha256.Sum256(in.body)
	// The signature covers the security token if its header is among the signed ones.
	if err := v.signer.SignHTTP(context.Background(), creds, again, hex.EncodeToString(hash[:]), a.service, a.region, at); err != nil {
		return fmt.Errorf("signing the request again: %w", err)
	}
	if signatureOf(again.Header.Get("Authorization")) != signatureOf(in.header.Get("Authorization")) {
		return fmt.Errorf("The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return nil
}

func signatureOf(authorization string) string {
	_, s, _ := strings.Cut(authorization, "Signature=")
	return s
}
