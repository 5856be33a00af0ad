package ec2

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// nowhere are addresses for documentation (RFC 5737). A subnet of a VPC has at most one of them, so
// that assigning the other one changes nothing.
var nowhere = [...]netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 1}), netip.AddrFrom4([4]byte{198, 51, 100, 1})}

// Try calls an action in a way that changes nothing. tag is the key for CreateTags and DeleteTags.
// The error says whether the caller may call the action: see Allowed.
//
// If the action supports DryRun, Try uses it. Assign- and UnassignPrivateIpAddresses do not. Try
// calls them for an address outside the subnet, which EC2 refuses if the caller has the permission.
// Whether EC2 checks permissions first is not verified on AWS. TryAssign is a better proof.
func (a *Node) Try(ctx context.Context, action, tag string) (err error) {
	dry := aws.Bool(true)
	outside := nowhere[0]
	if a.ID.Subnet.Contains(outside) {
		outside = nowhere[1]
	}
	eni, addrs := aws.String(a.ID.ENI), []string{outside.String()}
	instance, key := []string{a.ID.InstanceID}, aws.String(tag)
	switch action {
	case "DescribeInstances":
		_, err = a.API.DescribeInstances(ctx, &ec2.DescribeInstancesInput{DryRun: dry})
	case "DescribeNetworkInterfaces":
		_, err = a.API.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{DryRun: dry})
	case "DescribeInstanceTypes", "DescribePrefixLists":
		err = a.lists.Call(ctx, action, url.Values{"DryRun": {"true"}}, &struct{}{})
	case "AssignPrivateIpAddresses":
		_, err = a.API.AssignPrivateIpAddresses(ctx, &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: eni, PrivateIpAddresses: addrs, AllowReassignment: aws.Bool(false)})
	case "UnassignPrivateIpAddresses":
		_, err = a.API.UnassignPrivateIpAddresses(ctx, &ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: eni, PrivateIpAddresses: addrs})
	case "CreateTags":
		_, err = a.API.CreateTags(ctx, &ec2.CreateTagsInput{DryRun: dry, Resources: instance, Tags: []types.Tag{{Key: key, Value: aws.String("emr-static-ip doctor")}}})
	case "DeleteTags":
		_, err = a.API.DeleteTags(ctx, &ec2.DeleteTagsInput{DryRun: dry, Resources: instance, Tags: []types.Tag{{Key: key}}})
	default:
		err = fmt.Errorf("ec2:%s cannot be tried", action)
	}
	return err
}

// TryAssign assigns an address that the interface has. A success proves the permission, and changes
// nothing. That EC2 reports success for such a call is not verified on AWS.
//
// pending is set if any attempt got no answer: EC2 may carry that attempt out up to
// ssmcoord.DescribeLag later.
func (a *Node) TryAssign(ctx context.Context, own netip.Addr) (pending bool, err error) {
	_, err = a.API.AssignPrivateIpAddresses(ctx, &ec2.AssignPrivateIpAddressesInput{
		NetworkInterfaceId: aws.String(a.ID.ENI), PrivateIpAddresses: []string{own.String()}, AllowReassignment: aws.Bool(false)},
		unanswered(&pending))
	return pending, err
}

// MetadataOptions are an instance's settings of IMDS.
type MetadataOptions struct {
	Tokens   string // "required" or "optional"
	Endpoint string // "enabled" or "disabled"
	HopLimit int
}

// TokensOptional is the value of Tokens if IMDS answers version 1 too.
const TokensOptional = string(types.HttpTokensStateOptional)

// MetadataOptions returns the instance's settings of IMDS, or nil if EC2 does not show them. listed
// is false if EC2 does not list the instance yet.
func (a *Node) MetadataOptions(ctx context.Context) (o *MetadataOptions, listed bool, err error) {
	out, err := a.API.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{a.ID.InstanceID}})
	if err != nil {
		return nil, false, err
	}
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			if aws.ToString(i.InstanceId) != a.ID.InstanceID {
				continue
			}
			if m := i.MetadataOptions; m != nil {
				o = &MetadataOptions{Tokens: string(m.HttpTokens), Endpoint: string(m.HttpEndpoint), HopLimit: int(aws.ToInt32(m.HttpPutResponseHopLimit))}
			}
			return o, true, nil
		}
	}
	return nil, false, nil
}
