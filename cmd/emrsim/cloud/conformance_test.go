package cloud

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// side is one of the two implementations that are compared: the model, or the emulator moto
// (https://docs.getmoto.org), or the judge that TestJudge is given.
type side struct {
	clients
	endpoint    string // of moto
	image       string // of the instances that furnish starts
	vpc, subnet string
	node        [2]struct{ id, eni, primary string }
}

// startMoto starts moto_server on a free port of the loopback interface. It stops with the test.
func startMoto(t *testing.T) *side {
	t.Helper()
	program, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("moto_server is not installed (pip install 'moto[server]'): nothing to compare with")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().(*net.TCPAddr)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-H", "127.0.0.1", "-p", fmt.Sprint(address.Port))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.Create(t.TempDir() + "/moto.log")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Skipf("moto_server does not start: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the process group also has the child of a wrapper script
		<-ended
		_ = log.Close()
	})
	url := "http://" + address.String()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		select {
		case err := <-ended:
			ended <- err
			b, _ := os.ReadFile(log.Name())
			t.Skipf("moto_server ended at once: %v\n%.500s", err, b)
		default:
		}
		if res, err := http.Get(url + "/moto-api/"); err == nil {
			_ = res.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("moto_server does not answer within 60 s")
		}
	}
	s := &side{endpoint: url, image: emulatorsImage, clients: newClients(aws.Config{Region: "us-east-1", BaseEndpoint: &url, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
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
	run, err := s.ec2.RunInstances(ctx, &ec2.RunInstancesInput{ImageId: &s.image, InstanceType: "m5.xlarge", SubnetId: &s.subnet, MinCount: aws.Int32(2), MaxCount: aws.Int32(2)})
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
	return modelOf(t, Options{})
}

func modelOf(t *testing.T, o Options) *side {
	t.Helper()
	c := New(o)
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
	compare(ctxFor(t), t, modelSide(t), moto, differences(), 0)
}

// compare makes the same calls to the model and to another side, with a pause after each.
func compare(ctx context.Context, t testing.TB, model, other *side, known map[string]difference, pause time.Duration) {
	t.Helper()
	table, same := maps.Clone(known), 0
	for _, st := range steps() {
		a, b := model.outcome(ctx, st), other.outcome(ctx, st)
		time.Sleep(pause)
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
			t.Logf("%s: known difference, %s is right\n  model %.150s\n  other %.150s", st.name, want.right, a, b)
		}
	}
	for name := range table {
		t.Errorf("the table has a row for %q, but there is no such step", name)
	}
	t.Logf("%d calls with the same outcome, %d known differences", same, len(known))
}

// difference is an expected difference. model and moto are the beginnings of the outcomes.
type difference struct{ model, moto, right string }

const (
	rightModelSSM    = "the model: PutParameter's documented limits"
	rightModelAssign = "the model: EC2's published error messages for AssignPrivateIpAddresses"
	rightFollows     = "the model: it follows from moto's having accepted an earlier call"
)

func differences() map[string]difference {
	return map[string]difference{
		"put 4097 bytes":                       {"400 ValidationException", "version 1", rightModelSSM},
		"put a template":                       {"400 ValidationException", "version 1", rightModelSSM},
		"put 16 levels":                        {"400 HierarchyLevelLimitExceededException", "version 1", rightModelSSM},
		"put a name with a space":              {"400 ValidationException", "version 1", rightModelSSM},
		"put a path without a slash":           {"400 ValidationException", "version 1", rightModelSSM},
		"by path":                              {"/c/0 /c/long /c/tagged", "/c/0 /c/a b", rightFollows},
		"by path, recursive":                   {"/c/0 /c/deep/er /c/long", "/c/0 /c/a b", rightFollows},
		"by path, pages of 1":                  {"/c/0 /c/deep/er /c/long", "/c/0 /c/a b", rightFollows},
		"by path, pages of 11":                 {"400 ValidationException", "400 ValidationException", "open: only the quoting in the text differs"},
		"assign another's":                     {"400 InvalidParameterValue: [10.0.1.20] assigned, but move is not allowed.", "ok", rightModelAssign},
		"assign another's primary":             {"400 InvalidParameterValue: secondary-addresses", "ok", rightModelAssign},
		"assign outside the subnet":            {"400 InvalidParameterValue: Address does not fall within the subnet's address range", "ok", rightModelAssign},
		"assign a reserved address":            {"400 InvalidParameterValue: Address 10.0.1.2 is in subnet's reserved range.", "ok", rightModelAssign},
		"assign the last address":              {"400 InvalidParameterValue: Address 10.0.1.255 is in subnet's reserved range.", "ok", rightModelAssign},
		"assign more than fit":                 {"400 PrivateIpAddressLimitExceeded", "ok", rightModelAssign},
		"interfaces by address":                {"ENI1 INSTANCE1 0 PRIMARY1 true 10.0.1.20 false", "", "the model: DescribeNetworkInterfaces documents the filter for all addresses; moto compares with the first"},
		"interfaces by instance":               {"ENI1 INSTANCE1 0 PRIMARY1 true 10.0.1.20 false", "ENI1 INSTANCE1 0 PRIMARY1 true 10.0.1.20 false PRIMARY0 false", rightFollows},
		"unassign again":                       {"400 InvalidParameterValue", "ok", "open: the documentation says nothing; the program must accept both"},
		"instance by id":                       {"INSTANCE1 running PRIMARY1 SUBNET VPC ENI1 1", "INSTANCE1 running PRIMARY1 SUBNET VPC ENI1 2", rightFollows},
		"an unknown filter":                    {"400 InvalidParameterValue", "operation error", "the model: moto answers with a page of its own"},
		"create a tag of AWS's":                {"400 InvalidParameterValue", "ok", "the model: the prefix aws: is documented as reserved"},
		"tag an unknown instance":              {"400 InvalidInstanceID.NotFound", "ok", "the model: CreateTags documents the error"},
		"describe tags":                        {"INSTANCE0 instance Name=n;", "INSTANCE0 instance Name=n;INSTANCE0 instance aws:x=n;", rightFollows},
		"assign another's primary with a move": {"400 InvalidParameterValue: secondary-addresses", "ok", rightModelAssign},
		"interfaces by subnet and address":     {"ENI1 INSTANCE1 0 PRIMARY1 true 10.0.1.20 false", "", rightFollows},
		"instances by state and subnet":        {"INSTANCE0 running PRIMARY0 SUBNET VPC ENI0 1; INSTANCE1", "INSTANCE", rightFollows},
	}
}
