package cloud

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/emr"
	emrtypes "github.com/aws/aws-sdk-go-v2/service/emr/types"
)

func TestEMRCalls(t *testing.T) {
	bothWays(t, Options{}, func(t *testing.T, w *world, c clients) {
		ctx := ctxFor(t)
		fleet, err := w.LaunchCluster(ClusterSpec{Subnet: w.subnet, Cores: 2, Tasks: 1, Fleets: true, ReleaseLabel: "emr-6.15.0"})
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.emr.DescribeCluster(ctx, &emr.DescribeClusterInput{ClusterId: &fleet.ID})
		if err != nil || out.Cluster.InstanceCollectionType != emrtypes.InstanceCollectionTypeInstanceFleet || *out.Cluster.ReleaseLabel != "emr-6.15.0" ||
			out.Cluster.Status.State != emrtypes.ClusterStateRunning || *out.Cluster.Ec2InstanceAttributes.Ec2SubnetId != w.subnet || out.Cluster.Status.Timeline.CreationDateTime == nil {
			t.Errorf("cluster: %+v %v", out, err)
		}
		if _, err := c.emr.DescribeCluster(ctx, &emr.DescribeClusterInput{ClusterId: aws.String("j-NONE")}); code(err) != "InvalidRequestException" {
			t.Errorf("unknown cluster: %v", err)
		}
		groups, err := c.emr.ListInstanceGroups(ctx, &emr.ListInstanceGroupsInput{ClusterId: &w.cluster.ID})
		if err != nil || len(groups.InstanceGroups) != 2 || *groups.InstanceGroups[1].RequestedInstanceCount != 2 || groups.InstanceGroups[1].InstanceGroupType != "CORE" {
			t.Errorf("groups: %+v %v", groups, err)
		}
		if _, err := c.emr.ListInstanceGroups(ctx, &emr.ListInstanceGroupsInput{ClusterId: &fleet.ID}); code(err) != "InvalidRequestException" {
			t.Errorf("groups of fleets: %v", err)
		}
		fleets, err := c.emr.ListInstanceFleets(ctx, &emr.ListInstanceFleetsInput{ClusterId: &fleet.ID})
		if err != nil || len(fleets.InstanceFleets) != 3 || *fleets.InstanceFleets[1].TargetOnDemandCapacity != 2 {
			t.Errorf("fleets: %+v %v", fleets, err)
		}
		if _, err := c.emr.ListInstanceFleets(ctx, &emr.ListInstanceFleetsInput{ClusterId: &w.cluster.ID}); code(err) != "InvalidRequestException" {
			t.Errorf("fleets of groups: %v", err)
		}
		list, err := c.emr.ListInstances(ctx, &emr.ListInstancesInput{ClusterId: &w.cluster.ID, InstanceGroupTypes: []emrtypes.InstanceGroupType{"CORE"}})
		if err != nil || len(list.Instances) != 2 || *list.Instances[0].Ec2InstanceId != w.cores[0].InstanceID {
			t.Errorf("instances: %+v %v", list, err)
		}
	})
}

// TestEMRStates follows nodes from the request to the end, as EMR's list calls show them.
func TestEMRStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{BootTime: Exactly(time.Minute), ShutdownTime: Exactly(time.Minute)})
		c, ctx := w.on("").emr, t.Context()
		instance := func(id string) (state string, i emrtypes.Instance) {
			t.Helper()
			out, err := c.ListInstances(ctx, &emr.ListInstancesInput{ClusterId: &w.cluster.ID})
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range out.Instances {
				if aws.ToString(i.Ec2InstanceId) == id {
					return string(i.Status.State), i
				}
			}
			return "", i
		}
		cluster := func() *emrtypes.ClusterStatus {
			t.Helper()
			out, err := c.DescribeCluster(ctx, &emr.DescribeClusterInput{ClusterId: &w.cluster.ID})
			if err != nil {
				t.Fatal(err)
			}
			return out.Cluster.Status
		}
		groups := func() (list []emrtypes.InstanceGroup) {
			t.Helper()
			out, err := c.ListInstanceGroups(ctx, &emr.ListInstanceGroupsInput{ClusterId: &w.cluster.ID})
			if err != nil {
				t.Fatal(err)
			}
			return out.InstanceGroups
		}
		id := w.cores[0].InstanceID
		if s, i := instance(id); s != "PROVISIONING" || cluster().State != "STARTING" || groups()[1].Status.State != "PROVISIONING" || i.Status.Timeline.ReadyDateTime != nil {
			t.Errorf("at launch: %s, %+v", s, cluster())
		}
		time.Sleep(time.Minute)
		w.BeginBootstrap(id)
		w.BeginBootstrap(w.master.InstanceID)
		if s, _ := instance(id); s != "BOOTSTRAPPING" || cluster().State != "BOOTSTRAPPING" || groups()[1].Status.State != "BOOTSTRAPPING" {
			t.Errorf("in its bootstrap action: %s, %+v", s, cluster())
		}
		time.Sleep(time.Minute)
		w.EndBootstrap(w.master.InstanceID)
		w.FailBootstrap(id)
		if s, i := instance(id); s != "TERMINATED" || i.Status.StateChangeReason.Code != "BOOTSTRAP_FAILURE" || i.Status.Timeline.EndDateTime == nil {
			t.Errorf("failed: %s, %+v", s, i.Status)
		}
		if s, i := instance(w.master.InstanceID); s != "RUNNING" || cluster().State != "RUNNING" || i.Status.Timeline.ReadyDateTime == nil || cluster().Timeline.ReadyDateTime == nil {
			t.Errorf("in order: %s, %+v", s, cluster())
		}
		if out, err := c.ListInstances(ctx, &emr.ListInstancesInput{ClusterId: &w.cluster.ID, InstanceStates: []emrtypes.InstanceState{"RUNNING"}}); err != nil || len(out.Instances) != 2 {
			t.Errorf("running ones: %+v, %v", out, err)
		}
		if err := w.Await(w.cluster.ID, "CORE", 2); err != nil {
			t.Fatal(err)
		}
		if s, i := instance(""); s != "AWAITING_FULFILLMENT" || i.Ec2InstanceId != nil || *groups()[1].RequestedInstanceCount != 4 || groups()[1].Status.State != "RESIZING" {
			t.Errorf("awaited: %s, %+v", s, i)
		}
		n, err := w.AddNode(w.cluster.ID, "CORE")
		if err != nil {
			t.Fatal(err)
		}
		if s, _ := instance(n.InstanceID); s != "PROVISIONING" || *groups()[1].RequestedInstanceCount != 4 {
			t.Errorf("started: %s, %+v", s, groups()[1])
		}
		if w.Await("j-NONE", "CORE", 1) == nil {
			t.Error("nodes of an unknown cluster")
		}
		w.TerminateCluster(w.cluster.ID)
		if s := cluster(); s.State != "TERMINATING" || s.StateChangeReason.Code != "USER_REQUEST" || s.Timeline.EndDateTime != nil || groups()[0].Status.State != "TERMINATING" {
			t.Errorf("ending: %+v", s)
		}
		time.Sleep(2 * time.Minute)
		if s := cluster(); s.State != "TERMINATED" || s.Timeline.EndDateTime == nil {
			t.Errorf("ended: %+v", s)
		}
		if s, _ := instance(""); s != "" {
			t.Errorf("awaited by a cluster that has ended: %s", s)
		}
	})
}

// TestEMRPages reads lists of several pages, and asks for pages that do not exist.
func TestEMRPages(t *testing.T) {
	bothWays(t, Options{Quotas: DefaultQuotas()}, func(t *testing.T, w *world, c clients) {
		ctx := ctxFor(t)
		var actions []BootstrapAction
		for i := range 15 {
			actions = append(actions, BootstrapAction{Name: "a", Path: "s3://b/" + strconv.Itoa(i), Args: []string{"x", "y"}})
		}
		fleet, err := w.LaunchCluster(ClusterSpec{Subnet: w.subnet, Cores: 4, Fleets: true, FleetWeight: 3, InstancePage: 2, Args: []string{"10.0.1.20"}, OtherActions: actions})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		pages := emr.NewListInstancesPaginator(c.emr, &emr.ListInstancesInput{ClusterId: &fleet.ID})
		n := 0
		for ; pages.HasMorePages(); n++ {
			page, err := pages.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range page.Instances {
				seen[*i.Ec2InstanceId] = true
			}
		}
		if n != 3 || len(seen) != 5 {
			t.Errorf("%d pages, %d instances", n, len(seen))
		}
		var paths []string
		more := emr.NewListBootstrapActionsPaginator(c.emr, &emr.ListBootstrapActionsInput{ClusterId: &fleet.ID})
		for more.HasMorePages() {
			page, err := more.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range page.BootstrapActions {
				paths = append(paths, *a.ScriptPath)
			}
		}
		if len(paths) != 16 || paths[15] != "s3://b/14" {
			t.Errorf("bootstrap actions: %q", paths)
		}
		if _, err := c.emr.ListBootstrapActions(ctx, &emr.ListBootstrapActionsInput{ClusterId: &fleet.ID, Marker: aws.String("x")}); code(err) != "InvalidRequestException" {
			t.Errorf("no marker: %v", err)
		}
		fleets, err := c.emr.ListInstanceFleets(ctx, &emr.ListInstanceFleetsInput{ClusterId: &fleet.ID})
		if err != nil || *fleets.InstanceFleets[1].TargetOnDemandCapacity != 12 || *fleets.InstanceFleets[1].ProvisionedOnDemandCapacity != 12 {
			t.Errorf("fleets: %+v %v", fleets, err)
		}
		throttled := 0
		for range 12 {
			if _, err := c.emr.ListBootstrapActions(ctx, &emr.ListBootstrapActionsInput{ClusterId: &fleet.ID}); code(err) == "ThrottlingException" {
				throttled++
			}
		}
		if throttled < 1 {
			t.Error("no call of 15 was throttled")
		}
	})
}
