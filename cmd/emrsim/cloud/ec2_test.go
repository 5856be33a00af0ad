package cloud

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func assignInput(eni string, move bool, addresses ...string) *ec2.AssignPrivateIpAddressesInput {
	return &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: &eni, PrivateIpAddresses: addresses, AllowReassignment: aws.Bool(move)}
}

// TestAssignErrors checks the code, text and status of every error in AWS's documentation.
func TestAssignErrors(t *testing.T) {
	bothWays(t, Options{}, func(t *testing.T, w *world, c clients) {
		ctx := ctxFor(t)
		own, other := w.cores[0].ENI, w.cores[1].ENI
		if _, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(other, false, "10.0.1.21")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(own, false, "10.0.1.22")); err != nil {
			t.Fatal(err)
		}
		var full []string // makes 15 addresses with the primary one and 10.0.1.22
		for n := 100; len(full) < 13; n++ {
			if a := netip.AddrFrom4([4]byte{10, 0, 1, byte(n)}); w.Holders(w.subnet, a) == nil {
				full = append(full, a.String())
			}
		}
		for _, test := range []struct {
			name, eni string
			move      bool
			addresses []string
			code, msg string
			status    int
		}{
			{"another's secondary", own, false, []string{"10.0.1.21"}, "InvalidParameterValue", "[10.0.1.21] assigned, but move is not allowed.", 400},
			{"another's primary", own, false, []string{w.master.PrimaryIP.String()}, "InvalidParameterValue", "secondary-addresses", 400},
			{"another's primary, move", own, true, []string{w.master.PrimaryIP.String()}, "InvalidParameterValue", "secondary-addresses", 400},
			{"EMR's second interface", own, true, []string{w.master.SecondENI.PrimaryIP.String()}, "InvalidParameterValue", "secondary-addresses", 400},
			{"outside the subnet", own, false, []string{"10.0.2.5"}, "InvalidParameterValue", "Address does not fall within the subnet's address range", 400},
			{"network address", own, false, []string{"10.0.1.0"}, "InvalidParameterValue", "Address 10.0.1.0 is in subnet's reserved range.", 400},
			{"fourth address", own, false, []string{"10.0.1.3"}, "InvalidParameterValue", "Address 10.0.1.3 is in subnet's reserved range.", 400},
			{"last address", own, false, []string{"10.0.1.255"}, "InvalidParameterValue", "Address 10.0.1.255 is in subnet's reserved range.", 400},
			{"no address", own, false, []string{"10.0.1"}, "InvalidParameterValue", "Value (10.0.1) for parameter privateIpAddress is invalid. Invalid IPv4 address.", 400},
			{"unknown ENI", "eni-0123456789abcdef0", false, []string{"10.0.1.24"}, "InvalidNetworkInterfaceID.NotFound", "The networkInterface ID 'eni-0123456789abcdef0' does not exist", 400},
			{"same ENI", own, false, []string{"10.0.1.22"}, "", "", 0},
			{"one good and one bad", own, false, []string{"10.0.1.25", "10.0.2.1"}, "InvalidParameterValue", "Address does not fall within the subnet's address range", 400},
			{"too many", own, false, append(full, "10.0.1.26"), "PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.", 400},
			{"as many as fit", own, false, full, "", "", 0},
			{"full", own, false, []string{"10.0.1.26"}, "PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.", 400},
		} {
			_, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(test.eni, test.move, test.addresses...))
			if code(err) != test.code || message(err) != test.msg || err != nil && statusOf(err) != test.status {
				t.Errorf("%s: %v, want %d %s: %s", test.name, err, test.status, test.code, test.msg)
			}
		}
		if h := w.Holders(w.subnet, netip.MustParseAddr("10.0.1.25")); h != nil {
			t.Errorf("a refused assignment assigned some addresses: %v", h)
		}
		if _, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(other, true, "10.0.1.22")); err != nil {
			t.Errorf("moving the address: %v", err)
		}
		if h := w.Holders(w.subnet, netip.MustParseAddr("10.0.1.22")); len(h) != 1 || h[0] != other {
			t.Errorf("after the move the holders are %v", h)
		}
	})
}

func TestAssignSameENIOtherAnswer(t *testing.T) {
	w := newWorld(t, Options{AssignSameENI: OutcomeError})
	c, ctx := w.on(w.cores[0].InstanceID), ctxFor(t)
	if _, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(w.cores[0].ENI, false, "10.0.1.22")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(w.cores[0].ENI, false, "10.0.1.22")); code(err) != "InvalidParameterValue" {
		t.Errorf("assigning the address again: %v", err)
	}
}

func TestUnassign(t *testing.T) {
	w := newWorld(t, Options{})
	c, ctx := w.on(w.cores[0].InstanceID), ctxFor(t)
	eni := w.cores[0].ENI
	if _, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(eni, false, "10.0.1.22")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, eni, address, code string }{
		{"own", eni, "10.0.1.22", ""},
		{"not there", eni, "10.0.1.22", "InvalidParameterValue"},
		{"the primary", eni, w.cores[0].PrimaryIP.String(), "InvalidParameterValue"},
		{"unknown ENI", "eni-0123456789abcdef0", "10.0.1.22", "InvalidNetworkInterfaceID.NotFound"},
	} {
		_, err := c.ec2.UnassignPrivateIpAddresses(ctx, &ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: &test.eni, PrivateIpAddresses: []string{test.address}})
		if code(err) != test.code {
			t.Errorf("%s: %v, want %q", test.name, err, test.code)
		}
	}
}

func TestNoArbiter(t *testing.T) {
	w := newWorld(t, Options{NoArbiter: true})
	c, ctx := w.on(""), ctxFor(t)
	for _, n := range w.cores {
		if _, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(n.ENI, false, "10.0.1.22")); err != nil {
			t.Fatal(err)
		}
	}
	if h := w.Holders(w.subnet, netip.MustParseAddr("10.0.1.22")); len(h) != 2 {
		t.Errorf("holders with NoArbiter: %v, want 2", h)
	}
}

func TestDescribeInstances(t *testing.T) {
	bothWays(t, Options{}, func(t *testing.T, w *world, c clients) {
		ctx := ctxFor(t)
		core := w.cores[1]
		if _, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(core.ENI, false, "10.0.1.21")); err != nil {
			t.Fatal(err)
		}
		out, err := c.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{w.master.InstanceID}})
		if err != nil || len(out.Reservations) != 1 {
			t.Fatalf("%+v %v", out, err)
		}
		i := out.Reservations[0].Instances[0]
		if *i.PrivateIpAddress != w.master.PrimaryIP.String() || i.State.Name != ec2types.InstanceStateNameRunning || i.LaunchTime == nil || len(i.NetworkInterfaces) != 2 ||
			*i.NetworkInterfaces[1].Attachment.DeviceIndex != 1 || *i.NetworkInterfaces[0].MacAddress != w.master.MAC.String() || *i.SubnetId != w.subnet {
			t.Errorf("instance of the master: %+v", i)
		}
		tags := map[string]string{}
		for _, tag := range i.Tags {
			tags[*tag.Key] = *tag.Value
		}
		if tags["Name"] != "hadoop" || tags["aws:elasticmapreduce:job-flow-id"] != w.cluster.ID || tags["aws:elasticmapreduce:instance-group-role"] != "MASTER" {
			t.Errorf("tags: %v", tags)
		}
		for _, test := range []struct {
			filters []ec2types.Filter
			want    int
		}{
			{[]ec2types.Filter{ec2Filter("tag:aws:elasticmapreduce:job-flow-id", w.cluster.ID)}, 3},
			{[]ec2types.Filter{ec2Filter("tag:aws:elasticmapreduce:instance-group-role", "CORE"), ec2Filter("instance-state-name", "pending", "running")}, 2},
			{[]ec2types.Filter{ec2Filter("instance-state-name", "stopped")}, 0},
			{[]ec2types.Filter{ec2Filter("tag:Name", "had*")}, 3},
			{[]ec2types.Filter{ec2Filter("tag-key", "Name")}, 3},
			{[]ec2types.Filter{ec2Filter("instance-id", core.InstanceID, w.master.InstanceID)}, 2},
			{[]ec2types.Filter{ec2Filter("private-ip-address", core.PrimaryIP.String())}, 1},
			{[]ec2types.Filter{ec2Filter("network-interface.addresses.private-ip-address", "10.0.1.21")}, 1},
			{[]ec2types.Filter{ec2Filter("network-interface.network-interface-id", core.ENI)}, 1},
		} {
			out, err := c.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: test.filters})
			if err != nil {
				t.Fatalf("%v: %v", *test.filters[0].Name, err)
			}
			if len(out.Reservations) != test.want {
				t.Errorf("filter %v: %d reservations, want %d", *test.filters[0].Name, len(out.Reservations), test.want)
			}
		}
		for _, test := range []struct {
			name string
			in   ec2.DescribeInstancesInput
			want string
		}{
			{"unknown", ec2.DescribeInstancesInput{InstanceIds: []string{"i-0123456789abcdef0"}}, "InvalidInstanceID.NotFound"},
			{"malformed", ec2.DescribeInstancesInput{InstanceIds: []string{"x"}}, "InvalidInstanceID.Malformed"},
			{"unknown filter", ec2.DescribeInstancesInput{Filters: []ec2types.Filter{ec2Filter("nonsense", "x")}}, "InvalidParameterValue"},
			{"ids and paging", ec2.DescribeInstancesInput{InstanceIds: []string{core.InstanceID}, MaxResults: aws.Int32(5)}, "InvalidParameterCombination"},
			{"page too small", ec2.DescribeInstancesInput{MaxResults: aws.Int32(4)}, "InvalidParameterValue"},
			{"bad token", ec2.DescribeInstancesInput{NextToken: aws.String("x")}, "InvalidNextToken"},
			{"dry run", ec2.DescribeInstancesInput{DryRun: aws.Bool(true)}, "DryRunOperation"},
			{"parameter not implemented", ec2.DescribeInstancesInput{IncludeManagedResources: aws.Bool(true)}, "ModelNotImplemented"},
		} {
			if _, err := c.ec2.DescribeInstances(ctx, &test.in); code(err) != test.want {
				t.Errorf("%s: %v, want %s", test.name, err, test.want)
			}
		}
	})
}

func TestDescribeNetworkInterfaces(t *testing.T) {
	w := newWorld(t, Options{})
	c, ctx := w.on(w.cores[0].InstanceID), ctxFor(t)
	core := w.cores[1]
	if _, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(core.ENI, false, "10.0.1.21")); err != nil {
		t.Fatal(err)
	}
	values := func(n int) []string {
		v := make([]string, n)
		for i := range v {
			v[i] = fmt.Sprintf("10.0.%d.%d", 1+i/200, i%200)
		}
		return v
	}
	for _, test := range []struct {
		name    string
		filters []ec2types.Filter
		want    int
		code    string
	}{
		{"address", []ec2types.Filter{ec2Filter("addresses.private-ip-address", "10.0.1.21")}, 1, ""},
		{"subnet", []ec2types.Filter{ec2Filter("subnet-id", w.subnet)}, 4, ""},
		{"address and subnet", []ec2types.Filter{ec2Filter("addresses.private-ip-address", "10.0.1.21", "10.0.1.22"), ec2Filter("subnet-id", w.subnet)}, 1, ""},
		{"instance", []ec2types.Filter{ec2Filter("attachment.instance-id", w.master.InstanceID)}, 2, ""},
		{"device", []ec2types.Filter{ec2Filter("attachment.instance-id", w.master.InstanceID), ec2Filter("attachment.device-index", "0")}, 1, ""},
		{"other subnet", []ec2types.Filter{ec2Filter("subnet-id", "subnet-0")}, 0, ""},
		{"too many values", []ec2types.Filter{ec2Filter("addresses.private-ip-address", values(201)...)}, 0, "FilterLimitExceeded"},
	} {
		out, err := c.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: test.filters})
		if code(err) != test.code || err == nil && len(out.NetworkInterfaces) != test.want {
			t.Errorf("%s: %v %v, want %d %q", test.name, out, err, test.want, test.code)
		}
	}
	if _, err := c.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: []ec2types.Filter{ec2Filter("addresses.private-ip-address", values(200)...)}}); err != nil {
		t.Errorf("200 values: %v", err)
	}
	out, err := c.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{core.ENI}})
	if err != nil {
		t.Fatal(err)
	}
	e := out.NetworkInterfaces[0]
	if len(e.PrivateIpAddresses) != 2 || !*e.PrivateIpAddresses[0].Primary || *e.PrivateIpAddresses[1].PrivateIpAddress != "10.0.1.21" || *e.PrivateIpAddresses[1].Primary ||
		*e.Attachment.InstanceId != core.InstanceID || *e.MacAddress != core.MAC.String() {
		t.Errorf("interface: %+v", e)
	}
}

func TestPaging(t *testing.T) {
	w := newWorld(t, Options{})
	if _, err := w.LaunchCluster(ClusterSpec{Subnet: w.subnet, Cores: 20}); err != nil {
		t.Fatal(err)
	}
	c, ctx := w.on(""), ctxFor(t)
	seen := map[string]bool{}
	p := ec2.NewDescribeInstancesPaginator(c.ec2, &ec2.DescribeInstancesInput{MaxResults: aws.Int32(7)})
	pages := 0
	for p.HasMorePages() {
		out, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, r := range out.Reservations {
			seen[*r.Instances[0].InstanceId] = true
		}
	}
	if len(seen) != 24 || pages != 4 {
		t.Errorf("%d instances in %d pages", len(seen), pages)
	}
}

func TestEC2Tags(t *testing.T) {
	w := newWorld(t, Options{})
	c, ctx := w.on(""), ctxFor(t)
	id := w.master.InstanceID
	tag := func(k, v string) []ec2types.Tag { return []ec2types.Tag{{Key: aws.String(k), Value: aws.String(v)}} }
	for _, test := range []struct {
		resource, key string
		want          string
	}{
		{id, "Name", ""},
		{w.master.ENI, "Name", ""},
		{w.subnet, "Name", ""},
		{w.vpc, "Name", ""},
		{id, "aws:x", "InvalidParameterValue"},
		{"i-0123456789abcdef0", "Name", "InvalidInstanceID.NotFound"},
		{"thing", "Name", "InvalidID"},
		{id, strings.Repeat("k", 129), "InvalidParameterValue"},
	} {
		_, err := c.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{test.resource}, Tags: tag(test.key, "a<b&c")})
		if code(err) != test.want {
			t.Errorf("%s %.10s: %v, want %q", test.resource, test.key, err, test.want)
		}
	}
	if _, err := c.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: tag("Dry", "x"), DryRun: aws.Bool(true)}); code(err) != "DryRunOperation" || statusOf(err) != 412 {
		t.Errorf("DryRun: %v", err)
	}
	read := func() map[string]string {
		out, err := c.ec2.DescribeTags(ctx, &ec2.DescribeTagsInput{Filters: []ec2types.Filter{ec2Filter("resource-id", id)}})
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]string{}
		for _, tg := range out.Tags {
			m[*tg.Key] = *tg.Value
		}
		return m
	}
	if m := read(); m["Name"] != "a<b&c" || len(m) != 3 {
		t.Errorf("tags: %v", m)
	}
	if _, err := c.ec2.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{id}, Tags: tag("Name", "other value")}); err != nil || read()["Name"] == "" {
		t.Errorf("deleting with another value: %v", err)
	}
	if _, err := c.ec2.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{id}, Tags: []ec2types.Tag{{Key: aws.String("Name")}}}); err != nil || len(read()) != 2 {
		t.Errorf("deleting: %v %v", err, read())
	}
}

func TestTypesSubnetsVPCs(t *testing.T) {
	w := newWorld(t, Options{})
	c, ctx := w.on(""), ctxFor(t)
	types, err := c.ec2.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []ec2types.InstanceType{"m5.xlarge"}})
	if err != nil || *types.InstanceTypes[0].NetworkInfo.Ipv4AddressesPerInterface != 15 || *types.InstanceTypes[0].NetworkInfo.MaximumNetworkInterfaces != 4 {
		t.Errorf("types: %+v %v", types, err)
	}
	if _, err := c.ec2.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []ec2types.InstanceType{"x.y"}}); code(err) != "InvalidInstanceType" {
		t.Errorf("unknown type: %v", err)
	}
	sub, err := c.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{w.subnet}})
	if err != nil || *sub.Subnets[0].CidrBlock != "10.0.1.0/24" || *sub.Subnets[0].AvailableIpAddressCount != 251-4 || *sub.Subnets[0].VpcId != w.vpc {
		t.Errorf("subnet: %+v %v", sub, err)
	}
	if _, err := c.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{"subnet-0"}}); code(err) != "InvalidSubnetID.NotFound" {
		t.Errorf("unknown subnet: %v", err)
	}
	v, err := c.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{w.vpc}})
	if err != nil || len(v.Vpcs[0].CidrBlockAssociationSet) != 2 || *v.Vpcs[0].CidrBlockAssociationSet[1].CidrBlock != "10.1.0.0/16" {
		t.Errorf("vpc: %+v %v", v, err)
	}
	res, err := c.ec2.GetSubnetCidrReservations(ctx, &ec2.GetSubnetCidrReservationsInput{SubnetId: &w.subnet})
	if err != nil || len(res.SubnetIpv4CidrReservations) != 1 || *res.SubnetIpv4CidrReservations[0].Cidr != "10.0.1.16/28" ||
		res.SubnetIpv4CidrReservations[0].ReservationType != ec2types.SubnetCidrReservationTypeExplicit {
		t.Errorf("reservations: %+v %v", res, err)
	}
}
