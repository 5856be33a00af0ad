package cloud

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Ingress is a rule of a security group for packets that come in.
type Ingress struct {
	Protocol string // tcp; -1 for all
	From, To int    // ports
	CIDRs    []netip.Prefix
	Groups   []string // ids of the groups whose members may send
}

// securityGroup is a security group.
type securityGroup struct {
	id, name string
	vpc      *vpc
	ingress  []Ingress
}

// CreateSecurityGroup creates a security group that admits what the rules say.
func (c *Cloud) CreateSecurityGroup(vpcID, name string, rules ...Ingress) (groupID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.findVPC(vpcID)
	if v == nil || name == "" || strings.HasPrefix(name, "sg-") {
		panic(fmt.Sprintf("cloud: no security group %q in VPC %q", name, vpcID))
	}
	g := &securityGroup{id: c.newID("sg"), name: name, vpc: v, ingress: rules}
	c.groups = append(c.groups, g)
	return g.id
}

func (c *Cloud) groupName(id string) string {
	for _, g := range c.groups {
		if g.id == id {
			return g.name
		}
	}
	return ""
}

func prepareDescribeSecurityGroups(r *request) (*operation, *Error) {
	d := r.query.describeInput("GroupId", 5, 1000, "group-id", "group-name", "vpc-id")
	return d.operation(r, func(x *xmlWriter, now, t time.Time) *Error {
		c := r.cloud
		find := func(id string) (*securityGroup, bool) {
			i := slices.IndexFunc(c.groups, func(g *securityGroup) bool { return g.id == id })
			if i < 0 {
				return nil, false
			}
			return c.groups[i], true
		}
		for _, id := range d.ids {
			if _, ok := find(id); !ok {
				return ec2Error("InvalidGroup.NotFound", "The security group '"+printable(id)+"' does not exist")
			}
		}
		field := func(g *securityGroup, name string, yield func(string) bool) {
			switch name {
			case "group-id":
				yield(g.id)
			case "group-name":
				yield(g.name)
			case "vpc-id":
				yield(g.vpc.id)
			}
		}
		return list(&d, x, inventory[*securityGroup]{set: "securityGroupInfo", all: c.groups, find: find, field: field, write: func(g *securityGroup) {
			g.write(x, c)
		}})
	})
}

func (g *securityGroup) write(x *xmlWriter, c *Cloud) {
	x.open("item")
	x.text("ownerId", c.opts.Account)
	x.text("groupId", g.id)
	x.text("groupName", g.name)
	x.text("groupDescription", g.name)
	x.text("vpcId", g.vpc.id)
	x.open("ipPermissions")
	for _, rule := range g.ingress {
		x.open("item")
		x.text("ipProtocol", rule.Protocol)
		if rule.Protocol != "-1" {
			x.number("fromPort", rule.From)
			x.number("toPort", rule.To)
		}
		x.open("groups")
		for _, id := range rule.Groups {
			x.open("item")
			x.text("userId", c.opts.Account)
			x.text("groupId", id)
			x.close("item")
		}
		x.close("groups")
		x.open("ipRanges")
		for _, p := range rule.CIDRs {
			x.open("item")
			x.text("cidrIp", p.String())
			x.close("item")
		}
		x.close("ipRanges")
		x.open("ipv6Ranges")
		x.close("ipv6Ranges")
		x.open("prefixListIds")
		x.close("prefixListIds")
		x.close("item")
	}
	x.close("ipPermissions")
	x.open("ipPermissionsEgress")
	x.close("ipPermissionsEgress")
	x.tags(nil)
	x.close("item")
}
