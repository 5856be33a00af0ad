package certify

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

type which func(*side) netip.Addr

func free(n int) which    { return func(s *side) netip.Addr { return s.place.free[n] } }
func primary(n int) which { return func(s *side) netip.Addr { return s.place.primary[n] } }

func (s *side) assign(ctx context.Context, eni string, move bool, addresses ...netip.Addr) (string, error) {
	var texts []string
	for _, a := range addresses {
		texts = append(texts, a.String())
	}
	_, err := s.ec2.AssignPrivateIpAddresses(ctx, &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: &eni, PrivateIpAddresses: texts, AllowReassignment: &move})
	for _, a := range addresses {
		s.holds[a] = s.holds[a] || err == nil
	}
	return "ok", err
}

func (s *side) unassign(ctx context.Context, eni string, a netip.Addr) (string, error) {
	s.holds[a] = false // whatever the answer is
	_, err := s.ec2.UnassignPrivateIpAddresses(ctx, &ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: &eni, PrivateIpAddresses: []string{a.String()}})
	return "ok", err
}

func assign(eni int, move bool, address which) call {
	return func(ctx context.Context, s *side) (string, error) { return s.assign(ctx, s.eni[eni], move, address(s)) }
}

func unassign(eni int, address which) call {
	return func(ctx context.Context, s *side) (string, error) { return s.unassign(ctx, s.eni[eni], address(s)) }
}

const (
	heldText    = "400 InvalidParameterValue: [ADDRESS0] assigned, but move is not allowed."
	primaryText = "400 InvalidParameterValue: secondary-addresses"
)

func assigns() []step {
	return []step{
		{name: "assign", call: assign(0, false, free(0))},
		{name: "assign again", call: assign(0, false, free(0)), says: []says{about("assign-again", "ok")}},
		{name: "assign another's", call: assign(1, false, free(0)), says: []says{about("assign-one-holder", "400 "), about("assign-held-words", heldText)}},
		{name: "assign another's primary", call: assign(1, false, primary(0)), says: []says{about("assign-one-holder", "400 "), about("assign-primary-words", primaryText)}},
		{name: "assign another's primary with a move", call: assign(1, true, primary(0))},
		{name: "assign outside the subnet", call: assign(0, false, func(s *side) netip.Addr { return lastOf(s.place.cidr).Next().Next() }),
			says: []says{about("assign-outside-words", "400 InvalidParameterValue: Address does not fall within the subnet's address range")}},
		{name: "assign a reserved address", call: assign(0, false, func(s *side) netip.Addr { return nth(s.place.cidr, 2) }),
			says: []says{about("reserved-addresses", "400 "), about("assign-outside-words", "400 InvalidParameterValue: Address RESERVED is in subnet's reserved range.")}},
		{name: "assign the last address", call: assign(0, false, func(s *side) netip.Addr { return lastOf(s.place.cidr) }), says: []says{about("reserved-addresses", "400 ")}},
		{name: "assign to an unknown interface", call: func(ctx context.Context, s *side) (string, error) {
			return s.assign(ctx, noInterface, false, s.place.free[1])
		}, says: []says{about("assign-codes", "400 InvalidNetworkInterfaceID.NotFound")}},
		{name: "assign with a move", call: assign(1, true, free(0))},
		{name: "assign many", call: func(ctx context.Context, s *side) (string, error) {
			if len(s.place.free) < fewAddresses+manyAddresses {
				return notAsked + "the subnet has too few free addresses", nil
			}
			return s.assign(ctx, s.eni[0], false, s.place.free[fewAddresses:]...)
		}, says: []says{about("addresses-unattached", "ok")}},
		{name: "interfaces by address", call: settled(interfaces(func(s *side) []ec2types.Filter {
			return []ec2types.Filter{is("addresses.private-ip-address", s.place.free[0].String()), is("subnet-id", s.Subnet)}
		})), says: []says{about("filter-addresses", "ENI1 ")}},
		{name: "interfaces by tag", call: interfaces(func(s *side) []ec2types.Filter { return []ec2types.Filter{is("tag:"+Tag, s.Run)} })},
		{name: "unassign", call: unassign(1, free(0))},
		{name: "assign after unassign", call: assign(0, false, free(0)), says: []says{about("assign-after-unassign", "ok")}},
		{name: "unassign from the other", call: unassign(0, free(0))},
		{name: "unassign again", call: unassign(0, free(0)), says: []says{about("unassign-absent", "400 ")}},
		{name: "unassign a primary address", call: unassign(0, primary(0))},
	}
}

func is(name string, values ...string) ec2types.Filter {
	return ec2types.Filter{Name: &name, Values: values}
}

// settled returns the call, made when describe calls show what was assigned: how late they are is
// measured elsewhere.
func settled(c call) call {
	return func(ctx context.Context, s *side) (string, error) {
		_, err := s.until(ctx, func() (bool, error) {
			if shown, err := s.shows(ctx, s.eni[1], s.place.free[0]); err != nil || !shown {
				return false, err
			}
			many := slices.DeleteFunc(slices.Clone(s.place.free[fewAddresses:]), func(a netip.Addr) bool { return !s.holds[a] })
			return s.shows(ctx, s.eni[0], many...)
		})
		if err != nil {
			return "", err
		}
		return c(ctx, s)
	}
}

// interfaces returns a step that lists interfaces with their addresses. The addresses of the step
// with many are counted only.
func interfaces(filters func(*side) []ec2types.Filter) call {
	return func(ctx context.Context, s *side) (string, error) {
		out, err := s.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: filters(s)})
		if err != nil {
			return "", err
		}
		var lines []string
		for _, e := range out.NetworkInterfaces {
			line, more := fmt.Sprintf("%s %s", aws.ToString(e.NetworkInterfaceId), e.Status), 0
			for _, a := range e.PrivateIpAddresses {
				addr, _ := netip.ParseAddr(aws.ToString(a.PrivateIpAddress))
				if i := slices.Index(s.place.free, addr); i >= fewAddresses {
					more++
					continue
				}
				line += fmt.Sprintf(" %s %t", addr, aws.ToBool(a.Primary))
			}
			lines = append(lines, s.words.in(fmt.Sprintf("%s +%d", line, more)))
		}
		slices.Sort(lines) // of interfaces AWS promises no order
		return strings.Join(lines, "; "), nil
	}
}

func describeInstances(in *ec2.DescribeInstancesInput) call {
	return func(ctx context.Context, s *side) (string, error) {
		out, err := s.ec2.DescribeInstances(ctx, in)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%d reservations", len(out.Reservations)), nil
	}
}

func tagResource(id func(*side) string, key, value string) call {
	return func(ctx context.Context, s *side) (string, error) {
		_, err := s.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id(s)}, Tags: []ec2types.Tag{{Key: &key, Value: &value}}})
		return "ok", err
	}
}

func describes() []step {
	first := func(s *side) string { return s.eni[0] }
	return []step{
		{name: "an unknown interface", call: func(ctx context.Context, s *side) (string, error) {
			_, err := s.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{noInterface}})
			return "ok", err
		}, says: []says{about("assign-codes", "400 InvalidNetworkInterfaceID.NotFound")}},
		{name: "an unknown instance", call: describeInstances(&ec2.DescribeInstancesInput{InstanceIds: []string{noInstance}})},
		{name: "an unknown filter", call: describeInstances(&ec2.DescribeInstancesInput{Filters: []ec2types.Filter{is("nonsense", "x")}})},
		{name: "a dry run", call: describeInstances(&ec2.DescribeInstancesInput{Filters: []ec2types.Filter{is("instance-state-name", "stopping")}, DryRun: aws.Bool(true)})},
		{name: "create a tag", call: tagResource(first, "Name", "n")},
		{name: "create a tag of AWS's", call: tagResource(first, "aws:x", "n"), says: []says{about("tags-reserved", "400 ")}},
		{name: "tag an unknown instance", call: tagResource(func(*side) string { return noInstance }, "a", "n")},
		{name: "describe tags", call: func(ctx context.Context, s *side) (string, error) {
			out, err := s.ec2.DescribeTags(ctx, &ec2.DescribeTagsInput{Filters: []ec2types.Filter{is("resource-id", s.eni[0])}})
			if err != nil {
				return "", err
			}
			var lines []string
			for _, x := range out.Tags {
				lines = append(lines, fmt.Sprintf("%s %s %s=%s", aws.ToString(x.ResourceId), x.ResourceType, aws.ToString(x.Key), aws.ToString(x.Value)))
			}
			slices.Sort(lines)
			return strings.Join(lines, "; "), nil
		}},
		{name: "instance type", call: func(ctx context.Context, s *side) (string, error) {
			out, err := s.ec2.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []ec2types.InstanceType{"m5.xlarge"}})
			if err != nil {
				return "", err
			}
			if len(out.InstanceTypes) != 1 || out.InstanceTypes[0].NetworkInfo == nil {
				return "nothing", nil
			}
			n := out.InstanceTypes[0].NetworkInfo
			return fmt.Sprintf("%d interfaces of %d addresses", aws.ToInt32(n.MaximumNetworkInterfaces), aws.ToInt32(n.Ipv4AddressesPerInterface)), nil
		}, says: []says{about("addresses-for-each-type", "4 interfaces of 15 addresses")}},
		{name: "an unknown instance type", call: func(ctx context.Context, s *side) (string, error) {
			_, err := s.ec2.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []ec2types.InstanceType{"x.y"}})
			return "ok", err
		}},
		{name: "subnet", call: func(ctx context.Context, s *side) (string, error) {
			out, err := s.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{s.Subnet}})
			if err != nil {
				return "", err
			}
			if len(out.Subnets) != 1 {
				return fmt.Sprintf("%d subnets", len(out.Subnets)), nil
			}
			x := out.Subnets[0]
			return fmt.Sprintf("%s %s %s %s", aws.ToString(x.SubnetId), aws.ToString(x.VpcId), aws.ToString(x.CidrBlock), x.State), nil
		}},
		{name: "an unknown subnet", call: func(ctx context.Context, s *side) (string, error) {
			_, err := s.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{noSubnet}})
			return "ok", err
		}},
		{name: "VPC", call: func(ctx context.Context, s *side) (string, error) {
			out, err := s.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{s.place.vpc}})
			if err != nil {
				return "", err
			}
			if len(out.Vpcs) != 1 {
				return fmt.Sprintf("%d VPCs", len(out.Vpcs)), nil
			}
			return aws.ToString(out.Vpcs[0].VpcId), nil
		}},
	}
}
