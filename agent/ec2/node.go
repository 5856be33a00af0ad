package ec2

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// Tags that AWS sets on instances.
const (
	// tagCluster is EMR's, on the instances of a cluster.
	tagCluster = "aws:elasticmapreduce:job-flow-id"
	// tagScaling has the name of the Auto Scaling group that launched the instance.
	// https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-tagging.html
	tagScaling = "aws:autoscaling:groupName"
	// TagName is the tag with the instance's name.
	TagName = "Name"
)

// Limits of one describe call: values in one filter, and results in one page.
const (
	filterValues = 200
	pageSize     = 1000
)

// pollMin and pollMax bound the waits between looks at the ENI while EC2's answer is on its way to
// its describe calls, for ssmcoord.DescribeLag at most. The waits double, so that some ten looks
// cover that time, and an answer that is hardly late costs hardly any.
const (
	pollMax = ssmcoord.DescribeLag / 6
	pollMin = pollMax / 20
)

// API is what the run calls of EC2 with the SDK's client.
type API interface {
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error)
	DescribeNetworkInterfaces(context.Context, *ec2.DescribeNetworkInterfacesInput, ...func(*ec2.Options)) (*ec2.DescribeNetworkInterfacesOutput, error)
	AssignPrivateIpAddresses(context.Context, *ec2.AssignPrivateIpAddressesInput, ...func(*ec2.Options)) (*ec2.AssignPrivateIpAddressesOutput, error)
	UnassignPrivateIpAddresses(context.Context, *ec2.UnassignPrivateIpAddressesInput, ...func(*ec2.Options)) (*ec2.UnassignPrivateIpAddressesOutput, error)
	CreateTags(context.Context, *ec2.CreateTagsInput, ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error)
	DeleteTags(context.Context, *ec2.DeleteTagsInput, ...func(*ec2.Options)) (*ec2.DeleteTagsOutput, error)
}

// Node is EC2 as this node sees it. It implements ssmcoord.EC2.
type Node struct {
	API     API
	lists   Describer
	ID      Identity
	cluster string // may be empty
	Role    emr.Role
	Plain   bool // an instance outside EMR
	env     host.Environment
	group   *types.Filter // of Survey on such an instance, once it is known
	// SeenTags are the node's own tags as the last Survey saw them; nil before.
	SeenTags map[string]string
}

var _ ssmcoord.EC2 = (*Node)(nil)

// NewNode returns EC2 for this node. cluster may be empty.
func NewNode(cfg aws.Config, id Identity, cluster string, env host.Environment) *Node {
	return &Node{API: ec2.NewFromConfig(cfg), lists: NewDescriber(cfg), ID: id, cluster: cluster, env: env}
}

// Survey lists the running members of the cluster with one call, and the node's own addresses and
// tags with it. EC2 may not list the node itself yet; then its interface is looked up.
//
// Outside EMR the members are the instances of the node's Auto Scaling group, or those that were
// launched with it by one call. Without either, the node is an unranked member.
func (a *Node) Survey(ctx context.Context) ([]ssmcoord.Member, error) {
	filters := []types.Filter{filter("instance-id", a.ID.InstanceID)}
	if a.cluster != "" {
		filters = []types.Filter{filter("tag:"+tagCluster, a.cluster), living}
	} else if a.Plain {
		if err := a.findGroup(ctx); err != nil {
			return nil, fmt.Errorf("looking for the group of %s: %w", a.ID.InstanceID, err)
		}
		if a.group != nil {
			filters = []types.Filter{*a.group, living}
		}
	}
	var members []ssmcoord.Member
	listed := false
	err := a.instances(ctx, filters, func(i types.Instance) {
		m := ssmcoord.Member{Instance: aws.ToString(i.InstanceId), Role: strings.ToUpper(tagsOf(i.Tags)[emr.RoleTag]), Launched: aws.ToTime(i.LaunchTime)}
		for _, n := range i.NetworkInterfaces {
			if n.Attachment != nil && aws.ToInt32(n.Attachment.DeviceIndex) == 0 {
				for _, p := range n.PrivateIpAddresses {
					if addr, err := text.IPv4(aws.ToString(p.PrivateIpAddress)); err == nil {
						m.Addresses = append(m.Addresses, addr)
					}
				}
			}
		}
		if m.Instance == a.ID.InstanceID {
			listed = true
			m.Role = string(a.Role)
			a.SeenTags = tagsOf(i.Tags)
		}
		members = append(members, m)
	})
	if err != nil {
		return nil, fmt.Errorf("listing the members of the cluster: %w", err)
	}
	if !listed {
		own, err := a.Own(ctx)
		if err != nil {
			return nil, err
		}
		members = append(members, ssmcoord.Member{Instance: a.ID.InstanceID, Role: string(a.Role), Addresses: own})
	}
	if a.Plain && len(members) == 1 && (a.group == nil || *a.group.Name != "tag:"+tagScaling) {
		members[0].Unranked = true
	}
	return members, nil
}

// living selects instances that are or will be running.
var living = filter("instance-state-name", "pending", "running")

// findGroup finds out which instances the node was launched with. It calls EC2 until EC2 lists the
// node.
func (a *Node) findGroup(ctx context.Context) error {
	if a.group != nil {
		return nil
	}
	out, err := a.API.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: []types.Filter{filter("instance-id", a.ID.InstanceID)}})
	if err != nil {
		return err
	}
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			group := filter("reservation-id", aws.ToString(r.ReservationId))
			if name := tagsOf(i.Tags)[tagScaling]; name != "" {
				group = filter("tag:"+tagScaling, name)
			}
			if group.Values[0] != "" {
				a.group = &group
			}
		}
	}
	return nil
}

// instances calls each for every instance that matches the filters.
func (a *Node) instances(ctx context.Context, filters []types.Filter, each func(types.Instance)) error {
	pages := ec2.NewDescribeInstancesPaginator(a.API, &ec2.DescribeInstancesInput{Filters: filters, MaxResults: aws.Int32(pageSize)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, r := range page.Reservations {
			for _, i := range r.Instances {
				each(i)
			}
		}
	}
	return nil
}

// backoff returns the waits between looks at something that EC2 does not show yet.
func (a *Node) backoff() func() time.Duration {
	next := pollMin
	return func() time.Duration {
		d := next
		next = min(2*next, pollMax)
		return pause.Jitter(a.env.Random(), d)
	}
}

// Tags returns the node's own tags. EC2 may not list a new instance yet, so Tags asks again for a
// while.
func (a *Node) Tags(ctx context.Context) (map[string]string, error) {
	began := time.Now()
	_, err := pause.Poll(ctx, a.backoff(), func() (done bool, err error) {
		if a.SeenTags == nil {
			err = a.instances(ctx, []types.Filter{filter("instance-id", a.ID.InstanceID)}, func(i types.Instance) { a.SeenTags = tagsOf(i.Tags) })
		}
		if err == nil && a.SeenTags == nil && time.Since(began) > ssmcoord.DescribeLag {
			err = errors.New("EC2 does not list the instance yet")
		}
		return a.SeenTags != nil || err != nil, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the tags of %s: %w", a.ID.InstanceID, err)
	}
	return a.SeenTags, nil
}

// Holders asks EC2 which ENIs of the node's subnet carry the addresses.
func (a *Node) Holders(ctx context.Context, addrs []netip.Addr) (map[netip.Addr]ssmcoord.Holder, error) {
	holders := map[netip.Addr]ssmcoord.Holder{}
	for chunk := range slices.Chunk(addrs, filterValues) {
		values := make([]string, len(chunk))
		for i, addr := range chunk {
			values[i] = addr.String()
		}
		filters := []types.Filter{filter("subnet-id", a.ID.SubnetID), filter("addresses.private-ip-address", values...)}
		pages := ec2.NewDescribeNetworkInterfacesPaginator(a.API, &ec2.DescribeNetworkInterfacesInput{Filters: filters, MaxResults: aws.Int32(pageSize)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, fmt.Errorf("asking EC2 who holds %s: %w", span(chunk), err)
			}
			for _, n := range page.NetworkInterfaces {
				h := ssmcoord.Holder{ENI: aws.ToString(n.NetworkInterfaceId)}
				if n.Attachment != nil {
					h.Instance = aws.ToString(n.Attachment.InstanceId)
				}
				h.Cluster = text.Clean(tagsOf(n.TagSet)[tagCluster], text.MaxQuoted)
				for _, p := range n.PrivateIpAddresses {
					if addr, err := text.IPv4(aws.ToString(p.PrivateIpAddress)); err == nil && slices.Contains(chunk, addr) {
						h.Primary = aws.ToBool(p.Primary)
						holders[addr] = h
					}
				}
			}
		}
	}
	return holders, nil
}

// Lives returns which of the instances exist.
func (a *Node) Lives(ctx context.Context, instances []string) (map[string]ssmcoord.Life, error) {
	lives := map[string]ssmcoord.Life{}
	for chunk := range slices.Chunk(instances, filterValues) {
		err := a.instances(ctx, []types.Filter{filter("instance-id", chunk...)}, func(i types.Instance) {
			life := ssmcoord.Living
			if i.State != nil && i.State.Name == types.InstanceStateNameTerminated {
				life = ssmcoord.Terminated
			}
			lives[aws.ToString(i.InstanceId)] = life
		})
		if err != nil {
			return nil, fmt.Errorf("asking EC2 whether the owners of claims exist: %w", err)
		}
	}
	return lives, nil
}

// Own returns all addresses of the node's primary ENI, the primary IP included. If EC2 does not
// know the ENI, its describe calls are late: IMDS has named it.
func (a *Node) Own(ctx context.Context) (own []netip.Addr, err error) {
	began := time.Now()
	_, err = pause.Poll(ctx, a.backoff(), func() (done bool, err error) {
		out, err := a.API.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{a.ID.ENI}})
		if err == nil {
			own, err = a.addresses(out.NetworkInterfaces)
			return true, err
		}
		err = fmt.Errorf("looking at the network interface %s: %w", a.ID.ENI, err)
		return ErrorCode(err) != "InvalidNetworkInterfaceID.NotFound" || time.Since(began) > ssmcoord.DescribeLag, err
	})
	return own, err
}

// addresses returns the addresses of the node's own ENI among the interfaces.
func (a *Node) addresses(interfaces []types.NetworkInterface) ([]netip.Addr, error) {
	var own []netip.Addr
	for _, n := range interfaces {
		if aws.ToString(n.NetworkInterfaceId) != a.ID.ENI {
			continue
		}
		for _, p := range n.PrivateIpAddresses {
			addr, err := text.IPv4(aws.ToString(p.PrivateIpAddress))
			if err != nil {
				return nil, fmt.Errorf("looking at the network interface %s: its address %s %w", a.ID.ENI, text.Quote(aws.ToString(p.PrivateIpAddress)), err)
			}
			own = append(own, addr)
		}
	}
	if len(own) == 0 {
		return nil, fmt.Errorf("looking at the network interface %s: EC2 lists no address on it", a.ID.ENI)
	}
	return own, nil
}

// instanceType is an item of DescribeInstanceTypes.
type instanceType struct {
	Addresses *int32 `xml:"networkInfo>ipv4AddressesPerInterface"`
}

// Capacity returns how many private IPv4 addresses the instance type allows on one ENI, the primary
// one included.
func (a *Node) Capacity(ctx context.Context) (int, error) {
	list, err := describe[instanceType](ctx, a.lists, "DescribeInstanceTypes", "instanceTypeSet", named("InstanceType", a.ID.InstanceType))
	if err != nil {
		return 0, fmt.Errorf("looking up how many addresses a %s may have: %w", text.Quote(a.ID.InstanceType), err)
	}
	for _, t := range list {
		if t.Addresses != nil {
			return int(*t.Addresses), nil
		}
	}
	return 0, fmt.Errorf("looking up how many addresses a %s may have: EC2 does not say", text.Quote(a.ID.InstanceType))
}

// Rename sets the instance's Name tag.
func (a *Node) Rename(ctx context.Context, name string) error {
	_, err := a.API.CreateTags(ctx, &ec2.CreateTagsInput{
		Resources: []string{a.ID.InstanceID},
		Tags:      []types.Tag{{Key: aws.String(TagName), Value: aws.String(name)}},
	})
	if err != nil {
		return fmt.Errorf("renaming %s to %s: %w", a.ID.InstanceID, text.Quote(name), err)
	}
	return nil
}

// NewName returns the Name tag that the instance should have: its name with the role appended. It
// returns "" if the tag should stay as it is.
func (a *Node) NewName(tags map[string]string) string {
	name, suffix := tags[TagName], "-"+string(a.Role)
	if name == "" || strings.HasSuffix(name, suffix) || a.NameTooLong(tags) != "" {
		return ""
	}
	return name + suffix
}

// maxTagValue is how many characters EC2 allows in the value of a tag. It does not count bytes.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
const maxTagValue = 256

// NameTooLong returns why the role is not appended to the Name tag: EC2 would refuse a name of this
// length. It returns "" if the name has room, or the role already.
func (a *Node) NameTooLong(tags map[string]string) string {
	name, suffix := tags[TagName], "-"+string(a.Role)
	if n := utf8.RuneCountInString(name + suffix); !strings.HasSuffix(name, suffix) && n > maxTagValue {
		return fmt.Sprintf("the Name tag has no room for %q: it would have %d characters, and EC2 allows %d", suffix, n, maxTagValue)
	}
	return ""
}

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: aws.String(name), Values: values}
}

func tagsOf(tags []types.Tag) map[string]string {
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		m[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return m
}

// span returns a list of addresses as text for a message.
func span(addrs []netip.Addr) string {
	if len(addrs) == 1 {
		return addrs[0].String()
	}
	return fmt.Sprintf("%s to %s", addrs[0], addrs[len(addrs)-1])
}
