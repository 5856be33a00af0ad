package cloud

import (
	"context"
	"fmt"
	"maps"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/mototest"
)

// side is one of the two implementations that are compared: the model, or the emulator moto
// (https://docs.getmoto.org).
type side struct {
	clients
	endpoint    string // of moto
	vpc, subnet string
	node        [2]struct{ id, eni, primary string }
}

// startMoto starts moto_server with a subnet and two instances. It stops with the test.
func startMoto(t *testing.T) *side {
	t.Helper()
	url := mototest.Start(t)
	s := &side{endpoint: url, clients: newClients(aws.Config{Region: "us-east-1", BaseEndpoint: &url, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		Credentials: static(aws.Credentials{AccessKeyID: "moto", SecretAccessKey: "moto"})})}
	s.furnish(t)
	return s
}

// furnish makes a VPC, a subnet and two instances that run.
func (s *side) furnish(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	v, err := s.ec2.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	s.vpc = *v.Vpc.VpcId
	sub, err := s.ec2.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: &s.vpc, CidrBlock: aws.String("10.0.1.0/24")})
	if err != nil {
		t.Fatal(err)
	}
	s.subnet = *sub.Subnet.SubnetId
	run, err := s.ec2.RunInstances(ctx, &ec2.RunInstancesInput{ImageId: aws.String("ami-12c6146b"), InstanceType: "m5.xlarge", SubnetId: &s.subnet, MinCount: aws.Int32(2), MaxCount: aws.Int32(2)})
	if err != nil {
		t.Fatal(err)
	}
	for n, i := range run.Instances {
		s.node[n].id, s.node[n].eni, s.node[n].primary = *i.InstanceId, *i.NetworkInterfaces[0].NetworkInterfaceId, *i.PrivateIpAddress
	}
	started := &ec2.DescribeInstancesInput{InstanceIds: []string{s.node[0].id, s.node[1].id}}
	if err := ec2.NewInstanceRunningWaiter(s.ec2).Wait(ctx, started, 4*time.Minute); err != nil {
		t.Fatal(err)
	}
}

func modelSide(t *testing.T) *side {
	t.Helper()
	c := New(Options{})
	s := &side{vpc: c.CreateVPC(netip.MustParsePrefix("10.0.0.0/16"))}
	s.subnet = c.CreateSubnet(s.vpc, netip.MustParsePrefix("10.0.1.0/24"))
	c.ReserveCIDR(s.subnet, netip.MustParsePrefix("10.0.1.16/28"), "explicit")
	for n := range s.node {
		i, err := c.RunInstance(InstanceSpec{Subnet: s.subnet, PrimaryIP: netip.AddrFrom4([4]byte{10, 0, 1, byte(4 + n)})})
		if err != nil {
			t.Fatal(err)
		}
		s.node[n].id, s.node[n].eni, s.node[n].primary = i.InstanceID, i.ENI, i.PrimaryIP.String()
	}
	server := httptest.NewServer(c.Handler())
	t.Cleanup(server.Close)
	s.clients = newClients(aws.Config{Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: static(c.Credentials("")), Retryer: func() aws.Retryer { return aws.NopRetryer{} }})
	return s
}

var accountOfARN = regexp.MustCompile(`:[a-z0-9-]+:[0-9]{12}:`)

// outcome returns the outcome of a step in a comparable form: ids are replaced by names.
func (s *side) outcome(ctx context.Context, st step) string {
	text, err := st.call(ctx, s)
	if err != nil {
		text = fmt.Sprintf("%d %s: %s", statusOf(err), code(err), message(err))
		if code(err)[:1] == "?" {
			text = err.Error()
		}
	}
	for n, node := range s.node {
		text = strings.NewReplacer(node.id, fmt.Sprintf("INSTANCE%d", n), node.eni, fmt.Sprintf("ENI%d", n), node.primary, fmt.Sprintf("PRIMARY%d", n)).Replace(text)
	}
	text = accountOfARN.ReplaceAllString(text, ":REGION:ACCOUNT:")
	return strings.NewReplacer(s.subnet, "SUBNET", s.vpc, "VPC").Replace(text)
}

// TestConformance makes the same calls to the model and to moto. For each difference a row of the
// table says which of the two is right and gives the source. A difference without a row fails the
// test, and so does a row without a difference.
func TestConformance(t *testing.T) {
	moto := startMoto(t)
	compare(ctxFor(t), t, modelSide(t), moto, differences())
}

// compare makes the same calls to the model and to another side.
func compare(ctx context.Context, t testing.TB, model, other *side, known map[string]difference) {
	t.Helper()
	table, same := maps.Clone(known), 0
	for _, st := range steps() {
		a, b := model.outcome(ctx, st), other.outcome(ctx, st)
		want, known := table[st.name]
		delete(table, st.name)
		switch {
		case a == b && !known:
			same++
		case a == b:
			t.Errorf("%s: both outcomes are the same now: %s", st.name, a)
		case !known:
			t.Errorf("%s:\n  model %s\n  other %s", st.name, a, b)
		case !strings.HasPrefix(a, want.model) || !strings.HasPrefix(b, want.moto):
			t.Errorf("%s:\n  model %s\n  want  %s\n  other %s\n  want  %s", st.name, a, want.model, b, want.moto)
		default:
			t.Logf("%s: known difference, right is %s\n  model %.150s\n  other %.150s", st.name, want.right, a, b)
		}
	}
	for name := range table {
		t.Errorf("the table has a row for %q, but there is no such step", name)
	}
	t.Logf("%d calls with the same outcome, %d known differences", same, len(known))
}

// difference is an expected difference. model and moto are the beginnings of the outcomes.
type difference struct{ model, moto, right string }

func differences() map[string]difference {
	return map[string]difference{
		"assign more than fit":               {"400 PrivateIpAddressLimitExceeded", "ok", "the model: an interface of m5.xlarge has 15 addresses"},
		"instances by state and subnet":      {"INSTANCE0 running PRIMARY0 SUBNET VPC ENI0 1;", "INSTANCE", "the model: it follows from the call before"},
		"delete an interface that is in use": {"400 InvalidNetworkInterface.InUse", "ok", "the model: EC2's published error codes"},
	}
}
