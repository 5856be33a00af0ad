package cloud

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/emr"
	emrtypes "github.com/aws/aws-sdk-go-v2/service/emr/types"

	"github.com/emr-static-ip/emr-static-ip/agent"
	clustercheck "github.com/emr-static-ip/emr-static-ip/agent/cluster"
	"github.com/emr-static-ip/emr-static-ip/agent/ledger"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// listArgs are the arguments of the clusters' bootstrap action.
var listArgs = []string{"10.0.1.20", "10.0.1.21-29"}

// motoCluster launches a cluster of one master and two core nodes in moto.
func motoCluster(ctx context.Context, t *testing.T, s *side) string {
	t.Helper()
	group := func(role emrtypes.InstanceRoleType, n int32) emrtypes.InstanceGroupConfig {
		return emrtypes.InstanceGroupConfig{Name: aws.String(string(role)), InstanceRole: role, InstanceType: aws.String("m5.xlarge"), InstanceCount: &n, Market: "ON_DEMAND"}
	}
	out, err := s.emr.RunJobFlow(ctx, &emr.RunJobFlowInput{Name: aws.String("etl"), ReleaseLabel: aws.String(DefaultRelease), JobFlowRole: aws.String("EMR_EC2_DefaultRole"),
		ServiceRole: aws.String("EMR_DefaultRole"), Instances: &emrtypes.JobFlowInstancesConfig{Ec2SubnetId: &s.subnet, KeepJobFlowAliveWhenNoSteps: aws.Bool(true),
			InstanceGroups: []emrtypes.InstanceGroupConfig{group("MASTER", 1), group("CORE", 2)}},
		BootstrapActions: []emrtypes.BootstrapActionConfig{{Name: aws.String("static-ip"), ScriptBootstrapAction: &emrtypes.ScriptBootstrapActionConfig{
			Path: aws.String("s3://bucket/emr-static-ip/bootstrap.sh"), Args: listArgs}}}})
	if err != nil {
		t.Fatal(err)
	}
	return *out.JobFlowId
}

// emrView is what EMR's calls show of a cluster, without ids and times.
func emrView(ctx context.Context, c *emr.Client, id string) (lines []string, err error) {
	d, err := c.DescribeCluster(ctx, &emr.DescribeClusterInput{ClusterId: &id})
	if err != nil {
		return nil, err
	}
	lines = append(lines, fmt.Sprint("cluster ", *d.Cluster.Name, " ", *d.Cluster.ReleaseLabel))
	groups, err := c.ListInstanceGroups(ctx, &emr.ListInstanceGroupsInput{ClusterId: &id})
	if err != nil {
		return nil, err
	}
	roles := map[string]string{}
	for _, g := range groups.InstanceGroups {
		roles[*g.Id] = string(g.InstanceGroupType)
		lines = append(lines, fmt.Sprint("group ", g.InstanceGroupType, " ", *g.RequestedInstanceCount, " of ", *g.RunningInstanceCount, " ", g.Status.State))
	}
	list, err := c.ListInstances(ctx, &emr.ListInstancesInput{ClusterId: &id})
	if err != nil {
		return nil, err
	}
	for _, i := range list.Instances {
		lines = append(lines, fmt.Sprint("instance ", roles[*i.InstanceGroupId], " ", strings.HasPrefix(*i.Ec2InstanceId, "i-"), " ", i.Status.State))
	}
	actions, err := c.ListBootstrapActions(ctx, &emr.ListBootstrapActionsInput{ClusterId: &id})
	if err != nil {
		return nil, err
	}
	for _, a := range actions.BootstrapActions {
		lines = append(lines, fmt.Sprint("action ", *a.Name, " ", *a.ScriptPath, " ", a.Args))
	}
	slices.Sort(lines)
	return lines, nil
}

// TestEMROnMoto compares the model's EMR with moto's, and runs the product's check of a cluster on
// moto.
func TestEMROnMoto(t *testing.T) {
	s := startMoto(t)
	t.Run("calls", func(t *testing.T) { compareEMR(t, s) })
	t.Run("cluster check", func(t *testing.T) { checkOnMoto(t, s) })
}

// compareEMR compares what the model's EMR and moto's show of the same cluster.
func compareEMR(t *testing.T, s *side) {
	ctx := ctxFor(t)
	theirs, err := emrView(ctx, s.emr, motoCluster(ctx, t, s))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, Options{})
	c, err := w.LaunchCluster(ClusterSpec{Name: "etl", Subnet: w.subnet, Cores: 2, Args: listArgs})
	if err != nil {
		t.Fatal(err)
	}
	ours, err := emrView(ctx, w.on("").emr, c.ID)
	if err != nil || !slices.Equal(ours, theirs) {
		t.Errorf("%v\nthe model:\n%s\nmoto:\n%s", err, strings.Join(ours, "\n"), strings.Join(theirs, "\n"))
	}
	_, unknown := w.on("").emr.DescribeCluster(ctx, &emr.DescribeClusterInput{ClusterId: aws.String("j-NONE")})
	if _, err := s.emr.DescribeCluster(ctx, &emr.DescribeClusterInput{ClusterId: aws.String("j-NONE")}); code(err) != code(unknown) || message(err) != message(unknown) {
		t.Errorf("an unknown cluster: the model %v, moto %v", unknown, err)
	}
}

// checkOnMoto runs the check. Moto does not tag EC2 instances as EMR does: they are found by EMR's
// list.
func checkOnMoto(t *testing.T, s *side) {
	ctx := ctxFor(t)
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "moto", "AWS_SECRET_ACCESS_KEY": "moto", "AWS_ENDPOINT_URL": s.endpoint} {
		t.Setenv(name, value)
	}
	cfg := agent.DefaultConfig()
	cfg.Region, cfg.Cluster = "us-east-1", motoCluster(ctx, t, s)
	check := func(complete bool, counts map[string]int) {
		t.Helper()
		r, err := clustercheck.Check(ctx, cfg, agent.Environment{}, func(args []string) (agent.Config, error) {
			read, err := agent.DefaultConfig(), error(nil)
			read.Pools, err = pool.Parse(pool.Args{Positional: args})
			return read, err
		})
		if err != nil || r.Complete != complete || fmt.Sprint(r.Counts) != fmt.Sprint(counts) || len(r.Unseen) > 0 || len(r.Notes) > 0 {
			t.Errorf("%v, %+v", err, r)
		}
	}
	check(false, map[string]int{clustercheck.NoAddress: 3})
	var list []emrtypes.Instance // the master first
	for _, role := range []emrtypes.InstanceGroupType{"MASTER", "CORE"} {
		out, err := s.emr.ListInstances(ctx, &emr.ListInstancesInput{ClusterId: &cfg.Cluster, InstanceGroupTypes: []emrtypes.InstanceGroupType{role}})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, out.Instances...)
	}
	for n, i := range list {
		out, err := s.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{*i.Ec2InstanceId}})
		if err != nil {
			t.Fatal(err)
		}
		instance := out.Reservations[0].Instances[0] // in another subnet than the one that was asked for
		eni, addr := *instance.NetworkInterfaces[0].NetworkInterfaceId, fmt.Sprintf("10.0.1.%d", 20+n)
		if _, err := s.ec2.AssignPrivateIpAddresses(ctx, assignInput(eni, false, addr)); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			check(false, map[string]int{clustercheck.NoRecord: 1, clustercheck.NoAddress: 2})
		}
		record := ssmcoord.Record{Instance: *i.Ec2InstanceId, ENI: eni, Time: instance.LaunchTime.UTC()}
		if _, err := s.ssm.PutParameter(ctx, putInput(agent.DefaultPrefix+"/"+*instance.SubnetId+"/"+addr, record.Render())); err != nil {
			t.Fatal(err)
		}
	}
	check(true, map[string]int{clustercheck.OK: 3})
	everywhere := cfg
	everywhere.AllRegions = true
	l, err := ledger.Run(ctx, ledger.List, everywhere, agent.Environment{})
	if err != nil || len(l.Regions) < 10 || len(l.Addresses) != 3 {
		t.Errorf("%v: %d addresses in %+v", err, len(l.Addresses), l.Regions)
	}
	for _, r := range l.Regions {
		if r.Detail != "" {
			t.Errorf("%+v", r)
		}
	}
	cfg.Cluster = "j-NONE"
	if _, err := clustercheck.Check(ctx, cfg, agent.Environment{}, nil); err == nil {
		t.Error("an unknown cluster is no error")
	}
}
