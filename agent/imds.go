package agent

import (
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
)

// maxMetadata bounds one answer of IMDS, in bytes.
const maxMetadata = 64 << 10

// imdsAttempt bounds one request to IMDS: it is on the node's own host.
const imdsAttempt = 3 * time.Second

// metadata reads IMDSv2. It never falls back to version 1.
type metadata struct {
	client *imds.Client
}

func openIMDS(env Environment) metadata {
	return metadata{imds.New(imds.Options{
		HTTPClient:            httpClient(env, imdsAttempt),
		Endpoint:              env.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"),
		Retryer:               aws.NopRetryer{}, // Identity goes round itself, until a deadline
		EnableFallback:        aws.FalseTernary,
		DisableDefaultTimeout: true, // the client's own bound holds
	})}
}

// Identity asks IMDS who this node is. IMDS may be late at boot: it is asked again until everything is there, for at most the given time. What it
// has answered once is not asked again: none of it changes during a boot.
func (m metadata) Identity(ctx context.Context, env Environment, atMost time.Duration) (Identity, error) {
	known := map[string]string{}
	wait := newPatience(env.logger())
	for began := time.Now(); ; {
		id, err := m.identity(ctx, known)
		if err == nil {
			return id, nil
		}
		if hasStatus(err, http.StatusForbidden) {
			return id, coded(ExitIdentity, err, "IMDS is switched off for this instance: aws ec2 modify-instance-metadata-options --instance-id ... --http-endpoint enabled")
		}
		if time.Since(began) > atMost {
			return id, coded(silent(err), fmt.Errorf("the Instance Metadata Service does not tell who this node is, asked for %s: %w", atMost, err), imdsRemedy)
		}
		wait.waiting(ctx, atMost, "for the Instance Metadata Service to tell who this node is: %s", withoutRequest(err.Error()))
		if serr := pause(ctx, jitter(env, time.Second)); serr != nil {
			return id, coded(silent(err), fmt.Errorf("asking the Instance Metadata Service: %w", errors.Join(err, serr)), imdsRemedy)
		}
	}
}

const imdsRemedy = "this must run on an EC2 instance; in a container the hop limit may be too low: " +
	"aws ec2 modify-instance-metadata-options --http-put-response-hop-limit 2"

// silent is the exit code for an IMDS that has not answered, or not with what was asked for.
func silent(err error) ExitCode {
	if hasResponse(err) {
		return ExitIdentity
	}
	return ExitUnreachable
}

func (m metadata) identity(ctx context.Context, known map[string]string) (Identity, error) {
	var id Identity
	var errs []error
	get := func(path string) string {
		if len(errs) > 0 {
			return ""
		}
		if v, ok := known[path]; ok {
			return v
		}
		v, err := m.get(ctx, path)
		if err != nil {
			errs = append(errs, err)
			return ""
		}
		known[path] = v
		return v
	}
	id.InstanceID = get("instance-id")
	id.InstanceType = get("instance-type")
	id.Region = get("placement/region")
	mac := get("mac")
	nic := "network/interfaces/macs/" + mac + "/"
	primary := get("local-ipv4")
	id.ENI = get(nic + "interface-id")
	id.SubnetID = get(nic + "subnet-id")
	subnet := get(nic + "subnet-ipv4-cidr-block")
	vpc := get(nic + "vpc-ipv4-cidr-blocks")
	addrs := get(nic + "local-ipv4s")
	if len(errs) > 0 {
		return id, errs[0]
	}
	fail := func(what, text string, err error) {
		errs = append(errs, fmt.Errorf("IMDS gives %s as %s: %w", what, quoted(text), err))
	}
	var err error
	if id.MAC, err = net.ParseMAC(mac); err != nil {
		fail("mac", mac, err)
	}
	if id.PrimaryIP, err = readIPv4(primary); err != nil {
		fail("local-ipv4", primary, err)
	}
	if id.Subnet, err = netip.ParsePrefix(subnet); err != nil {
		fail("subnet-ipv4-cidr-block", subnet, err)
	}
	for _, line := range strings.Fields(vpc) {
		p, err := netip.ParsePrefix(line)
		if err != nil {
			fail("vpc-ipv4-cidr-blocks", line, err)
		}
		id.VPC = append(id.VPC, p)
	}
	if len(id.VPC) == 0 {
		errs = append(errs, errors.New("IMDS gives no VPC CIDR"))
	}
	for _, line := range strings.Fields(addrs) {
		a, err := readIPv4(line)
		if err != nil {
			fail("local-ipv4s", line, err)
		}
		id.Addresses = append(id.Addresses, a)
	}
	for _, f := range []struct{ what, value, prefix string }{
		{"instance-id", id.InstanceID, "i-"}, {"interface-id", id.ENI, "eni-"}, {"subnet-id", id.SubnetID, "subnet-"},
	} {
		if !isResourceID(f.value, f.prefix) {
			fail(f.what, f.value, fmt.Errorf("not %s and hexadecimal digits", f.prefix))
		}
	}
	return id, errors.Join(errs...)
}

func (m metadata) get(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, imdsAttempt)
	defer cancel()
	out, err := m.client.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
	if err != nil {
		return "", fmt.Errorf("reading %s from IMDS: %w", path, err)
	}
	defer out.Content.Close()
	b, err := io.ReadAll(io.LimitReader(out.Content, maxMetadata+1))
	if err != nil {
		return "", fmt.Errorf("reading %s from IMDS: %w", path, err)
	}
	if len(b) > maxMetadata {
		return "", fmt.Errorf("reading %s from IMDS: more than %d bytes", path, maxMetadata)
	}
	v := strings.TrimSpace(string(b))
	if v == "" {
		return "", fmt.Errorf("reading %s from IMDS: the answer is empty", path)
	}
	return v, nil
}

// isResourceID tells whether s is an EC2 identifier: the prefix and 8 to 17 hexadecimal digits (more are let through, up to 40).
func isResourceID(s, prefix string) bool {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok || len(rest) < 1 || len(rest) > 40 {
		return false
	}
	return strings.Trim(rest, "0123456789abcdef") == ""
}
