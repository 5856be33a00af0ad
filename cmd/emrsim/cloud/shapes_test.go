package cloud

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	shipped "github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
)

// TestSubnetsOfFleets checks that EMR picks one of the subnets of an instance fleet by the seed,
// and that a caller can choose it.
func TestSubnetsOfFleets(t *testing.T) {
	picked := map[string]bool{}
	for seed := range uint64(20) {
		c := New(Options{Seed: seed})
		vpc := c.CreateVPC(netip.MustParsePrefix("10.0.0.0/16"))
		var subnets []string
		for _, cidr := range []string{"10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"} {
			subnets = append(subnets, c.CreateSubnet(vpc, netip.MustParsePrefix(cidr)))
		}
		cl, err := c.LaunchCluster(ClusterSpec{Subnets: subnets, Fleets: true, Cores: 2})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range cl.Nodes {
			if n.SubnetID != cl.Nodes[0].SubnetID {
				t.Errorf("seed %d: nodes in %s and %s", seed, n.SubnetID, cl.Nodes[0].SubnetID)
			}
		}
		picked[cl.Nodes[0].Subnet.String()] = true
		if cl, err = c.LaunchCluster(ClusterSpec{Subnets: subnets, Subnet: subnets[1], Fleets: true}); err != nil || cl.Nodes[0].SubnetID != subnets[1] {
			t.Errorf("seed %d: the chosen subnet: %+v, %v", seed, cl, err)
		}
		if _, err := c.LaunchCluster(ClusterSpec{Subnets: subnets}); err == nil || !strings.Contains(err.Error(), "instance groups take one subnet") {
			t.Errorf("instance groups in several subnets: %v", err)
		}
		if _, err := c.LaunchCluster(ClusterSpec{Subnets: subnets[:2], Subnet: subnets[2], Fleets: true}); err == nil {
			t.Error("a subnet that is not in the list was picked")
		}
	}
	if len(picked) != 3 {
		t.Errorf("picked %v in 20 launches", picked)
	}
}

// TestPublicSubnet checks what IMDS, EC2 and the Internet gateway say about a public address.
func TestPublicSubnet(t *testing.T) {
	w := newWorld(t, Options{})
	public := w.CreateSubnet(w.vpc, netip.MustParsePrefix("10.0.2.0/24"))
	w.MapPublicIP(public)
	cl, err := w.LaunchCluster(ClusterSpec{Subnet: public, Cores: 1, SecondENIOnMaster: true})
	if err != nil {
		t.Fatal(err)
	}
	n := cl.Nodes[0]
	if !n.PublicIP.IsValid() || n.PublicIP == cl.Nodes[1].PublicIP || n.SecondENI != nil {
		t.Fatalf("%+v", n)
	}
	c := w.on(n.InstanceID)
	mac := "network/interfaces/macs/" + n.MAC.String() + "/"
	for path, want := range map[string]string{
		"public-ipv4": n.PublicIP.String(), mac + "public-ipv4s": n.PublicIP.String(), mac + "ipv4-associations/" + n.PublicIP.String(): n.PrimaryIP.String(),
	} {
		if got := metadataText(t, c, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	private := w.cores[0]
	if text, ok := w.metadata(w.byID[private.InstanceID], "/latest/meta-data/network/interfaces/macs/"+private.MAC.String()+"/public-ipv4s", w.now()); ok {
		t.Errorf("public-ipv4s of a private instance: %q", text)
	}
	out, err := c.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{n.ENI}})
	if err != nil || len(out.NetworkInterfaces) != 1 || out.NetworkInterfaces[0].Association == nil || aws.ToString(out.NetworkInterfaces[0].Association.PublicIp) != n.PublicIP.String() {
		t.Errorf("%+v, %v", out, err)
	}
	static := netip.MustParseAddr("10.0.2.20")
	if _, err := c.ec2.AssignPrivateIpAddresses(t.Context(), &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: &n.ENI, PrivateIpAddresses: []string{static.String()}}); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[netip.Addr]netip.Addr{n.PrimaryIP: n.PublicIP, static: {}, private.PrimaryIP: {}} {
		if got, ok := w.Gateway(source); got != want || ok != want.IsValid() {
			t.Errorf("the Internet gateway makes %s of %s, want %s", got, source, want)
		}
	}
}

// TestSharedSubnet checks what a participant of a shared VPC sees, and that the shipped policy
// allows a node to work there. The policy before, with the participant's own account in the
// subnet's ARN, does not.
func TestSharedSubnet(t *testing.T) {
	const owner = "999999999999"
	document := shipped.Place{Region: "us-east-1", Account: "123456789012"}.Policy(shipped.InstanceProfile)
	for name, tt := range map[string]struct {
		document string
		want     string
	}{
		"shipped":         {document, ""},
		"before":          {strings.ReplaceAll(document, "us-east-1:*:subnet/", "us-east-1:123456789012:subnet/"), "UnauthorizedOperation"},
		"another account": {strings.ReplaceAll(document, "us-east-1:*:subnet/", "us-east-1:111111111111:subnet/"), "UnauthorizedOperation"},
	} {
		t.Run(name, func(t *testing.T) {
			var policies iam.Policies
			w := newWorld(t, Options{Authorize: func(r AccessRequest) error { return policies.OnInstances(r) }})
			policies = iam.Policies{mustPolicy(t, shipped.Place{Subnet: w.subnet}.Fill(tt.document))}
			operator := w.on("")
			if _, err := operator.ec2.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{w.subnet, w.vpc}, Tags: []ec2types.Tag{{Key: aws.String("Owner"), Value: aws.String("network")}}}); err != nil {
				t.Fatal(err)
			}
			w.ShareVPC(w.vpc, owner)
			taken, primary := netip.MustParseAddr("10.0.1.21"), netip.MustParseAddr("10.0.1.200")
			foreign := w.AddForeignENI(w.subnet, primary, taken)
			n := w.cores[0]
			c := w.on(n.InstanceID)
			assign := func(a string) error {
				_, err := c.ec2.AssignPrivateIpAddresses(t.Context(), &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: &n.ENI, PrivateIpAddresses: []string{a}})
				return err
			}
			if err := assign("10.0.1.20"); code(err) != tt.want {
				t.Errorf("assigning: %v, want %q", err, tt.want)
			}
			if tt.want != "" {
				return
			}
			for a, want := range map[string]string{taken.String(): "[10.0.1.21] assigned, but move is not allowed.", primary.String(): "secondary-addresses"} {
				if err := assign(a); message(err) != want {
					t.Errorf("assigning %s: %v, want %q", a, err, want)
				}
			}
			subnets, err := operator.ec2.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{SubnetIds: []string{w.subnet}})
			if err != nil {
				t.Fatal(err)
			}
			if s := subnets.Subnets[0]; aws.ToString(s.OwnerId) != owner || aws.ToString(s.SubnetArn) != "arn:aws:ec2:us-east-1:"+owner+":subnet/"+w.subnet || len(s.Tags) > 0 {
				t.Errorf("%+v", s)
			}
			for _, filter := range []ec2types.Filter{ec2Filter("addresses.private-ip-address", taken.String()), ec2Filter("network-interface-id", foreign)} {
				out, err := c.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{Filters: []ec2types.Filter{filter}})
				if err != nil || len(out.NetworkInterfaces) > 0 {
					t.Errorf("the interface of another account is listed: %+v, %v", out, err)
				}
			}
		})
	}
}

// TestGatewayEndpoint checks AWS's sample policy for buckets: S3 admits an instance that calls from
// its primary address, and no other source.
func TestGatewayEndpoint(t *testing.T) {
	w := newWorld(t, Options{})
	n := w.cores[0]
	get := func(instance, source string) (int, string) {
		creds := w.Credentials(instance)
		req := httptest.NewRequest(http.MethodGet, "http://"+S3Address.String()+"/bucket/key", nil)
		req.RequestURI, req.RemoteAddr = "", source+":40000"
		hash := sha256.Sum256(nil)
		if err := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).SignHTTP(context.Background(), creds, req, hex.EncodeToString(hash[:]), "s3", w.Region(), time.Now()); err != nil {
			t.Fatal(err)
		}
		answer := httptest.NewRecorder()
		w.S3Handler().ServeHTTP(answer, req)
		text, _ := io.ReadAll(answer.Body)
		return answer.Code, string(text)
	}
	static := "10.0.1.20"
	if status, text := get(n.InstanceID, static); status != http.StatusOK || text != static+"\n" {
		t.Errorf("without a policy: %d %s", status, text)
	}
	if err := w.SetBucketPolicy(SourceIPBucketPolicy); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		instance, source string
		want             int
	}{
		{n.InstanceID, n.PrimaryIP.String(), http.StatusOK},
		{n.InstanceID, static, http.StatusForbidden},
		{n.InstanceID, w.cores[1].PrimaryIP.String(), http.StatusForbidden},
		{"", static, http.StatusOK}, // no instance's credentials
	} {
		if status, text := get(tt.instance, tt.source); status != tt.want {
			t.Errorf("%q from %s: %d %s, want %d", tt.instance, tt.source, status, text, tt.want)
		}
	}
	for _, l := range w.prefixLists() {
		inside := false
		for _, p := range l.CIDRs {
			inside = inside || p.Contains(S3Address)
		}
		if inside != strings.HasSuffix(l.Name, ".s3") {
			t.Errorf("%s: %s in %s is %t", l.Name, S3Address, l.CIDRs, inside)
		}
	}
	if err := w.SetBucketPolicy(`{"Statement": {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}}`); err == nil {
		t.Error("a policy without a Principal was accepted")
	}
}
