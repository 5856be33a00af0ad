package cloud

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Route is a route of a route table to somewhere outside the VPC.
type Route struct {
	To        netip.Prefix
	Target    string // igw-..., nat-..., tgw-..., vgw-..., pcx-...
	Blackhole bool   // the target is gone
}

// routeTable is a route table of a VPC. Every VPC has a main one, which is that of all subnets
// without one of their own: https://docs.aws.amazon.com/vpc/latest/userguide/VPC_Route_Tables.html
type routeTable struct {
	id      string
	vpc     *vpc
	subnets []*subnet // without those of the main table
	main    bool
	routes  []Route
}

// tables returns the VPC's route tables, the main one first.
func (v *vpc) tables() []*routeTable {
	if len(v.routes) == 0 {
		v.routes = []*routeTable{{id: "rtb" + strings.TrimPrefix(v.id, "vpc"), vpc: v, main: true}}
	}
	return v.routes
}

// table returns the route table of a subnet.
func (s *subnet) table() *routeTable {
	for _, t := range s.vpc.tables() {
		if slices.Contains(t.subnets, s) {
			return t
		}
	}
	return s.vpc.tables()[0]
}

// CreateRouteTable gives a subnet a route table of its own, with these routes beside the local
// ones.
func (c *Cloud) CreateRouteTable(subnetID string, routes ...Route) (tableID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.findSubnet(subnetID)
	if s == nil || !s.table().main {
		panic(fmt.Sprintf("cloud: subnet %q does not exist, or has a route table", subnetID))
	}
	t := &routeTable{id: c.newID("rtb"), vpc: s.vpc, subnets: []*subnet{s}, routes: routes}
	s.vpc.routes = append(s.vpc.routes, t)
	return t.id
}

func prepareDescribeRouteTables(r *request) (*operation, *Error) {
	d := r.query.describeInput("RouteTableId", 5, 100, "route-table-id", "vpc-id", "association.subnet-id", "association.main", "association.route-table-id")
	return d.operation(r, func(x *xmlWriter, now, at time.Time) *Error {
		c := r.cloud
		var all []*routeTable
		for _, v := range c.vpcs {
			all = append(all, v.tables()...)
		}
		find := func(id string) (*routeTable, bool) {
			i := slices.IndexFunc(all, func(t *routeTable) bool { return t.id == id })
			if i < 0 {
				return nil, false
			}
			return all[i], true
		}
		field := func(t *routeTable, name string, yield func(string) bool) {
			switch name {
			case "route-table-id", "association.route-table-id":
				yield(t.id)
			case "vpc-id":
				yield(t.vpc.id)
			case "association.subnet-id":
				for _, s := range t.subnets {
					yield(s.id)
				}
			case "association.main":
				yield(strconv.FormatBool(t.main))
			}
		}
		return list(&d, x, inventory[*routeTable]{"routeTableSet", all, find, "InvalidRouteTableID.NotFound", "routeTable", nil, field, func(t *routeTable) {
			c.writeRouteTable(x, t)
		}, 0})
	})
}

func (c *Cloud) writeRouteTable(x *xmlWriter, t *routeTable) {
	x.open("item")
	x.text("routeTableId", t.id)
	x.text("vpcId", t.vpc.id)
	x.text("ownerId", c.ownerOf(t.vpc))
	x.open("routeSet")
	route := func(to, key, target, state, origin string) {
		x.open("item")
		x.text("destinationCidrBlock", to)
		x.text(key, target)
		x.text("state", state)
		x.text("origin", origin)
		x.close("item")
	}
	for _, p := range t.vpc.cidrs {
		route(p.String(), "gatewayId", "local", "active", "CreateRouteTable")
	}
	for _, to := range t.routes {
		state := "active"
		if to.Blackhole {
			state = "blackhole"
		}
		key := map[string]string{"nat": "natGatewayId", "tgw": "transitGatewayId", "pcx": "vpcPeeringConnectionId"}[to.Target[:3]]
		if key == "" {
			key = "gatewayId"
		}
		route(to.To.String(), key, to.Target, state, "CreateRoute")
	}
	for _, e := range c.endpoints {
		if !slices.Contains(e.RouteTables, t.id) {
			continue
		}
		for _, l := range c.prefixLists() {
			if l.Name == e.Service {
				x.open("item")
				x.text("destinationPrefixListId", l.ID)
				x.text("gatewayId", e.id)
				x.text("state", "active")
				x.text("origin", "CreateRoute")
				x.close("item")
			}
		}
	}
	x.close("routeSet")
	x.open("associationSet")
	association := func(n int, subnet string, main bool) {
		x.open("item")
		x.text("routeTableAssociationId", fmt.Sprintf("rtbassoc-%s%d", strings.TrimPrefix(t.id, "rtb-"), n))
		x.text("routeTableId", t.id)
		x.text("subnetId", subnet)
		x.flag("main", main)
		x.open("associationState")
		x.text("state", "associated")
		x.close("associationState")
		x.close("item")
	}
	if t.main {
		association(0, "", true)
	}
	for n, s := range t.subnets {
		association(n, s.id, false)
	}
	x.close("associationSet")
	x.open("propagatingVgwSet")
	x.close("propagatingVgwSet")
	x.tags(nil)
	x.close("item")
}
