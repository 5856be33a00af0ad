package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// Beside launches another cluster in the subnet of c and builds its nodes in the same lab. Its
// nodes are named prefix-master, prefix-core-1, ... Of the spec it uses the release, the numbers of
// nodes, Fleets, InstanceType, NameTag, Args, Files and Static; all else is as with c. Close of c
// closes both.
func (c *Cluster) Beside(ctx context.Context, prefix string, spec ClusterSpec) (*Cluster, error) {
	if prefix == "" {
		return nil, errors.New("launching another cluster: its nodes need a prefix")
	}
	if spec.Release == "" {
		spec.Release = c.Lab.spec.Release
	}
	for _, a := range spec.Static {
		if c.Plan().Subnet.Contains(a) && !slices.Contains(c.Reserved, a) {
			c.Cloud.ReserveCIDR(c.SubnetID, netip.PrefixFrom(a, 32), "explicit")
		}
	}
	if err := c.Admit(ctx, spec.Static...); err != nil {
		return nil, err
	}
	launched, err := c.Cloud.LaunchCluster(cloud.ClusterSpec{
		Name: prefix, Subnet: c.SubnetID, ReleaseLabel: spec.Release, InstanceType: spec.InstanceType,
		Masters: spec.Masters, Cores: spec.Cores, Tasks: spec.Tasks, Fleets: spec.Fleets, NameTag: spec.NameTag,
		Args: spec.Args, SecondENIOnMaster: true,
	})
	if err != nil {
		return nil, err
	}
	other := &Cluster{Lab: c.Lab, Cloud: c.Cloud, ID: launched.ID, SubnetID: c.SubnetID, prefix: prefix + "-", files: spec.filesOf, count: map[string]int{}}
	for _, n := range launched.Nodes {
		if _, err := other.AddNode(ctx, other.nodeSpec(n, n.Role == cloud.RoleMaster && spec.Masters <= 1)); err != nil {
			return nil, fmt.Errorf("building cluster %s: %w", launched.ID, err)
		}
	}
	return other, nil
}

// Admit makes the data centre's firewall admit more addresses.
func (l *Lab) Admit(ctx context.Context, addresses ...netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range addresses {
		if !slices.Contains(l.spec.Admitted, a) {
			l.spec.Admitted = append(l.spec.Admitted, a)
		}
	}
	return l.firewall.admit(ctx, l.spec.Admitted)
}

// Admitted returns the addresses that the data centre's firewall admits.
func (l *Lab) Admitted() []netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.spec.Admitted)
}

// End ends the whole cluster: all its instances terminate, and its nodes vanish from the lab.
func (c *Cluster) End() {
	c.Cloud.TerminateCluster(c.ID)
	for _, n := range c.Nodes() {
		if i := c.Cloud.Node(n.Instance); i != nil && i.ClusterID == c.ID {
			c.RemoveNode(n)
		}
	}
}

// Name returns the name of a cluster that stands beside the first one. The first one has none.
func (c *Cluster) Name() string { return strings.TrimSuffix(c.prefix, "-") }
