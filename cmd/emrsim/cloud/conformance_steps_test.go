package cloud

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// step is one call. Its outcome is a line of text without the parts that differ by chance.
type step struct {
	name string
	call func(ctx context.Context, s *side) (string, error)
}

func put(name, value string, overwrite bool, tags ...string) func(context.Context, *side) (string, error) {
	return func(ctx context.Context, s *side) (string, error) {
		in := putInput(name, value)
		in.Overwrite = &overwrite
		for i := 0; i+1 < len(tags); i += 2 {
			in.Tags = append(in.Tags, ssmtypes.Tag{Key: &tags[i], Value: &tags[i+1]})
		}
		out, err := s.ssm.PutParameter(ctx, in)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("version %d", out.Version), nil
	}
}

func assign(node int, move bool, address func(*side) string) func(context.Context, *side) (string, error) {
	return func(ctx context.Context, s *side) (string, error) {
		_, err := s.ec2.AssignPrivateIpAddresses(ctx, assignInput(s.node[node].eni, move, address(s)))
		return "ok", err
	}
}

func fixed(a string) func(*side) string { return func(*side) string { return a } }

func steps() []step {
	many := make([]string, 11)
	for i := range many {
		many[i] = fmt.Sprintf("/c/%d", i)
	}
	byPath := func(recursive bool, size int32) func(context.Context, *side) (string, error) {
		return func(ctx context.Context, s *side) (string, error) {
			var names []string
			in := &ssm.GetParametersByPathInput{Path: aws.String("/c"), Recursive: &recursive}
			if size > 0 {
				in.MaxResults = &size
			}
			p := ssm.NewGetParametersByPathPaginator(s.ssm, in)
			for p.HasMorePages() {
				out, err := p.NextPage(ctx)
				if err != nil {
					return "", err
				}
				for _, x := range out.Parameters {
					names = append(names, *x.Name)
				}
			}
			sort.Strings(names)
			return strings.Join(names, " "), nil
		}
	}
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
		{"put creates", put("/c/0", "v", false)},
		{"put on an existing name", put("/c/0", "w", false)},
		{"put overwrites", put("/c/0", "w", true)},
		{"put with tags and overwrite", put("/c/0", "w", true, "a", "b")},
		{"put with tags", put("/c/tagged", "v", false, "a", "b")},
		{"put below", put("/c/deep/er", "v", false)},
		{"put 4096 bytes", put("/c/long", strings.Repeat("x", 4096), false)},
		{"put 4097 bytes", put("/c/longer", strings.Repeat("x", 4097), false)},
		{"put an empty value", put("/c/empty", "", false)},
		{"put a template", put("/c/template", "{{x}}", false)},
		{"put 15 levels", put(strings.Repeat("/l", 15), "v", false)},
		{"put 16 levels", put(strings.Repeat("/l", 16), "v", false)},
		{"put below /aws", put("/aws/x", "v", false)},
		{"put a name with aws", put("awsx", "v", false)},
		{"put below /ssm", put("/ssm/x", "v", false)},
		{"put a name with a space", put("/c/a b", "v", false)},
		{"put a path without a slash", put("c/x", "v", false)},
		{"get", func(ctx context.Context, s *side) (string, error) {
			out, err := s.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/c/0")})
			if err != nil {
				return "", err
			}
			p := out.Parameter
			return fmt.Sprintf("%s=%s %s version %d %s %s", *p.Name, *p.Value, p.Type, p.Version, aws.ToString(p.DataType), *p.ARN), nil
		}},
		{"get a missing one", func(ctx context.Context, s *side) (string, error) {
			_, err := s.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/c/none")})
			return "", err
		}},
		{"get several", func(ctx context.Context, s *side) (string, error) {
			out, err := s.ssm.GetParameters(ctx, &ssm.GetParametersInput{Names: []string{"/c/0", "/c/none"}})
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("%d %v", len(out.Parameters), out.InvalidParameters), nil
		}},
		{"get 11", func(ctx context.Context, s *side) (string, error) {
			_, err := s.ssm.GetParameters(ctx, &ssm.GetParametersInput{Names: many})
			return "", err
		}},
		{"by path", byPath(false, 0)},
		{"by path, recursive", byPath(true, 0)},
		{"by path, pages of 1", byPath(true, 1)},
		{"by path, pages of 11", byPath(true, 11)},
		{"tag filter", func(ctx context.Context, s *side) (string, error) {
			out, err := s.ssm.DescribeParameters(ctx, &ssm.DescribeParametersInput{ParameterFilters: []ssmtypes.ParameterStringFilter{{Key: aws.String("tag:a"), Values: []string{"b"}}}})
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("%d %s", len(out.Parameters), aws.ToString(out.Parameters[0].Name)), nil
		}},
		{"add tags to a missing parameter", func(ctx context.Context, s *side) (string, error) {
			_, err := s.ssm.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{ResourceType: "Parameter", ResourceId: aws.String("/c/none"), Tags: []ssmtypes.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
			return "", err
		}},
		{"delete several", func(ctx context.Context, s *side) (string, error) {
			out, err := s.ssm.DeleteParameters(ctx, &ssm.DeleteParametersInput{Names: []string{"/c/long", "/c/none"}})
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("%v %v", out.DeletedParameters, out.InvalidParameters), nil
		}},
		{"delete", func(ctx context.Context, s *side) (string, error) {
			_, err := s.ssm.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String("/c/0")})
			return "ok", err
		}},
		{"delete again", func(ctx context.Context, s *side) (string, error) {
			_, err := s.ssm.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String("/c/0")})
			return "", err
		}},
		{"put after deletion", put("/c/0", "v", false)},

		{"assign", assign(0, false, fixed("10.0.1.20"))},
		{"assign again", assign(0, false, fixed("10.0.1.20"))},
		{"assign another's", assign(1, false, fixed("10.0.1.20"))},
		{"assign another's primary", assign(1, false, func(s *side) string { return s.node[0].primary })},
		{"assign another's primary with a move", assign(1, true, func(s *side) string { return s.node[0].primary })},
		{"assign outside the subnet", assign(0, false, fixed("10.0.2.20"))},
		{"assign a reserved address", assign(0, false, fixed("10.0.1.2"))},
		{"assign the last address", assign(0, false, fixed("10.0.1.255"))},
		{"assign to an unknown ENI", func(ctx context.Context, s *side) (string, error) {
			_, err := s.ec2.AssignPrivateIpAddresses(ctx, assignInput("eni-0123456789abcdef0", false, "10.0.1.22"))
			return "", err
		}},
		{"assign with a move", assign(1, true, fixed("10.0.1.20"))},
		{"assign more than fit", func(ctx context.Context, s *side) (string, error) {
			var list []string
			for n := range 15 {
				list = append(list, fmt.Sprintf("10.0.1.%d", 100+n))
			}
			_, err := s.ec2.AssignPrivateIpAddresses(ctx, assignInput(s.node[0].eni, false, list...))
			return "ok", err
		}},
		{"interfaces by address", interfaces(func(s *side) []ec2types.Filter {
			return []ec2types.Filter{ec2Filter("addresses.private-ip-address", "10.0.1.20")}
		})},
		{"interfaces by instance", interfaces(func(s *side) []ec2types.Filter {
			return []ec2types.Filter{ec2Filter("attachment.instance-id", s.node[1].id)}
		})},
		{"interfaces by subnet and address", interfaces(func(s *side) []ec2types.Filter {
			return []ec2types.Filter{ec2Filter("subnet-id", s.subnet), ec2Filter("addresses.private-ip-address", "10.0.1.20", "10.0.1.21")}
		})},
		{"an unknown interface", func(ctx context.Context, s *side) (string, error) {
			_, err := s.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{"eni-0123456789abcdef0"}})
			return "", err
		}},
		{"unassign", func(ctx context.Context, s *side) (string, error) {
			_, err := s.ec2.UnassignPrivateIpAddresses(ctx, &ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: &s.node[1].eni, PrivateIpAddresses: []string{"10.0.1.20"}})
			return "ok", err
		}},
		{"unassign again", func(ctx context.Context, s *side) (string, error) {
			_, err := s.ec2.UnassignPrivateIpAddresses(ctx, &ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: &s.node[1].eni, PrivateIpAddresses: []string{"10.0.1.20"}})
			return "ok", err
		}},
		{"instance by id", instances(func(s *side) *ec2.DescribeInstancesInput {
			return &ec2.DescribeInstancesInput{InstanceIds: []string{s.node[1].id}}
		})},
		{"instances by state and subnet", instances(func(s *side) *ec2.DescribeInstancesInput {
			return &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{ec2Filter("instance-state-name", "running"), ec2Filter("subnet-id", s.subnet)}}
		})},
		{"an unknown instance", instances(func(s *side) *ec2.DescribeInstancesInput {
			return &ec2.DescribeInstancesInput{InstanceIds: []string{"i-0123456789abcdef0"}}
		})},
		{"an unknown filter", instances(func(s *side) *ec2.DescribeInstancesInput {
			return &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{ec2Filter("nonsense", "x")}}
		})},
		{"a dry run", instances(func(s *side) *ec2.DescribeInstancesInput {
			return &ec2.DescribeInstancesInput{InstanceIds: []string{s.node[0].id}, DryRun: aws.Bool(true)}
		})},
		{"create a tag", func(ctx context.Context, s *side) (string, error) {
			_, err := s.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{s.node[0].id}, Tags: []ec2types.Tag{{Key: aws.String("Name"), Value: aws.String("n")}}})
			return "ok", err
		}},
		{"create a tag of AWS's", func(ctx context.Context, s *side) (string, error) {
			_, err := s.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{s.node[0].id}, Tags: []ec2types.Tag{{Key: aws.String("aws:x"), Value: aws.String("n")}}})
			return "ok", err
		}},
		{"tag an unknown instance", func(ctx context.Context, s *side) (string, error) {
			_, err := s.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{"i-0123456789abcdef0"}, Tags: []ec2types.Tag{{Key: aws.String("a"), Value: aws.String("n")}}})
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
		{"instance type", func(ctx context.Context, s *side) (string, error) {
			out, err := s.ec2.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []ec2types.InstanceType{"m5.xlarge"}})
			if err != nil {
				return "", err
			}
			n := out.InstanceTypes[0].NetworkInfo
			return fmt.Sprintf("%d interfaces of %d addresses", *n.MaximumNetworkInterfaces, *n.Ipv4AddressesPerInterface), nil
		}},
		{"an unknown instance type", func(ctx context.Context, s *side) (string, error) {
			_, err := s.ec2.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []ec2types.InstanceType{"x.y"}})
			return "", err
		}},
		{"subnet", func(ctx context.Context, s *side) (string, error) {
			out, err := s.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{s.subnet}})
			if err != nil {
				return "", err
			}
			x := out.Subnets[0]
			return fmt.Sprintf("%s %s %s %s", *x.SubnetId, *x.VpcId, *x.CidrBlock, x.State), nil
		}},
		{"an unknown subnet", func(ctx context.Context, s *side) (string, error) {
			_, err := s.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{"subnet-0123456789abcdef0"}})
			return "", err
		}},
		{"VPC", func(ctx context.Context, s *side) (string, error) {
			out, err := s.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{s.vpc}})
			if err != nil {
				return "", err
			}
			x := out.Vpcs[0]
			return fmt.Sprintf("%s %s %d", *x.VpcId, *x.CidrBlock, len(x.CidrBlockAssociationSet)), nil
		}},
	}
}
