package ec2

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord/inventory"
)

// Member is an instance of a cluster, as EC2 lists it.
type Member struct {
	inventory.Instance
	Subnet    string
	ENI       string // the primary interface; empty while EC2 shows none
	Primary   netip.Addr
	Secondary []netip.Addr // of the primary interface
	Launched  time.Time
	Error     string // the tag ErrorTag
}

// Members returns the instances of a cluster that EC2 lists, except terminated ones: those with the
// cluster's tag, and those of the given ids, which EMR says are the cluster's.
func (c *Census) Members(ctx context.Context, cluster string, ids []string) ([]Member, error) {
	var members []Member
	seen := map[string]bool{}
	list := func(of types.Filter) error {
		alive := filter("instance-state-name", "pending", "running", "shutting-down", "stopping", "stopped")
		return c.instances(ctx, []types.Filter{of, alive}, func(i types.Instance) {
			if m := memberOf(i); !seen[m.ID] {
				seen[m.ID] = true
				members = append(members, m)
			}
		})
	}
	err := list(filter("tag:"+tagCluster, cluster))
	rest := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return seen[id] })
	for chunk := range slices.Chunk(rest, filterValues) {
		if err == nil {
			err = list(filter("instance-id", chunk...))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("asking EC2 for the instances of cluster %s: %w", cluster, err)
	}
	return members, nil
}

func memberOf(i types.Instance) Member {
	m := Member{Instance: instanceOf(i), Subnet: aws.ToString(i.SubnetId), Launched: aws.ToTime(i.LaunchTime), Error: tagsOf(i.Tags)[ErrorTag]}
	for _, n := range i.NetworkInterfaces {
		if n.Attachment == nil || aws.ToInt32(n.Attachment.DeviceIndex) != 0 {
			continue
		}
		m.ENI = aws.ToString(n.NetworkInterfaceId)
		for _, p := range n.PrivateIpAddresses {
			addr, err := text.IPv4(aws.ToString(p.PrivateIpAddress))
			switch {
			case err != nil: // no address that this program could have given
			case aws.ToBool(p.Primary):
				m.Primary = addr
			default:
				m.Secondary = append(m.Secondary, addr)
			}
		}
	}
	return m
}

// instanceOf returns what an inventory needs of an instance.
func instanceOf(i types.Instance) inventory.Instance {
	tags := tagsOf(i.Tags)
	x := inventory.Instance{
		ID: aws.ToString(i.InstanceId), State: string(types.InstanceStateNameRunning), // one that is listed exists, whatever else
		Cluster: tags[tagCluster], Role: strings.ToUpper(tags[emr.RoleTag]), Name: tags[TagName],
	}
	if i.State != nil && i.State.Name != "" {
		x.State = string(i.State.Name)
	}
	return x
}
