package cloud

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
)

// VPCEndpoint is a way from a VPC to a service without the Internet:
// https://docs.aws.amazon.com/vpc/latest/privatelink/concepts.html
type VPCEndpoint struct {
	VPC     string
	Service string // com.amazonaws.REGION.ssm
	// Interface endpoints have an interface in each of the subnets, whose security groups decide
	// who reaches it. Gateway endpoints have route tables instead.
	Gateway        bool
	Subnets        []string
	SecurityGroups []string
	RouteTables    []string
	PrivateDNS     bool   // the service's public name leads to the endpoint inside the VPC
	State          string // default available
	Policy         string // default: everything is allowed
}

type vpcEndpoint struct {
	VPCEndpoint
	id string
}

// fullAccess is the policy of an endpoint that was created without one.
const fullAccess = `{"Statement":[{"Action":"*","Effect":"Allow","Principal":"*","Resource":"*"}]}`

// CreateVPCEndpoint creates a VPC endpoint. It panics on a mistake of the test.
func (c *Cloud) CreateVPCEndpoint(e VPCEndpoint) (endpointID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.findVPC(e.VPC)
	if v == nil || e.Gateway && len(e.Subnets)+len(e.SecurityGroups) > 0 || !e.Gateway && len(e.RouteTables) > 0 {
		panic(fmt.Sprintf("cloud: no VPC endpoint %+v", e))
	}
	if e.State == "" {
		e.State = "available"
	}
	if e.Policy == "" {
		e.Policy = fullAccess
	}
	c.endpoints = append(c.endpoints, vpcEndpoint{e, c.newID("vpce")})
	return c.endpoints[len(c.endpoints)-1].id
}

// Equip gives a VPC what its nodes reach AWS with: endpoints of SSM, EC2 and S3, and public subnets
// a route to an Internet gateway. The role of the nodes gets these policies; nil: it may do
// everything. admitted says whether the endpoints admit the nodes.
func (c *Cloud) Equip(vpcID string, admitted bool, policies iam.Policies) {
	c.mu.Lock()
	v := c.findVPC(vpcID)
	var public, tables []string
	for _, s := range c.subnets {
		if s.vpc == v && s.public {
			public = append(public, s.id)
		}
	}
	rule := Ingress{Protocol: "tcp", From: 443, To: 443, CIDRs: v.cidrs}
	tables = append(tables, v.tables()[0].id)
	c.mu.Unlock()
	if !admitted {
		rule.CIDRs = nil
	}
	group := c.CreateSecurityGroup(vpcID, "endpoints", rule)
	service := "com.amazonaws." + c.opts.Region + "."
	for _, name := range []string{"ssm", "ec2"} {
		c.CreateVPCEndpoint(VPCEndpoint{VPC: vpcID, Service: service + name, SecurityGroups: []string{group}, PrivateDNS: true})
	}
	for _, id := range public {
		tables = append(tables, c.CreateRouteTable(id, Route{To: netip.MustParsePrefix("0.0.0.0/0"), Target: "igw" + strings.TrimPrefix(vpcID, "vpc")}))
	}
	c.CreateVPCEndpoint(VPCEndpoint{VPC: vpcID, Service: service + "s3", Gateway: true, RouteTables: tables})
	if policies == nil {
		everything, err := iam.ParsePolicy([]byte(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}`))
		if err != nil {
			panic(err) // a constant
		}
		policies = iam.Policies{everything}
	}
	c.SetRole(roleName, policies, nil)
}

func (e vpcEndpoint) kind() string {
	if e.Gateway {
		return "Gateway"
	}
	return "Interface"
}

// prepareDescribeVpcEndpoints does not refuse MaxResults above 1000: "If the value is greater than
// 1,000, we return only 1,000 items." The text of the error for an unknown id is not verified.
func prepareDescribeVpcEndpoints(r *request) (*operation, *Error) {
	d := r.query.describeInput("VpcEndpointId", 1, 1000, "tag:", "tag-key", "service-name", "vpc-id", "vpc-endpoint-id", "vpc-endpoint-state", "vpc-endpoint-type")
	return d.operation(r, func(x *xmlWriter, now, t time.Time) *Error {
		c := r.cloud
		find := func(id string) (vpcEndpoint, bool) {
			i := slices.IndexFunc(c.endpoints, func(e vpcEndpoint) bool { return e.id == id })
			if i < 0 {
				return vpcEndpoint{}, false
			}
			return c.endpoints[i], true
		}
		field := func(e vpcEndpoint, name string, yield func(string) bool) {
			switch name {
			case "service-name":
				yield(e.Service)
			case "vpc-id":
				yield(e.VPC)
			case "vpc-endpoint-id":
				yield(e.id)
			case "vpc-endpoint-state":
				yield(e.State)
			case "vpc-endpoint-type":
				yield(e.kind())
			}
		}
		return list(&d, x, inventory[vpcEndpoint]{"vpcEndpointSet", c.endpoints, find, "InvalidVpcEndpointId.NotFound", "vpcEndpoint", nil, field, func(e vpcEndpoint) {
			e.write(x, c)
		}, 0})
	})
}

func (e vpcEndpoint) write(x *xmlWriter, c *Cloud) {
	x.open("item")
	x.text("vpcEndpointId", e.id)
	x.text("vpcEndpointType", e.kind())
	x.text("vpcId", e.VPC)
	x.text("serviceName", e.Service)
	x.text("state", e.State)
	x.text("policyDocument", e.Policy)
	items := func(name string, list []string) {
		x.open(name)
		for _, item := range list {
			x.text("item", item)
		}
		x.close(name)
	}
	items("routeTableIdSet", e.RouteTables)
	items("subnetIdSet", e.Subnets)
	x.open("groupSet")
	for _, id := range e.SecurityGroups {
		x.open("item")
		x.text("groupId", id)
		x.text("groupName", c.groupName(id))
		x.close("item")
	}
	x.close("groupSet")
	x.flag("privateDnsEnabled", e.PrivateDNS)
	x.flag("requesterManaged", false)
	items("networkInterfaceIdSet", nil)
	x.open("dnsEntrySet")
	if service := e.Service[strings.LastIndexByte(e.Service, '.')+1:]; e.PrivateDNS {
		x.open("item")
		x.text("dnsName", service+"."+c.opts.Region+".amazonaws.com")
		x.close("item")
	}
	x.close("dnsEntrySet")
	x.text("ownerId", c.opts.Account)
	x.tags(nil)
	x.close("item")
}
