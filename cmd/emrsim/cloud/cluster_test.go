package cloud

import (
	"encoding/json"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func TestIdentifiers(t *testing.T) {
	w := newWorld(t, Options{Seed: 7})
	same := newWorld(t, Options{Seed: 7})
	other := newWorld(t, Options{Seed: 8})
	for _, test := range []struct{ got, again, different, form string }{
		{w.vpc, same.vpc, other.vpc, `^vpc-0[0-9a-f]{16}$`},
		{w.subnet, same.subnet, other.subnet, `^subnet-0[0-9a-f]{16}$`},
		{w.cluster.ID, same.cluster.ID, other.cluster.ID, `^j-[0-9A-Z]{13}$`},
		{w.master.GroupID, same.master.GroupID, other.master.GroupID, `^ig-[0-9A-Z]{13}$`},
		{w.master.InstanceID, same.master.InstanceID, other.master.InstanceID, `^i-0[0-9a-f]{16}$`},
		{w.master.ENI, same.master.ENI, other.master.ENI, `^eni-0[0-9a-f]{16}$`},
		{w.master.MAC.String(), same.master.MAC.String(), other.master.MAC.String(), `^02(:[0-9a-f]{2}){5}$`},
		{w.Credentials(w.master.InstanceID).AccessKeyID, same.Credentials(w.master.InstanceID).AccessKeyID, other.Credentials(other.master.InstanceID).AccessKeyID, `^ASIA[0-9A-F]{16}$`},
	} {
		if !regexp.MustCompile(test.form).MatchString(test.got) || test.got != test.again || test.got == test.different {
			t.Errorf("got %s, with the same seed %s, with another seed %s; want the form %s", test.got, test.again, test.different, test.form)
		}
	}
}

func TestResize(t *testing.T) {
	w := newWorld(t, Options{})
	n, err := w.AddNode(w.cluster.ID, "core")
	if err != nil || n.Role != RoleCore || n.GroupID != w.cores[0].GroupID {
		t.Fatalf("nodes: %+v %v", n, err)
	}
	task, err := w.AddNode(w.cluster.ID, RoleTask)
	if err != nil || task.Role != RoleTask {
		t.Fatalf("task node: %+v %v", task, err)
	}
	if got := len(w.Cloud.Cluster(w.cluster.ID).Nodes); got != 5 {
		t.Errorf("%d nodes", got)
	}
	w.RemoveNode(n.InstanceID)
	if s := w.State(n.InstanceID); s != StateShuttingDown {
		t.Errorf("state of the removed node: %s", s)
	}
	w.TerminateCluster(w.cluster.ID)
	if s := w.Cloud.Cluster(w.cluster.ID).State; s != "TERMINATING" {
		t.Errorf("state of the cluster: %s", s)
	}
	if _, err := w.AddNode("j-NONE", RoleCore); err == nil {
		t.Error("a node was added to a cluster that does not exist")
	}
}

func TestReplaceMaster(t *testing.T) {
	for _, keep := range []bool{true, false} {
		w := newWorld(t, Options{})
		cl, err := w.LaunchCluster(ClusterSpec{Subnet: w.subnet, Masters: 3, Cores: 1, SecondENIOnMaster: true})
		if err != nil {
			t.Fatal(err)
		}
		old := cl.Nodes[1]
		c, ctx := w.on(""), t.Context()
		if _, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(old.ENI, false, "10.0.1.21")); err != nil {
			t.Fatal(err)
		}
		n, err := w.ReplaceMaster(old.InstanceID, keep)
		if err != nil {
			t.Fatal(err)
		}
		if n.PrimaryIP != old.PrimaryIP || n.ENI != old.ENI || n.MAC.String() != old.MAC.String() || n.InstanceID == old.InstanceID || n.SecondENI == nil || n.SecondENI.ID == old.SecondENI.ID {
			t.Errorf("replaced %+v by %+v", old, n)
		}
		if s := w.State(old.InstanceID); s != StateTerminated {
			t.Errorf("state of the old master: %s", s)
		}
		if holds := w.Holders(w.subnet, netip.MustParseAddr("10.0.1.21")); (len(holds) == 1) != keep {
			t.Errorf("keep=%t: holders %v", keep, holds)
		}
		out, err := c.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{n.InstanceID, old.InstanceID}})
		if err != nil || len(out.Reservations[0].Instances[0].NetworkInterfaces) != 2 || len(out.Reservations[1].Instances[0].NetworkInterfaces) != 0 {
			t.Errorf("DescribeInstances: %+v %v", out, err)
		}
		if got := metadataText(t, w.on(n.InstanceID), "instance-id"); got != n.InstanceID {
			t.Errorf("IMDS says %s", got)
		}
		if _, err := w.ReplaceMaster(old.InstanceID, keep); err == nil {
			t.Error("a master was replaced twice")
		}
	}
}

// TestDescribeIsFresh checks that each change drops the cached text of an instance.
func TestDescribeIsFresh(t *testing.T) {
	w := newWorld(t, Options{})
	c, ctx := w.on(""), t.Context()
	n := w.cores[0]
	read := func() string {
		out, err := c.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{n.InstanceID}})
		if err != nil {
			t.Fatal(err)
		}
		i := out.Reservations[0].Instances[0]
		s := string(i.State.Name)
		for _, e := range i.NetworkInterfaces {
			for _, a := range e.PrivateIpAddresses {
				s += " " + *a.PrivateIpAddress
			}
		}
		for _, tag := range i.Tags {
			s += " " + *tag.Value
		}
		return s
	}
	last := read()
	for _, change := range []func() error{
		func() error {
			_, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(n.ENI, false, "10.0.1.21"))
			return err
		},
		func() error {
			_, err := c.ec2.UnassignPrivateIpAddresses(ctx, &ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: &n.ENI, PrivateIpAddresses: []string{"10.0.1.21"}})
			return err
		},
		func() error {
			_, err := c.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{n.InstanceID}, Tags: []ec2types.Tag{{Key: aws.String("Name"), Value: aws.String("new")}}})
			return err
		},
		func() error {
			_, err := c.ec2.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{n.InstanceID}, Tags: []ec2types.Tag{{Key: aws.String("Name")}}})
			return err
		},
		func() error { w.Stop(n.InstanceID); return nil },
		func() error { w.Start(n.InstanceID); return nil },
		func() error { w.Terminate(n.InstanceID); return nil },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		now := read()
		if now == last {
			t.Errorf("the description did not change: %s", now)
		}
		last = now
	}
}

func TestEMRFiles(t *testing.T) {
	w := newWorld(t, Options{})
	ha, err := w.LaunchCluster(ClusterSpec{Subnet: w.subnet, Masters: 3, Cores: 2, ReleaseLabel: "emr-5.29.0"})
	if err != nil {
		t.Fatal(err)
	}
	fleet, err := w.LaunchCluster(ClusterSpec{Subnet: w.subnet, Cores: 2, Tasks: 1, Fleets: true})
	if err != nil {
		t.Fatal(err)
	}
	read := func(n *Node, style FileStyle, name string) map[string]any {
		t.Helper()
		files := n.EMRFiles(style)
		for _, dir := range infoDirs {
			if string(files[dir+"/"+name]) != string(files[infoDirs[0]+"/"+name]) {
				t.Errorf("%s differs in %s", name, dir)
			}
		}
		var v map[string]any
		if err := json.Unmarshal(files["mnt/var/lib/info/"+name], &v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return v
	}
	core := w.cores[0]
	if v := read(core, FilesMinimal, "instance.json"); v["isMaster"] != false || v["instanceGroupId"] != core.GroupID || len(v) != 2 {
		t.Errorf("instance.json: %v", v)
	}
	groups := read(core, FilesMinimal, "job-flow.json")["instanceGroups"].([]any)
	if g := groups[1].(map[string]any); len(groups) != 2 || g["instanceRole"] != "Core" || g["requestedInstanceCount"] != 2.0 || g["instanceGroupId"] != core.GroupID {
		t.Errorf("job-flow.json: %v", groups)
	}
	if got := len(read(core, FilesNoGroup, "job-flow.json")["instanceGroups"].([]any)); got != 1 {
		t.Errorf("job-flow.json without the own group has %d", got)
	}
	if _, ok := core.EMRFiles(FilesMinimal)["mnt/var/lib/info/extraInstanceData.json"]; ok {
		t.Error("the minimal set has extraInstanceData.json")
	}
	v := read(w.master, FilesFull, "extraInstanceData.json")
	if v["instanceRole"] != "master" || v["masterHost"] != "localhost" || v["haEnabled"] != false || v["jobFlowId"] != w.cluster.ID || v["region"] != "us-east-1" {
		t.Errorf("extraInstanceData.json of the master: %v", v)
	}
	args := v["startupScripts"].([]any)[0].(map[string]any)["args"].([]any)
	if len(args) != 2 || args[1] != "10.0.1.21" {
		t.Errorf("arguments: %v", args)
	}
	if v := read(core, FilesFull, "extraInstanceData.json"); v["masterHost"] != w.master.Hostname || v["instanceRole"] != "core" {
		t.Errorf("extraInstanceData.json of a core node: %v", v)
	}
	if v := read(ha.Nodes[1], FilesFull, "extraInstanceData.json"); v["haEnabled"] != true || len(v["candidates"].([]any)) != 3 || v["releaseLabel"] != "emr-5.29.0" {
		t.Errorf("extraInstanceData.json of three masters: %v", v)
	}
	state := string(core.EMRFiles(FilesFull)["var/lib/info/job-flow-state.txt"])
	if !strings.Contains(state, `jobFlowId: "`+w.cluster.ID+"\"\n") || !strings.Contains(state, "instanceRole: \"core\"\n") {
		t.Errorf("job-flow-state.txt: %s", state)
	}
	task := fleet.Nodes[3]
	if v := read(task, FilesFull, "instance.json"); v["instanceFleetId"] != task.GroupID || v["instanceGroupId"] != nil {
		t.Errorf("instance.json with fleets: %v", v)
	}
	if v := read(task, FilesFull, "job-flow.json"); v["instanceGroups"] != nil || len(v["instanceFleets"].([]any)) != 3 {
		t.Errorf("job-flow.json with fleets: %v", v)
	}
	other, err := w.RunInstance(InstanceSpec{Subnet: w.subnet})
	if err != nil || other.EMRFiles(FilesFull) != nil {
		t.Errorf("an instance that is not EMR's has files: %v", err)
	}
	if names := slices.Sorted(mapKeys(core.EMRFiles(FilesFull))); !slices.Contains(names, "mnt/var/lib/instance-controller/extraInstanceData.json") || len(names) != 13 {
		t.Errorf("files: %v", names)
	}
}

func mapKeys(m map[string][]byte) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
