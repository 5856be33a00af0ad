package cloud

import (
	"testing"

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
