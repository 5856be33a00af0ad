package cloud

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
)

// S3Address is an address of S3 in the region: one of its prefix list, which a gateway endpoint
// routes.
var S3Address = netip.MustParseAddr("203.0.113.10")

// SourceIPBucketPolicy is the policy that AWS's guide has for buckets that only instances at their
// own address may use. It denies a request whose source address at the endpoint is not the primary
// private address of the instance that the credentials belong to:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
const SourceIPBucketPolicy = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "OwnAddressOnly",
      "Effect": "Deny",
      "Principal": "*",
      "Action": "s3:*",
      "Resource": "*",
      "Condition": {
        "StringNotEquals": { "aws:Ec2InstanceSourcePrivateIPv4": "${aws:VpcSourceIp}" },
        "Null": { "ec2:SourceInstanceARN": "false" },
        "BoolIfExists": { "aws:ViaAWSService": "false" }
      }
    }
  ]
}`

// SetBucketPolicy sets the policy of every bucket. Only its Deny statements have an effect: the
// instances' own role allows all of S3, as EMR's default role does.
func (c *Cloud) SetBucketPolicy(document string) error {
	p, err := iam.ParseResourcePolicy([]byte(document))
	if err != nil {
		return err
	}
	all, err := iam.ParsePolicy([]byte(`{"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}`))
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.s3policy = iam.Policies{all, p}
	return nil
}

// S3Handler serves S3 behind a gateway endpoint of the VPC. It answers a signed GET of any
// /BUCKET/KEY with the address that S3 sees as the request's source. The gateway endpoint does not
// translate addresses: S3 sees the source of the packet.
func (c *Cloud) S3Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c.answer(w, req, func(in *inbound) (*reply, error) {
			source, err := netip.ParseAddrPort(req.RemoteAddr)
			if err != nil {
				return nil, fmt.Errorf("reading the source of a request to S3: %w", err)
			}
			in.verify = true
			return c.serveS3(req, in, source.Addr())
		})
	})
}

func (c *Cloud) serveS3(req *http.Request, in *inbound, source netip.Addr) (*reply, error) {
	who, authErr := c.authenticate(in, "s3")
	if who == nil {
		who = c.callerOf("")
	}
	call := c.begin(who, "s3", "GetObject")
	call.Params = printable(in.path) + " from " + source.String()
	return c.perform(req.Context(), &call, func(now time.Time) ([]byte, bool, *Error) {
		switch {
		case authErr != nil:
			return nil, false, &Error{Code: authErr.Code, Message: authErr.Message, Status: http.StatusForbidden}
		case in.method != http.MethodGet || strings.Count(in.path, "/") < 2:
			return nil, false, notImplemented("s3 " + in.method + " " + printable(in.path))
		}
		if err := c.mayRead(who, in.path, source, now); err != nil {
			call.Message = err.Error()
			return nil, false, &Error{Code: "AccessDenied", Message: "Access Denied", Status: http.StatusForbidden}
		}
		return []byte(source.String() + "\n"), false, nil
	}, func(call *Call, body []byte, err *Error) *reply {
		if err != nil {
			return &reply{status: err.Status, contentType: "application/xml", body: []byte("<Error><Code>" + err.Code + "</Code><Message>" + err.Message + "</Message></Error>")}
		}
		return &reply{status: http.StatusOK, contentType: "text/plain", body: body}
	})
}

// mayRead asks the buckets' policy. The lock is held.
func (c *Cloud) mayRead(who *caller, path string, source netip.Addr, now time.Time) error {
	if c.s3policy == nil {
		return nil
	}
	arn := "arn:aws:s3:::" + strings.TrimPrefix(path, "/")
	keys := c.conditionKeys(who, &operation{}, arn, now)
	keys.Set(iam.KeyVPCSourceIP, source.String())
	keys.Set(iam.KeyViaAWSService, "false")
	for _, v := range c.vpcs {
		for _, p := range v.cidrs {
			if p.Contains(source) {
				keys.Set(iam.KeySourceVPCPath, v.id)
			}
		}
	}
	return c.s3policy.Authorize(AccessRequest{Caller: who.Caller, Action: "s3:GetObject", Resources: []string{arn}, Contexts: []iam.Keys{keys}})
}
