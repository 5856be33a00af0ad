package cloud

import (
	"context"
	"errors"
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

var judge = flag.String("judge", "", "TestJudge compares the model with this: the endpoint of an emulator, or aws for the account of the environment's credentials")

// onAWS is the value of judge that means AWS itself.
const onAWS = "aws"

// awsPause is the time between two steps on AWS. It keeps to the quota of PutParameter, and lets
// describe calls show the step before.
const awsPause = 3 * time.Second

// TestJudge makes the calls of TestConformance to the model and to another judge. On AWS it makes a
// VPC with two instances and about ten parameters, and removes them.
func TestJudge(t *testing.T) {
	if *judge == "" {
		t.Skip("no judge is named: -args -judge http://HOST:PORT, or -judge aws")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	s, pause, known := &side{image: emulatorsImage}, time.Duration(0), differences()
	if *judge == onAWS {
		cfg, err := config.LoadDefaultConfig(ctx)
		if err != nil {
			t.Fatal(err)
		}
		// AWS is right: whatever differs is a fault of the model.
		s.clients, s.image, pause, known = newClients(cfg), awsImage, awsPause, nil
	} else {
		s.clients = newClients(aws.Config{Region: "us-east-1", BaseEndpoint: judge, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
			Credentials: static(aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"})})
	}
	if names := s.parameters(ctx, t); len(names) > 0 {
		t.Fatalf("the account has parameters of these names, which this test would overwrite: %q", names)
	}
	defer s.clean(t)
	s.furnish(t)
	compare(ctx, t, modelSide(t), s, known, pause)
}

// Images of instances. AWS looks the name up in its public parameters.
const (
	emulatorsImage = "ami-12c6146b"
	awsImage       = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
)

// parameters returns the names of the parameters that the steps may have made.
func (s *side) parameters(ctx context.Context, t *testing.T) (names []string) {
	t.Helper()
	for _, path := range []string{"/c", "/l"} {
		p := ssm.NewGetParametersByPathPaginator(s.ssm, &ssm.GetParametersByPathInput{Path: &path, Recursive: aws.Bool(true)})
		for p.HasMorePages() {
			out, err := p.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range out.Parameters {
				names = append(names, *x.Name)
			}
		}
	}
	return names
}

// clean removes all that furnish and the steps have made.
func (s *side) clean(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	for _, name := range s.parameters(ctx, t) {
		if _, err := s.ssm.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: &name}); err != nil {
			t.Errorf("%s is left: %v", name, err)
		}
	}
	var ids []string
	for _, n := range s.node {
		if n.id != "" {
			ids = append(ids, n.id)
		}
	}
	if len(ids) > 0 {
		_, err := s.ec2.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: ids})
		err = errors.Join(err, ec2.NewInstanceTerminatedWaiter(s.ec2).Wait(ctx, &ec2.DescribeInstancesInput{InstanceIds: ids}, 8*time.Minute))
		if err != nil {
			t.Errorf("the instances %q may be left: %v", ids, err)
		}
	}
	if s.subnet != "" {
		if _, err := s.ec2.DeleteSubnet(ctx, &ec2.DeleteSubnetInput{SubnetId: &s.subnet}); err != nil {
			t.Errorf("the subnet %s is left: %v", s.subnet, err)
		}
	}
	if s.vpc != "" {
		if _, err := s.ec2.DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: &s.vpc}); err != nil {
			t.Errorf("the VPC %s is left: %v", s.vpc, err)
		}
	}
}

// TestJudgeCleansUp looks for what is left in an emulator. On AWS it would cost money.
func TestJudgeCleansUp(t *testing.T) {
	s := startMoto(t)
	ctx := ctxFor(t)
	for _, st := range steps() {
		if strings.HasPrefix(st.name, "put") || strings.HasPrefix(st.name, "assign") {
			_, _ = st.call(ctx, s)
		}
	}
	if names := s.parameters(ctx, t); len(names) == 0 {
		t.Error("the steps made no parameters")
	}
	s.clean(t)
	if names := s.parameters(ctx, t); len(names) > 0 {
		t.Errorf("left: %q", names)
	}
	out, err := s.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range out.Vpcs {
		if *v.VpcId == s.vpc {
			t.Errorf("left: %s", s.vpc)
		}
	}
}

// TestCompare compares the model with a model that is set otherwise: the difference is found, and
// so are differences that are expected and do not exist.
func TestCompare(t *testing.T) {
	for _, test := range []struct {
		other *side
		known map[string]difference
		fails bool
	}{
		{modelSide(t), nil, false},
		{modelSide(t), map[string]difference{"get": {}}, true},
		{modelSide(t), map[string]difference{"no such step": {}}, true},
		{modelOf(t, Options{AssignSameENI: OutcomeError}), nil, true},
		{modelOf(t, Options{AssignSameENI: OutcomeError}), map[string]difference{"assign again": {"ok", "400 InvalidParameterValue", "open"}}, false},
	} {
		got := &recorder{TB: t}
		compare(ctxFor(t), got, modelSide(t), test.other, test.known, 0)
		if failed := len(got.errors) > 0; failed != test.fails {
			t.Errorf("known %v: %q", test.known, got.errors)
		}
	}
}

// recorder keeps errors in place of failing the test.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Errorf(format string, args ...any) { r.errors = append(r.errors, format) }
