package cloud

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// TestLifecycle checks what happens to an address while its instance ends.
func TestLifecycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{BootTime: Exactly(5 * time.Second)})
		c, ctx := w.on(""), t.Context()
		id, eni := w.cores[0].InstanceID, w.cores[0].ENI
		state := func() string {
			out, err := c.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
			if err != nil {
				return code(err)
			}
			i := out.Reservations[0].Instances[0]
			if (i.State.Name == "terminated") != (len(i.NetworkInterfaces) == 0) || (i.State.Name == "terminated") != (i.PrivateIpAddress == nil) {
				t.Errorf("state %s with interfaces %+v", i.State.Name, i.NetworkInterfaces)
			}
			return string(i.State.Name)
		}
		holder := func() int { return len(w.Holders(w.subnet, netip.MustParseAddr("10.0.1.21"))) }
		want := func(s string, holders int) {
			t.Helper()
			if got := state(); got != s || w.State(id) != s && s != "InvalidInstanceID.NotFound" || holder() != holders {
				t.Errorf("state %s (%s), %d holders; want %s, %d", got, w.State(id), holder(), s, holders)
			}
		}
		want("pending", 0)
		time.Sleep(5 * time.Second)
		if _, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(eni, false, "10.0.1.21")); err != nil {
			t.Fatal(err)
		}
		want("running", 1)
		w.Stop(id)
		want("stopped", 1)
		w.Start(id)
		want("running", 1)
		w.Terminate(id)
		want("shutting-down", 1)
		if _, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(w.cores[1].ENI, false, "10.0.1.21")); message(err) != "[10.0.1.21] assigned, but move is not allowed." {
			t.Errorf("assigning the address while its instance is shutting down: %v", err)
		}
		time.Sleep(30 * time.Second)
		want("terminated", 0)
		if _, err := c.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{eni}}); code(err) != "InvalidNetworkInterfaceID.NotFound" {
			t.Errorf("ENI of a terminated instance: %v", err)
		}
		if _, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(w.cores[1].ENI, false, "10.0.1.21")); err != nil {
			t.Errorf("assigning the address after the end of its instance: %v", err)
		}
		time.Sleep(time.Hour)
		want("InvalidInstanceID.NotFound", 1)
	})
}

// TestPrimaryAddresses checks that any free address outside of a CIDR reservation may become a
// primary address.
func TestPrimaryAddresses(t *testing.T) {
	c := New(Options{Seed: 5})
	s := c.CreateSubnet(c.CreateVPC(netip.MustParsePrefix("10.0.0.0/16")), netip.MustParsePrefix("10.0.1.0/27"))
	c.ReserveCIDR(s, netip.MustParsePrefix("10.0.1.16/29"), "explicit")
	seen := map[netip.Addr]bool{}
	for {
		n, err := c.RunInstance(InstanceSpec{Subnet: s})
		if err != nil {
			break
		}
		seen[n.PrimaryIP] = true
	}
	if len(seen) != 32-5-8 || seen[netip.MustParseAddr("10.0.1.17")] || !seen[netip.MustParseAddr("10.0.1.15")] {
		t.Errorf("%d primary addresses: %v", len(seen), seen)
	}
	if _, err := c.RunInstance(InstanceSpec{Subnet: s, PrimaryIP: netip.MustParseAddr("10.0.1.17")}); err != nil {
		t.Errorf("launching with an address of the reservation: %v", err)
	}
}

// TestVisibility checks that EC2 assigns at once, and that describe calls and IMDS show it later.
func TestVisibility(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{RemapDelay: Exactly(4 * time.Second), IMDSDelay: Exactly(10 * time.Second)})
		n := w.cores[0]
		c, ctx := w.on(n.InstanceID), t.Context()
		shown := func() (int, int) {
			out, err := c.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{n.ENI}})
			if err != nil {
				t.Fatal(err)
			}
			return len(out.NetworkInterfaces[0].PrivateIpAddresses), len(strings.Split(metadataText(t, c, "network/interfaces/macs/"+n.MAC.String()+"/local-ipv4s"), "\n"))
		}
		want := func(ec2, imds int) {
			t.Helper()
			if a, b := shown(); a != ec2 || b != imds {
				t.Errorf("EC2 shows %d addresses and IMDS %d; want %d and %d", a, b, ec2, imds)
			}
		}
		want(1, 1)
		if _, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(n.ENI, false, "10.0.1.21")); err != nil {
			t.Fatal(err)
		}
		if _, err := w.on("").ec2.AssignPrivateIpAddresses(ctx, assignInput(w.cores[1].ENI, false, "10.0.1.21")); code(err) != "InvalidParameterValue" {
			t.Errorf("second assignment before the first is shown: %v", err)
		}
		want(1, 1)
		time.Sleep(4 * time.Second)
		want(2, 1)
		time.Sleep(10 * time.Second)
		want(2, 2)
		if _, err := c.ec2.UnassignPrivateIpAddresses(ctx, &ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: &n.ENI, PrivateIpAddresses: []string{"10.0.1.21"}}); err != nil {
			t.Fatal(err)
		}
		want(2, 2)
		time.Sleep(4 * time.Second)
		want(1, 2)
		time.Sleep(10 * time.Second)
		want(1, 1)
	})
}

func TestStaleDescribes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{Seed: 1, StaleEC2: Staleness{Probability: 0.5, MaxAge: 10 * time.Second}})
		time.Sleep(time.Minute)
		c, ctx := w.on(""), t.Context()
		if _, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(w.cores[0].ENI, false, "10.0.1.21")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		count := map[int]int{}
		for range 200 {
			out, err := c.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{w.cores[0].ENI}})
			if err != nil {
				t.Fatal(err)
			}
			count[len(out.NetworkInterfaces[0].PrivateIpAddresses)]++
		}
		if count[1] < 20 || count[1] > 100 || count[2] < 100 {
			t.Errorf("shown addresses: %v, want about 50 old and 150 new answers", count)
		}
	})
}
