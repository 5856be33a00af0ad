package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// metadata is the address of the Instance Metadata Service of every instance.
var metadata = netip.AddrFrom4([4]byte{169, 254, 169, 254})

// Ports of the lab's services.
const (
	httpPort = 80   // IMDS, the AWS API endpoint, the file server
	hdfsPort = 8020 // the file server, too: where a NameNode listens
	nodePort = 9866 // a service on each node that is bound to the primary IP only, like a DataNode
)

// A Plan has the networks and addresses of the lab.
//
//	node ─┐                       10.0.0.0/16                    192.168.50.0/24
//	node ─┼─ VPC router (gateway, IMDS, API endpoint) ── firewall ── file server
//	node ─┘        └─ witness
//
// The witness is a host elsewhere that answers with the source address that it sees.
type Plan struct {
	VPC      netip.Prefix
	Subnet   netip.Prefix   // the cluster's subnet
	Subnets  []netip.Prefix // all that the cluster may be launched in, Subnet among them
	Gateway  netip.Addr     // the subnet's router
	Endpoint netip.Addr     // the AWS API as a VPC interface endpoint: inside the VPC, outside the subnets; if Public, on the Internet
	Public   bool           // the subnets have an Internet gateway
	OnPrem   netip.Prefix   // the data centre
	Server   netip.Addr     // its file server
	Witness  netip.Addr     // outside the VPC and the data centre, not behind the firewall
}

// transit is the link between the VPC and the data centre's firewall.
const (
	transitRouter   = "100.64.0.1"
	transitFirewall = "100.64.0.2"
)

// NewPlan returns a plan for the cluster's subnet, and for others of the same VPC. The VPC is the
// /16 that contains the subnet.
func NewPlan(subnet netip.Prefix, others ...netip.Prefix) (Plan, error) {
	var subnets []netip.Prefix
	for _, s := range append([]netip.Prefix{subnet}, others...) {
		s = s.Masked()
		if !s.Addr().Is4() || s.Bits() < 17 || s.Bits() > 28 {
			return Plan{}, fmt.Errorf("subnet %s: must be an IPv4 network between /17 and /28", s)
		}
		for _, other := range subnets {
			if s.Overlaps(other) {
				return Plan{}, fmt.Errorf("subnets %s and %s overlap", other, s)
			}
			if vpc := netip.PrefixFrom(other.Addr(), 16).Masked(); !vpc.Contains(s.Addr()) {
				return Plan{}, fmt.Errorf("subnets %s and %s: must be in one VPC, the /16 %s", other, s, vpc)
			}
		}
		subnets = append(subnets, s)
	}
	subnet = subnets[0]
	p := Plan{
		VPC:     netip.PrefixFrom(subnet.Addr(), 16).Masked(),
		Subnet:  subnet,
		Subnets: subnets,
		Gateway: subnet.Addr().Next(),
		OnPrem:  netip.MustParsePrefix("192.168.50.0/24"),
		Server:  netip.MustParseAddr("192.168.50.10"),
		Witness: netip.MustParseAddr("198.51.100.10"),
	}
	// The endpoint is in the first or the last /24 of the VPC that does not overlap a subnet.
	var problems []error
	base := p.VPC.Addr().As4()
	for n := range 256 {
		third := byte(256 - n) // 0, 255, 254, ...
		endpoints := netip.PrefixFrom(netip.AddrFrom4([4]byte{base[0], base[1], third, 0}), 24)
		if !slices.ContainsFunc(subnets, endpoints.Overlaps) {
			p.Endpoint = netip.AddrFrom4([4]byte{base[0], base[1], third, 10})
			break
		}
	}
	if !p.Endpoint.IsValid() {
		problems = append(problems, fmt.Errorf("the subnets leave no /24 of VPC %s for its endpoints", p.VPC))
	}
	for _, taken := range []netip.Prefix{p.OnPrem, netip.PrefixFrom(p.Witness, 24).Masked(), netip.MustParsePrefix("100.64.0.0/30")} {
		if p.VPC.Overlaps(taken) {
			problems = append(problems, fmt.Errorf("VPC %s overlaps %s, which the lab uses itself", p.VPC, taken))
		}
	}
	return p, errors.Join(problems...)
}

// launchedIn makes one of the subnets the cluster's.
func (p *Plan) launchedIn(subnet netip.Prefix) {
	p.Subnet, p.Gateway = subnet, subnet.Addr().Next()
}

// makePublic moves the AWS API to the Internet, and gives the VPC an Internet gateway.
func (p *Plan) makePublic() {
	p.Public, p.Endpoint = true, netip.MustParseAddr("198.51.100.20")
}

// Internet returns the network of the lab that is reached by the Internet gateway.
func (p Plan) Internet() netip.Prefix { return netip.PrefixFrom(p.Witness, 24).Masked() }

// EndpointURL returns the value of AWS_ENDPOINT_URL on the nodes.
func (p Plan) EndpointURL() string { return "http://" + p.Endpoint.String() }
