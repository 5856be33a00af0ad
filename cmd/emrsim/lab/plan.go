package lab

import (
	"errors"
	"fmt"
	"net/netip"
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
	Subnet   netip.Prefix // the cluster's subnet
	Gateway  netip.Addr   // the subnet's router
	Endpoint netip.Addr   // the AWS API as a VPC interface endpoint: inside the VPC, outside the subnet
	OnPrem   netip.Prefix // the data centre
	Server   netip.Addr   // its file server
	Witness  netip.Addr   // outside the VPC and the data centre, not behind the firewall
}

// transit is the link between the VPC and the data centre's firewall.
const (
	transitRouter   = "100.64.0.1"
	transitFirewall = "100.64.0.2"
)

// NewPlan returns a plan for the cluster's subnet. The VPC is the /16 that contains the subnet.
func NewPlan(subnet netip.Prefix) (Plan, error) {
	subnet = subnet.Masked()
	if !subnet.Addr().Is4() || subnet.Bits() < 17 || subnet.Bits() > 28 {
		return Plan{}, fmt.Errorf("subnet %s: must be an IPv4 network between /17 and /28", subnet)
	}
	p := Plan{
		VPC:     netip.PrefixFrom(subnet.Addr(), 16).Masked(),
		Subnet:  subnet,
		Gateway: subnet.Addr().Next(),
		OnPrem:  netip.MustParsePrefix("192.168.50.0/24"),
		Server:  netip.MustParseAddr("192.168.50.10"),
		Witness: netip.MustParseAddr("198.51.100.10"),
	}
	// The endpoint is in the first or the last /24 of the VPC, whichever does not overlap the
	// subnet.
	base := p.VPC.Addr().As4()
	for _, third := range []byte{0, 255} {
		endpoints := netip.PrefixFrom(netip.AddrFrom4([4]byte{base[0], base[1], third, 0}), 24)
		if !endpoints.Overlaps(subnet) {
			p.Endpoint = netip.AddrFrom4([4]byte{base[0], base[1], third, 10})
			break
		}
	}
	var problems []error
	for _, taken := range []netip.Prefix{p.OnPrem, netip.PrefixFrom(p.Witness, 24).Masked(), netip.MustParsePrefix("100.64.0.0/30")} {
		if p.VPC.Overlaps(taken) {
			problems = append(problems, fmt.Errorf("VPC %s overlaps %s, which the lab uses itself", p.VPC, taken))
		}
	}
	return p, errors.Join(problems...)
}

// EndpointURL returns the value of AWS_ENDPOINT_URL on the nodes.
func (p Plan) EndpointURL() string { return "http://" + p.Endpoint.String() }
