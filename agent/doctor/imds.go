package doctor

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/verify"
)

// identity asks IMDSv2 who this node is. If that fails, it examines why.
func (d *examination) identity(ctx context.Context) []Finding {
	id, err := ec2.OpenIMDS(d.env).Identity(ctx, d.env, d.imdsTimeout())
	if err != nil {
		f := of(err, "imds", "")
		if ctx.Err() == nil {
			if why, remedy := d.knockIMDS(ctx).explain(); why != "" {
				f.Detail, f.Remedy = why+": "+f.Detail, text.Clean(remedy, text.MaxLine)
			}
		}
		return []Finding{f}
	}
	d.facts.ID, d.known = id, true
	return append([]Finding{fine("imds", "", "IMDSv2: %s (%s) in %s (%s), primary IP %s on %s", id.InstanceID, text.Clean(id.InstanceType, text.MaxQuoted), id.SubnetID, id.Subnet, id.PrimaryIP, id.ENI)},
		d.ownState()...)
}

// knock holds IMDS's answers to two requests: one for a token (version 2), and one without a token
// (version 1).
type knock struct {
	token, plain       int   // HTTP status; 0: none
	tokenErr, plainErr error // why there is none
}

// knockIMDS asks IMDS without the SDK, whose errors do not distinguish an IMDS of version 1, a hop
// limit that is too low, and no IMDS at all.
func (d *examination) knockIMDS(ctx context.Context) (k knock) {
	base := d.env.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT")
	if base == "" {
		base = "http://169.254.169.254"
	}
	base = strings.TrimSuffix(base, "/")
	client := ec2.HTTPClient(d.env, ec2.IMDSAttempt)
	ask := func(method, path string) (int, error) {
		ctx, cancel := context.WithTimeout(ctx, ec2.IMDSAttempt)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, method, base+path, nil)
		if err != nil {
			return 0, err
		}
		if method == http.MethodPut {
			req.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", "60")
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, ec2.MaxMetadata))
		return resp.StatusCode, err
	}
	k.token, k.tokenErr = ask(http.MethodPut, "/latest/api/token")
	k.plain, k.plainErr = ask(http.MethodGet, "/latest/meta-data/instance-id")
	return k
}

// explain returns what the answers mean, and what to do. Both are empty if the answers say no more
// than the error does.
func (k knock) explain() (why, remedy string) {
	const hops = "aws ec2 modify-instance-metadata-options --instance-id ... --http-put-response-hop-limit 2"
	plain := k.plain == http.StatusOK || k.plain == http.StatusUnauthorized
	switch {
	case k.token == http.StatusOK:
		return "IMDSv2 gives tokens, but not all of the metadata", "it may be late: run doctor again, or wait longer with --imds-timeout"
	case k.token == http.StatusForbidden:
		return "IMDS refuses, or something that answers in its place",
			ec2.ForbiddenRemedy
	case k.token == 0 && plain && verify.FailureOf(k.tokenErr) == verify.FailureTimeout:
		return "IMDS answers, but its token does not arrive: the hop limit is too low for where this runs (a container, a router on the way)", hops
	case k.plain == http.StatusOK:
		return "IMDS answers version 1 only, and this program uses version 2", "an emulation or a proxy stands in for IMDS: it must support PUT /latest/api/token"
	case k.token == 0 && k.plain == 0 && verify.FailureOf(k.tokenErr) == verify.FailureTimeout:
		return "nothing answers at IMDS's address", "this must run on an EC2 instance; on one, look at ip route get 169.254.169.254 and at rules that drop; in a container: " + hops
	case k.token == 0 && k.plain == 0:
		return "there is no IMDS here", "this must run on an EC2 instance; on one, look at ip route get 169.254.169.254 and at rules that reject"
	}
	return fmt.Sprintf("IMDS answers a request for a token with HTTP %d", k.token), ec2.IMDSRemedy(k.tokenErr)
}

// metadataOptions judges the instance's settings of IMDS, if EC2 shows them. The agent needs
// version 2 and nothing else.
func metadataOptions(o *ec2.MetadataOptions) Finding {
	if o == nil {
		return unknown("metadata-options", "", "", "EC2 does not show them")
	}
	text := fmt.Sprintf("tokens %s, hop limit %d, endpoint %s", text.Clean(o.Tokens, text.MaxQuoted), o.HopLimit, text.Clean(o.Endpoint, text.MaxQuoted))
	if o.Tokens == ec2.TokensOptional {
		return fine("metadata-options", "", "%s (IMDSv1 is let in too; this program does not need it)", text)
	}
	return fine("metadata-options", "", "%s", text)
}
