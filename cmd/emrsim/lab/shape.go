package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// A Shape is how an account differs from one private subnet of its own. The zero value is that.
type Shape struct {
	// Subnets are those that an instance fleet is given. EMR launches in one of them: the one with
	// the number Chosen, from 1, or for 0 one that the seed picks.
	Subnets []netip.Prefix
	Chosen  int

	// VPC are the VPC's CIDRs, the primary one first. Empty: the /16 around the first subnet.
	VPC []netip.Prefix
	// DataCentre is the network behind the firewall. The zero Prefix: one that the VPC leaves free.
	DataCentre netip.Prefix

	// Public makes the subnets public: nodes have public addresses, AWS's endpoints are outside the
	// VPC, and an Internet gateway drops all but the nodes' primary IPs.
	Public bool
	// Shared makes the VPC another account's, which shares its subnets with the cluster's account.
	Shared bool
	// BucketPolicy is the policy of S3's buckets behind the gateway endpoint; empty: none.
	BucketPolicy string
}

// owner is the account that shares its VPC.
const owner = "999999999999"

// network builds VPC and subnets in the model. It returns the subnets' ids, in the order of the
// plan.
func (s Shape) network(account *cloud.Cloud, plan Plan) (subnets []string, err error) {
	vpc := account.CreateVPC(plan.CIDRs...)
	for _, cidr := range plan.Subnets {
		id := account.CreateSubnet(vpc, cidr)
		if s.Public {
			account.MapPublicIP(id)
		}
		subnets = append(subnets, id)
	}
	if s.Shared {
		account.ShareVPC(vpc, owner)
	}
	if s.BucketPolicy != "" {
		err = account.SetBucketPolicy(s.BucketPolicy)
	}
	return subnets, err
}

// plan returns the plan of a cluster in one subnet, or in any of several.
func (s Shape) plan(subnet netip.Prefix) (Plan, error) {
	subnets := s.Subnets
	if len(subnets) == 0 {
		subnets = []netip.Prefix{subnet}
	}
	if s.Chosen < 0 || s.Chosen > len(subnets) {
		return Plan{}, fmt.Errorf("subnet number %d: there are %d", s.Chosen, len(subnets))
	}
	s.Subnets = subnets
	p, err := newPlan(s)
	if s.Public {
		p.makePublic()
	}
	return p, err
}

// Check returns what is wrong with the networks of a cluster in one subnet, or in any of several.
func (s Shape) Check(subnet netip.Prefix) error {
	_, err := s.plan(subnet)
	return err
}

// pick returns the subnet that EMR is to pick, or "" for any.
func (s Shape) pick(subnets []string) string {
	if s.Chosen > 0 {
		return subnets[s.Chosen-1]
	}
	return ""
}

// openS3 serves S3 at one of its addresses, as a gateway endpoint of the VPC leads there.
func (l *Lab) openS3(ctx context.Context) error {
	if err := l.router.ip(ctx, "addr add "+cloud.S3Address.String()+"/32 dev lo"); err != nil {
		return err
	}
	listener, err := l.router.listen(ctx, netip.AddrPortFrom(cloud.S3Address, httpPort).String(), "")
	if err != nil {
		return err
	}
	l.s3 = serveHTTP(listener, l.spec.S3)
	return nil
}

// ErrDenied is the error of [Cluster.GetObject] if the bucket policy denies the request.
var ErrDenied = errors.New("the bucket policy denies it")

// GetObject reads an object of S3 on a node, with the node's credentials. It returns the source
// address that S3 saw. S3's refusal is an error with the HTTP status.
func (c *Cluster) GetObject(ctx context.Context, n *Node) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, transferWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+cloud.S3Address.String()+"/bucket/object", nil)
	if err != nil {
		return netip.Addr{}, err
	}
	none := sha256.Sum256(nil)
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err := signer.SignHTTP(ctx, c.Cloud.Credentials(n.Instance), req, hex.EncodeToString(none[:]), "s3", c.Cloud.Region(), time.Now()); err != nil {
		return netip.Addr{}, fmt.Errorf("signing a request to S3: %w", err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		return connect(ctx, n.ns, netip.Addr{}, address)
	}}}
	resp, err := client.Do(req)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("reading from S3 on %s: %w", n.Name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1000))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("reading from S3 on %s: %w", n.Name, err)
	}
	if resp.StatusCode == http.StatusForbidden {
		return netip.Addr{}, fmt.Errorf("reading from S3 on %s: %w: %s: %s", n.Name, ErrDenied, resp.Status, body)
	}
	if resp.StatusCode != http.StatusOK {
		return netip.Addr{}, fmt.Errorf("reading from S3 on %s: %s: %s", n.Name, resp.Status, body)
	}
	return netip.ParseAddr(strings.TrimSpace(string(body)))
}
