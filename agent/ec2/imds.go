package ec2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// MaxMetadata limits one answer of IMDS, in bytes.
const MaxMetadata = 64 << 10

// IMDSAttempt limits one request to IMDS, which is on the node's own host.
const IMDSAttempt = 3 * time.Second

// IMDS reads IMDSv2. It never falls back to version 1.
type IMDS struct {
	client *imds.Client
	watch  *imdsWatch
}

// OpenIMDS returns a reader of IMDS.
func OpenIMDS(env host.Environment) IMDS {
	watch := &imdsWatch{client: HTTPClient(env, IMDSAttempt)}
	return IMDS{watch: watch, client: imds.New(imds.Options{
		HTTPClient:            watch,
		Endpoint:              env.Getenv(imdsEndpoint),
		Retryer:               aws.NopRetryer{}, // Identity goes round itself, until a deadline
		EnableFallback:        aws.FalseTernary,
		ClientEnableState:     imds.ClientEnabled, // AWS_EC2_METADATA_DISABLED is meant for others
		DisableDefaultTimeout: true,               // the client's own bound holds
	})}
}

// imdsWatch notes in the attempt of a request's context what IMDS answered. Some of the SDK's
// errors have that only in their text.
type imdsWatch struct{ client aws.HTTPClient }

func (w *imdsWatch) Do(r *http.Request) (*http.Response, error) {
	a, ok := r.Context().Value(attemptKey{}).(*attempt)
	if !ok {
		a = &attempt{} // of the SDK, for credentials
	}
	a.status, a.token = 0, r.Method == http.MethodPut
	if a.sent != nil && !a.token {
		a.sent()
	}
	answer, err := w.client.Do(r)
	if err != nil {
		return nil, err
	}
	// The SDK reads the whole of an answer, without a limit: also that to the request for a token.
	body, whole, err := readBounded(answer.Body, MaxMetadata)
	answer.Body.Close()
	switch {
	case !whole:
		return nil, &oddMetadata{fmt.Errorf("%s more than %d bytes", pageText, MaxMetadata)}
	case err != nil:
		return nil, err
	case answer.StatusCode == http.StatusOK && isPage(body):
		return nil, &oddMetadata{fmt.Errorf("%s a page, which begins with %s", pageText, text.Quote(text.Line(string(body))))}
	case answer.StatusCode >= 300 && answer.StatusCode < 400:
		return nil, &oddMetadata{fmt.Errorf("%s HTTP %d, which leads elsewhere", pageText, answer.StatusCode)}
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	a.status = answer.StatusCode
	return answer, nil
}

// isPage reports whether a body is a page in HTML. No value of IMDS begins like one.
func isPage(body []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) }

// refusedMetadata is the error if IMDS answered with something else than a success.
type refusedMetadata struct {
	path   string // what was asked for
	status int    // of HTTP
	token  bool   // it was the request for an IMDSv2 token
	err    error
}

func (e *refusedMetadata) Error() string {
	switch {
	case e.token && e.status == http.StatusOK:
		return fmt.Sprintf("reading %s from IMDS: its answer to the request for a token is not a token", e.path)
	case e.token:
		return fmt.Sprintf("reading %s from IMDS: it answers HTTP %d to the request for a token", e.path, e.status)
	}
	return fmt.Sprintf("reading %s from IMDS: it answers HTTP %d", e.path, e.status)
}

func (e *refusedMetadata) Unwrap() error { return e.err }

// Identity asks IMDS who this node is. IMDS may be late at boot, so Identity asks until it has
// everything, for at most the given time. It asks for nothing twice, since none of it changes
// during a boot.
func (m IMDS) Identity(ctx context.Context, env host.Environment, atMost time.Duration) (Identity, error) {
	if err := checkIMDS(env); err != nil {
		return Identity{}, err
	}
	known := map[string]string{}
	began := time.Now()
	wait := host.NewProgress(env.Logger(), began)
	interval := func() time.Duration { return pause.Jitter(env.Random(), time.Second) }
	var id Identity
	done, err := pause.Poll(ctx, interval, func() (done bool, err error) {
		id, err = m.identity(ctx, known)
		switch {
		case err == nil:
			return true, nil
		case HasStatus(err, http.StatusForbidden):
			return true, exit.With(exit.Identity, err, ForbiddenRemedy)
		case isPageError(err):
			return true, exit.With(exit.Identity, err, oddIMDSRemedy)
		case time.Since(began) > atMost:
			return true, exit.With(silent(err), fmt.Errorf("the Instance Metadata Service (%s) has not identified this node within %s: %w", imdsHost(env), atMost, err), IMDSRemedy(err))
		}
		wait.Waiting(ctx, atMost, "for the Instance Metadata Service to say who this node is: %s", Clause(err))
		return false, err
	})
	if !done {
		return id, exit.With(silent(err), fmt.Errorf("asking the Instance Metadata Service (%s): %w", imdsHost(env), err), IMDSRemedy(err))
	}
	return id, err
}

// ForbiddenRemedy is what to do about an HTTP 403 in the place of IMDS. Off EC2 it is the answer of
// something between, such as a firewall. On an instance it is IMDS's own.
const ForbiddenRemedy = "this must run on an EC2 instance: elsewhere a proxy or a firewall answers in the place of IMDS. " +
	"On an instance IMDS is switched off (aws ec2 modify-instance-metadata-options --instance-id ... --http-endpoint enabled), or its requests go through a proxy, which IMDS refuses"

// pageText is in the text of each error that is about an answer of something else than IMDS. The
// SDK's errors about the token do not wrap what they are about.
const pageText = "something else answers, with"

// isPageError reports whether something else than IMDS has answered.
func isPageError(err error) bool { return strings.Contains(err.Error(), pageText) }

// imdsHost returns where IMDS is.
func imdsHost(env host.Environment) string {
	if endpoint := env.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"); endpoint != "" {
		return text.Clean(endpoint, text.MaxQuoted)
	}
	return "169.254.169.254"
}

// IMDSRemedy returns what to do about an IMDS that did not answer as it should.
func IMDSRemedy(err error) string {
	refused, odd := (*refusedMetadata)(nil), (*oddMetadata)(nil)
	switch answered := errors.As(err, &refused); {
	case answered && refused.token && (refused.status == http.StatusNotFound || refused.status == http.StatusMethodNotAllowed):
		return "the server at IMDS's address has version 1 only, and IMDSv2 is needed: let PUT /latest/api/token reach IMDS (an agent such as kube2iam may catch it)"
	case answered && refused.status == http.StatusTooManyRequests:
		return "IMDS throttles this node: find the program that asks it too often (ss -tnp dst 169.254.169.254), and run again"
	case answered && refused.status >= http.StatusInternalServerError:
		return "IMDS has a fault of its own: run again; if it lasts, stop and start the instance, or replace the node"
	case answered && !refused.token && refused.status == http.StatusNotFound && strings.Contains(refused.path, "ipv4"):
		return "IMDS does not have this yet: run again. If it lasts, the node has no IPv4 address, as in an IPv6-only subnet: launch it in a subnet with IPv4, since static IPs are IPv4 addresses"
	case answered && !refused.token && refused.status == http.StatusNotFound:
		return "IMDS does not have this yet: run again. If it lasts, " + oddIMDSRemedy
	case answered, errors.As(err, &odd):
		return oddIMDSRemedy
	}
	return "this must run on an EC2 instance; in a container the hop limit may be too low: " +
		"aws ec2 modify-instance-metadata-options --instance-id ... --http-put-response-hop-limit 2"
}

// silent returns the exit code for an IMDS that has not answered, or has answered with something
// else.
func silent(err error) exit.Code {
	if odd := (*oddMetadata)(nil); hasResponse(err) || errors.As(err, &odd) {
		return exit.Identity
	}
	return exit.Unreachable
}

// oddMetadata is the error of a malformed answer of IMDS.
type oddMetadata struct{ err error }

// oddIMDSRemedy is what to do about something else that answers in the place of IMDS.
const oddIMDSRemedy = "another server answers instead of IMDS: check AWS_EC2_METADATA_SERVICE_ENDPOINT, ip route get 169.254.169.254, and NAT rules and agents that catch its address"

func (e *oddMetadata) Error() string { return e.err.Error() }
func (e *oddMetadata) Unwrap() error { return e.err }

func (m IMDS) identity(ctx context.Context, known map[string]string) (Identity, error) {
	var id Identity
	if err := m.read(ctx, known, "instance-id", "instance-type", "placement/region", "mac"); err != nil {
		return id, err
	}
	mac := known["mac"]
	var err error
	if id.MAC, err = readMAC(mac); err != nil { // the other names are made of it
		return id, odd("mac", mac, err)
	}
	nic := "network/interfaces/macs/" + mac + "/"
	// IMDS has no public-ipv4s where there is no public address.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html
	err = m.read(ctx, known, "local-ipv4", nic+"interface-id", nic+"subnet-id", nic+"subnet-ipv4-cidr-block", nic+"vpc-ipv4-cidr-blocks",
		nic+"local-ipv4s", optional+nic+"public-ipv4s", optional+nic+"vpc-id") // only doctor needs the last
	if err != nil {
		return id, err
	}
	id.InstanceID, id.InstanceType, id.Region = known["instance-id"], known["instance-type"], known["placement/region"]
	id.ENI, id.SubnetID, id.VPCID = known[nic+"interface-id"], known[nic+"subnet-id"], known[nic+"vpc-id"]
	primary, subnet, vpc := known["local-ipv4"], known[nic+"subnet-ipv4-cidr-block"], known[nic+"vpc-ipv4-cidr-blocks"]
	addrs, public := known[nic+"local-ipv4s"], known[nic+"public-ipv4s"]
	var errs []error
	fail := func(what, value string, err error) {
		if len(errs) < text.MaxProblems {
			errs = append(errs, odd(what, value, err))
		}
	}
	if id.PrimaryIP, err = text.IPv4(primary); err != nil {
		fail("local-ipv4", primary, err)
	}
	if id.Subnet, err = readNetwork(subnet); err != nil {
		fail("subnet-ipv4-cidr-block", subnet, err)
	}
	for _, line := range strings.Fields(vpc) {
		p, err := readNetwork(line)
		if err != nil {
			fail("vpc-ipv4-cidr-blocks", line, err)
		}
		id.VPC = append(id.VPC, p)
	}
	for _, line := range strings.Fields(addrs) {
		a, err := text.IPv4(line)
		if err != nil {
			fail("local-ipv4s", line, err)
		}
		id.Addresses = append(id.Addresses, a)
	}
	for _, line := range strings.Fields(public) {
		a, err := text.IPv4(line)
		if err != nil {
			fail("public-ipv4s", line, err)
		}
		id.Public = append(id.Public, a)
	}
	for _, f := range []struct {
		what, value string
		want        text.Form
	}{
		{"instance-id", id.InstanceID, text.EC2ID("i-")}, {"interface-id", id.ENI, text.EC2ID("eni-")}, {"subnet-id", id.SubnetID, text.EC2ID("subnet-")},
		{"instance-type", id.InstanceType, text.Word("an instance type")}, {"placement/region", id.Region, text.Word("a region")},
	} {
		if !f.want.Fits(f.value) {
			fail(f.what, f.value, errors.New("is not "+f.want.Name))
		}
	}
	if id.VPCID != "" && !text.EC2ID("vpc-").Fits(id.VPCID) {
		fail("vpc-id", id.VPCID, errors.New("is not "+text.EC2ID("vpc-").Name))
	}
	return id, errors.Join(errs...)
}

// odd returns the error of a malformed answer of IMDS.
func odd(what, value string, err error) error {
	return &oddMetadata{fmt.Errorf("IMDS gives %s as %s: %w", what, text.Quote(value), err)}
}

// readMAC reads the hardware address of an Ethernet interface.
func readMAC(s string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 || len(s) != len("02:00:00:00:00:00") {
		return nil, errors.New("is not a MAC address")
	}
	return mac, nil
}

// readNetwork reads an IPv4 network. AWS writes its first address.
func readNetwork(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() || p != p.Masked() {
		return netip.Prefix{}, errors.New("is not an IPv4 network")
	}
	return p, nil
}
