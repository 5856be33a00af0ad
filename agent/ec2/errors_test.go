package ec2

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go/middleware"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// httpAnswer is an endpoint of AWS that answers every request with the same. header is
// X-Amzn-ErrorType, if not empty.
type httpAnswer struct {
	status       int
	header, body string
	once         bool // later requests are answered with an empty list
	calls        *int
}

func (a httpAnswer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	*a.calls++
	if a.once && *a.calls > 1 {
		a.body = "<XResponse></XResponse>"
		if action := r.Header.Get("X-Amz-Target"); action != "" {
			a.body = "{}"
		}
	}
	h := http.Header{}
	if a.header != "" {
		h.Set("X-Amzn-ErrorType", a.header)
	}
	return &http.Response{
		StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, Header: h,
		ContentLength: int64(len(a.body)), Body: io.NopCloser(strings.NewReader(a.body)),
	}, nil
}

// config is the SDK's configuration for an endpoint that answers so, without repeated attempts.
func (a httpAnswer) config() aws.Config {
	return aws.Config{
		Region: "eu-west-1", Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		HTTPClient: &http.Client{Transport: a}, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		APIOptions: []func(*middleware.Stack) error{readAnswers},
	}
}

func ec2Error(code, message string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(message))
	return `<?xml version="1.0"?><Response><Errors><Error><Code>` + code + `</Code><Message>` + b.String() + `</Message></Error></Errors><RequestID>x</RequestID></Response>`
}

// FuzzAPIError: whatever an endpoint of AWS answers in the place of success, it is an error of at
// most one kind, with an exit code that does not say that nothing answered, and fit to be shown.
func FuzzAPIError(f *testing.F) {
	f.Add(400, "", ec2Error("InvalidParameterValue", "[10.0.1.21] assigned, but move is not allowed."))
	f.Add(400, "", ec2Error("InvalidParameterValue", "Address does not fall within the subnet's address range"))
	f.Add(400, "", ec2Error("InvalidParameterValue", "Address 10.0.1.2 is in subnet's reserved range."))
	f.Add(400, "", ec2Error("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit."))
	f.Add(403, "", ec2Error("UnauthorizedOperation", "You are not authorized to perform this operation. Encoded authorization failure message: abc"))
	for _, on := range []string{"", " on resource: arn:aws:ec2:eu-west-1:111122223333:network-interface/eni-0a1", " on resource: arn:aws:ssm:eu-west-1:111122223333:parameter/team/ips/subnet-0a/10.0.1.21"} {
		said := "You are not authorized to perform this operation. User: arn:aws:sts::111122223333:assumed-role/EMR_EC2_DefaultRole/i-0123 is not authorized to perform: it" + on
		f.Add(403, "", ec2Error("UnauthorizedOperation", said+" because no VPC endpoint policy allows it"))
		f.Add(400, "AccessDeniedException", `{"message":"`+said+` with an explicit deny in a service control policy"}`)
	}
	f.Add(401, "", ec2Error("AuthFailure", "AWS was not able to validate the provided access credentials"))
	f.Add(503, "", ec2Error("RequestLimitExceeded", "Request limit exceeded."))
	f.Add(400, "", ec2Error("InvalidNetworkInterfaceID.NotFound", "\x1b[2J\u202e"))
	f.Add(400, "", `{"__type":"AccessDeniedException","message":"User: arn is not authorized to perform: ssm:PutParameter"}`)
	f.Add(400, "ThrottlingException", `{"message":"Rate exceeded"}`)
	f.Add(400, "com.amazonaws.ssm#ParameterAlreadyExists:http://x", `{"Message":"exists"}`)
	f.Add(400, "ParameterNotFound", "")
	f.Add(400, "\u0001", `{"__type":1,"message":[]}`)
	f.Add(500, "", "<html><body>502 Bad Gateway\r\n</body></html>")
	f.Add(404, "", "")
	f.Add(307, "", "<Response><Errors/></Response>")
	addr := netip.MustParseAddr("10.0.1.21")
	f.Fuzz(func(t *testing.T, status int, header, body string) {
		if status < 300 || status > 599 {
			status = 300 + (status%300+300)%300
		}
		if strings.ContainsFunc(header, func(r rune) bool { return r < ' ' }) {
			return // no HTTP client gives such a header
		}
		calls := 0
		a := httpAnswer{status: status, header: header, body: body, calls: &calls}
		arbiter := NewNode(a.config(), anIdentity(), "", host.Environment{})
		ledger := ssmcoord.NewLedger(a.config(), "/emr-static-ip", "subnet-0a")
		_, assign := arbiter.API.AssignPrivateIpAddresses(t.Context(), &ec2.AssignPrivateIpAddressesInput{
			NetworkInterfaceId: aws.String("eni-0a1"), PrivateIpAddresses: []string{addr.String()},
		})
		_, read := ledger.Read(t.Context(), []netip.Addr{addr})
		created, create := ledger.Create(t.Context(), addr, ssmcoord.Record{Instance: "i-0a", ENI: "eni-0a1"})
		_, claims := ledger.Claims(t.Context(), "i-0a")
		_, own := arbiter.Holders(t.Context(), []netip.Addr{addr})
		if created {
			t.Fatalf("status %d created a claim", status)
		}
		for i, err := range []error{assign, read, create, claims, own} {
			if err == nil {
				// A record that is there already is an answer, not an error.
				if i == 2 {
					continue
				}
				t.Fatalf("call %d: status %d is success", i, status)
			}
			kinds := 0
			for _, is := range []func(error) bool{IsPermission, IsThrottle, isHeldElsewhere, isBadAddress, isENIFull} {
				if is(err) {
					kinds++
				}
			}
			if kinds > 1 && !(isHeldElsewhere(err) && isBadAddress(err)) {
				t.Fatalf("%d kinds of error: %v", kinds, err)
			}
			explained := ExplainAt(err, iam.Place{Region: "eu-west-1", Prefix: "/emr-static-ip"})
			odd, broken := (*oddAnswerError)(nil), (*brokenAnswerError)(nil)
			something := errors.As(err, &odd) || errors.As(err, &broken) // else has answered
			if code := exit.CodeOf(explained); code == exit.Unreachable && !something && definiteRefusals[ErrorCode(err)].code != exit.Unreachable || !hasResponse(err) {
				t.Fatalf("status %d is taken for silence (code %d): %v", status, code, err)
			}
			checkShown(t, explained)
			checkShown(t, Plain(explained))
			for _, remedy := range exit.Remedies(ExplainAt(err, iam.Place{Region: "eu-west-1", Subnet: "subnet-0a", Prefix: "/emr-static-ip"})) {
				// What is to be pasted into a policy is JSON, whatever AWS has said.
				if begin := strings.Index(remedy, "{"); begin >= 0 && !json.Valid([]byte(remedy[begin:])) {
					t.Fatalf("not a statement: %s", remedy)
				}
			}
		}
	})
}

// FuzzEC2Answer: an answer that EC2's clients take for a success is a whole one, and what is taken
// from it are IPv4 addresses. An answer that was cut off, or is of something else, is an error and
// never an empty list.
func FuzzEC2Answer(f *testing.F) {
	for _, body := range []string{
		`<DescribeNetworkInterfacesResponse><networkInterfaceSet><item><networkInterfaceId>eni-0a1</networkInterfaceId><attachment><instanceId>i-0a</instanceId></attachment>` +
			`<privateIpAddressesSet><item><privateIpAddress>10.0.1.5</privateIpAddress><primary>true</primary></item><item><privateIpAddress>10.0.1.21</privateIpAddress></item>` +
			`</privateIpAddressesSet></item></networkInterfaceSet></DescribeNetworkInterfacesResponse>`,
		`<DescribeNetworkInterfacesResponse><networkInterfaceSet><item><networkInterfaceId>eni-0a1</networkInterfaceId><privateIpAddressesSet><item>` +
			`<privateIpAddress>::1</privateIpAddress></item></privateIpAddressesSet></item></networkInterfaceSet><nextToken>x</nextToken></DescribeNetworkInterfacesResponse>`,
		`<DescribeInstancesResponse><reservationSet><item><instancesSet><item><instanceId>i-0b</instanceId><instanceState><name>terminated</name></instanceState>` +
			`<tagSet><item><key>aws:elasticmapreduce:job-flow-id</key><value>j-1</value></item></tagSet></item></instancesSet></item></reservationSet></DescribeInstancesResponse>`,
		`<DescribeInstanceTypesResponse><instanceTypeSet><item><networkInfo><ipv4AddressesPerInterface>15</ipv4AddressesPerInterface></networkInfo></item></instanceTypeSet></DescribeInstanceTypesResponse>`,
		`<DescribeNetworkInterfacesResponse/>`, "", "<html>sign in</html>", "<Response><Errors><Error><Code>x</Code></Error></Errors></Response>", "{}",
		`<DescribeInstancesResponse><reservationSet>`, `<?xml version="1.0"?><!-- --><DescribeInstancesResponse></DescribeInstancesResponse>`,
	} {
		f.Add(body)
	}
	asked := []netip.Addr{netip.MustParseAddr("10.0.1.21"), netip.MustParseAddr("10.0.1.22")}
	f.Fuzz(func(t *testing.T, body string) {
		for i, call := range []struct {
			root string
			do   func(context.Context, *Node) (empty bool, err error)
		}{
			{"DescribeNetworkInterfacesResponse", func(ctx context.Context, a *Node) (bool, error) {
				own, err := a.Own(ctx)
				for _, addr := range own {
					if !addr.Is4() {
						t.Fatalf("own address %v", addr)
					}
				}
				return len(own) == 0, err
			}},
			{"DescribeNetworkInterfacesResponse", func(ctx context.Context, a *Node) (bool, error) {
				holders, err := a.Holders(ctx, asked)
				for addr := range holders {
					if !slices.Contains(asked, addr) {
						t.Fatalf("%v was not asked for", addr)
					}
				}
				return len(holders) == 0, err
			}},
			{"DescribeInstancesResponse", func(ctx context.Context, a *Node) (bool, error) {
				lives, err := a.Lives(ctx, []string{"i-0b"})
				return len(lives) == 0, err
			}},
			{"DescribeInstanceTypesResponse", func(ctx context.Context, a *Node) (bool, error) {
				n, err := a.Capacity(ctx)
				return n == 0, err
			}},
		} {
			calls := 0
			answer := httpAnswer{status: 200, body: body, once: true, calls: &calls}
			a := NewNode(answer.config(), anIdentity(), "", host.Environment{Rand: func() float64 { return 0 }})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			empty, err := call.do(ctx, a)
			cancel()
			if err != nil {
				checkShown(t, ExplainAt(err, iam.Place{Region: "eu-west-1", Prefix: "/emr-static-ip"}))
				continue
			}
			if empty && calls == 1 && !whole(body, call.root) {
				t.Fatalf("call %d: an empty list was read from %q", i, body)
			}
		}
	})
}

// whole reports whether text begins with one XML element of this name that is complete.
func whole(text, root string) bool {
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := d.Token()
		if err != nil {
			return false
		}
		if start, ok := token.(xml.StartElement); ok {
			return start.Name.Local == root && d.Skip() == nil
		}
	}
}

// TestOddAnswer: a proxy that answers 200 with a page of its own, and an answer without a body, are
// not an empty list.
func TestOddAnswer(t *testing.T) {
	for _, body := range []string{"", "<html><body>Please sign in</body></html>", "<DescribeInstancesResponse><reservationSet>", "{}", "<!-- -->"} {
		calls := 0
		a := NewNode(httpAnswer{status: 200, body: body, calls: &calls}.config(), anIdentity(), "", host.Environment{})
		if lives, err := a.Lives(t.Context(), []string{"i-0b"}); err == nil {
			t.Errorf("%q: read as %v", body, lives)
		} else if code := exit.CodeOf(ExplainAt(err, iam.Place{Region: "eu-west-1", Prefix: "/x"})); !strings.HasPrefix(body, "<Desc") && code != exit.Unreachable {
			t.Errorf("%q: code %d for %v", body, code, err)
		}
	}
}
