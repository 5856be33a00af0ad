package cloud

import (
	"fmt"
	"net/netip"
)

// ShareVPC makes a VPC another account's, which shares its subnets with this account (AWS Resource
// Access Manager). This account can launch instances there. The ARNs of VPC and subnets have the
// owner's account; tags that the owner sets are not seen here, nor are the interfaces of other
// participants: https://docs.aws.amazon.com/vpc/latest/userguide/vpc-sharing.html
func (c *Cloud) ShareVPC(vpcID, owner string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.findVPC(vpcID)
	if v == nil || owner == c.opts.Account {
		panic(fmt.Sprintf("cloud: VPC %q cannot be shared by account %s", vpcID, owner))
	}
	v.owner = owner
}

// AddForeignENI creates a network interface of another participant in a subnet of a shared VPC,
// with its primary and secondary addresses. Describe calls do not show it.
func (c *Cloud) AddForeignENI(subnetID string, primary netip.Addr, secondary ...netip.Addr) (eniID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.findSubnet(subnetID)
	if s == nil || s.vpc.owner == "" {
		panic(fmt.Sprintf("cloud: subnet %q is not shared", subnetID))
	}
	now := c.now()
	c.settle(now)
	for _, a := range append([]netip.Addr{primary}, secondary...) {
		if err := s.usable(a); err != nil {
			panic("cloud: " + err.Error())
		}
	}
	e := c.newENI(s, primary, now)
	e.foreign = true
	for _, a := range secondary {
		e.assign(a, now, 0, 0)
	}
	return e.id
}

// ownerOf returns the account that owns a VPC and its subnets.
func (c *Cloud) ownerOf(v *vpc) string {
	if v.owner != "" {
		return v.owner
	}
	return c.opts.Account
}

func (c *Cloud) subnetARN(s *subnet) string {
	return "arn:aws:ec2:" + c.opts.Region + ":" + c.ownerOf(s.vpc) + ":subnet/" + s.id
}

func (c *Cloud) vpcARN(v *vpc) string {
	return "arn:aws:ec2:" + c.opts.Region + ":" + c.ownerOf(v) + ":vpc/" + v.id
}

// seenTags returns the tags that this account sees.
func (v *vpc) seenTags() tagSet {
	if v.owner != "" {
		return nil
	}
	return v.tags
}

func (s *subnet) seenTags() tagSet {
	if s.vpc.owner != "" {
		return nil
	}
	return s.tags
}
