package cloud

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// step is one call. Its outcome is a line of text without the parts that differ by chance.
type step struct {
	name string
	call func(ctx context.Context, s *side) (string, error)
}

func assign(node int, address string) func(context.Context, *side) (string, error) {
	return func(ctx context.Context, s *side) (string, error) {
		_, err := s.ec2.AssignPrivateIpAddresses(ctx, assignInput(s.node[node].eni, false, address))
		return "ok", err
	}
}

// steps are those about instances. Those about interfaces and parameters are in emrsim certify.
func steps() []step {
	interfaces := func(filters func(*side) []ec2types.Filter) func(context.Context, *side) (string, error) {
		return func(ctx context.Context, s *side) (string, error) {
			out, err := s.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: filters(s)})
			if err != nil {
				return "", err
			}
			lines := []string{}
			for _, e := range out.NetworkInterfaces {
				line := *e.NetworkInterfaceId
				if e.Attachment != nil {
					line += fmt.Sprintf(" %s %d", aws.ToString(e.Attachment.InstanceId), aws.ToInt32(e.Attachment.DeviceIndex))
				}
				for _, a := range e.PrivateIpAddresses {
					line += fmt.Sprintf(" %s %t", *a.PrivateIpAddress, *a.Primary)
				}
				lines = append(lines, line)
			}
			sort.Strings(lines)
			return strings.Join(lines, "; "), nil
		}
	}
	instances := func(in func(*side) *ec2.DescribeInstancesInput) func(context.Context, *side) (string, error) {
		return func(ctx context.Context, s *side) (string, error) {
			out, err := s.ec2.DescribeInstances(ctx, in(s))
			if err != nil {
				return "", err
			}
			lines := []string{}
			for _, r := range out.Reservations {
				for _, i := range r.Instances {
					line := fmt.Sprintf("%s %s %s %s %s", *i.InstanceId, i.State.Name, *i.PrivateIpAddress, *i.SubnetId, *i.VpcId)
					for _, e := range i.NetworkInterfaces {
						line += fmt.Sprintf(" %s %d", *e.NetworkInterfaceId, len(e.PrivateIpAddresses))
					}
					lines = append(lines, line)
				}
			}
			sort.Strings(lines)
			return strings.Join(lines, "; "), nil
		}
	}
	return []step{
		{"assign", assign(1, "10.0.1.20")},
		{"assign more than fit", func(ctx context.Context, s *side) (string, error) {
			var list []string
			for n := range 15 {
				list = append(list, fmt.Sprintf("10.0.1.%d", 100+n))
			}
			_, err := s.ec2.AssignPrivateIpAddresses(ctx, assignInput(s.node[0].eni, false, list...))
			return "ok", err
		}},
		{"interfaces by instance", interfaces(func(s *side) []ec2types.Filter {
			return []ec2types.Filter{ec2Filter("attachment.instance-id", s.node[1].id)}
		})},
		{"instance by id", instances(func(s *side) *ec2.DescribeInstancesInput {
			return &ec2.DescribeInstancesInput{InstanceIds: []string{s.node[1].id}}
		})},
		{"instances by state and subnet", instances(func(s *side) *ec2.DescribeInstancesInput {
			return &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{ec2Filter("instance-state-name", "running"), ec2Filter("subnet-id", s.subnet)}}
		})},
		{"a dry run", instances(func(s *side) *ec2.DescribeInstancesInput {
			return &ec2.DescribeInstancesInput{InstanceIds: []string{s.node[0].id}, DryRun: aws.Bool(true)}
		})},
		{"delete an interface that is in use", func(ctx context.Context, s *side) (string, error) {
			_, err := s.ec2.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &s.node[0].eni})
			return "ok", err
		}},
		{"create a tag", func(ctx context.Context, s *side) (string, error) {
			_, err := s.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{s.node[0].id}, Tags: []ec2types.Tag{{Key: aws.String("Name"), Value: aws.String("n")}}})
			return "ok", err
		}},
		{"describe tags", func(ctx context.Context, s *side) (string, error) {
			out, err := s.ec2.DescribeTags(ctx, &ec2.DescribeTagsInput{Filters: []ec2types.Filter{ec2Filter("resource-id", s.node[0].id)}})
			if err != nil {
				return "", err
			}
			line := ""
			for _, x := range out.Tags {
				line += fmt.Sprintf("%s %s %s=%s;", *x.ResourceId, x.ResourceType, *x.Key, *x.Value)
			}
			return line, nil
		}},
	}
}
