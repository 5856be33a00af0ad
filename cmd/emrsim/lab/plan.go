package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
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
	VPC      netip.Prefix   // its primary CIDR
	CIDRs    []netip.Prefix // all of its CIDRs, the primary one first
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
	return newPlan(Shape{Subnets: append([]netip.Prefix{subnet}, others...)})
}

// newPlan returns a plan for the VPC, the subnets and the data centre of a shape.
func newPlan(shape Shape) (Plan, error) {
	cidrs, err := shape.vpc()
	if err != nil {
		return Plan{}, err
	}
	var subnets []netip.Prefix
	for _, s := range shape.Subnets {
		s = s.Masked()
		if !s.Addr().Is4() || s.Bits() < 17 || s.Bits() > 28 {
			return Plan{}, fmt.Errorf("subnet %s: must be an IPv4 network between /17 and /28", s)
		}
		for _, other := range subnets {
			if s.Overlaps(other) {
				return Plan{}, fmt.Errorf("subnets %s and %s overlap", other, s)
			}
		}
		if !slices.ContainsFunc(cidrs, func(c netip.Prefix) bool { return c.Contains(s.Addr()) && c.Bits() <= s.Bits() }) {
			if len(shape.VPC) == 0 {
				return Plan{}, fmt.Errorf("subnets %s and %s: must be in one VPC, the /16 %s, or name the VPC's CIDRs", subnets[0], s, cidrs[0])
			}
			return Plan{}, fmt.Errorf("subnet %s: is in none of the VPC's CIDRs: %s", s, listed(cidrs))
		}
		subnets = append(subnets, s)
	}
	p := Plan{
		VPC:     cidrs[0],
		CIDRs:   cidrs,
		Subnet:  subnets[0],
		Subnets: subnets,
		Gateway: subnets[0].Addr().Next(),
		Witness: netip.MustParseAddr("198.51.100.10"),
	}
	overlapsVPC := func(other netip.Prefix) bool { return slices.ContainsFunc(cidrs, other.Overlaps) }
	var problems []error
	if p.Endpoint = endpointIn(cidrs, subnets); !p.Endpoint.IsValid() {
		problems = append(problems, fmt.Errorf("the subnets leave no /28 of VPC %s for its endpoints", listed(cidrs)))
	}
	if p.OnPrem = shape.DataCentre.Masked(); !p.OnPrem.IsValid() {
		p.OnPrem = dataCentres[max(0, slices.IndexFunc(dataCentres, func(c netip.Prefix) bool { return !overlapsVPC(c) }))]
	}
	transit := netip.MustParsePrefix("100.64.0.0/30")
	switch witness := netip.PrefixFrom(p.Witness, 24).Masked(); {
	case !p.OnPrem.Addr().Is4() || p.OnPrem.Bits() < 8 || p.OnPrem.Bits() > 28:
		return Plan{}, fmt.Errorf("data centre %s: must be an IPv4 network between /8 and /28", p.OnPrem)
	case overlapsVPC(p.OnPrem):
		problems = append(problems, fmt.Errorf("VPC %s overlaps the data centre %s: nothing routes between them", listed(cidrs), p.OnPrem))
	case overlapsVPC(witness) || overlapsVPC(transit) || p.OnPrem.Overlaps(witness) || p.OnPrem.Overlaps(transit):
		problems = append(problems, fmt.Errorf("VPC %s and data centre %s: the lab uses %s and %s itself", listed(cidrs), p.OnPrem, witness, transit))
	}
	p.Server = p.OnPrem.Addr()
	for range 10 {
		p.Server = p.Server.Next()
	}
	return p, errors.Join(problems...)
}

// dataCentres are the networks of the data centre: the first that does not overlap the VPC.
var dataCentres = []netip.Prefix{netip.MustParsePrefix("192.168.50.0/24"), netip.MustParsePrefix("172.30.50.0/24"), netip.MustParsePrefix("10.250.50.0/24")}

// vpc returns the VPC's CIDRs.
func (s Shape) vpc() ([]netip.Prefix, error) {
	if len(s.VPC) == 0 {
		return []netip.Prefix{netip.PrefixFrom(s.Subnets[0].Addr(), 16).Masked()}, nil
	}
	for i, c := range s.VPC {
		if !c.Addr().Is4() || c.Bits() < 16 || c.Bits() > 28 || c != c.Masked() {
			return nil, fmt.Errorf("VPC CIDR %s: must be an IPv4 network between /16 and /28", c)
		}
		if j := slices.IndexFunc(s.VPC[:i], c.Overlaps); j >= 0 {
			return nil, fmt.Errorf("VPC CIDRs %s and %s overlap", s.VPC[j], c)
		}
	}
	return slices.Clone(s.VPC), nil
}

// endpointIn returns an address for the endpoints: in the first or the last network of a CIDR that
// does not overlap a subnet, of size /24 if there is one and smaller otherwise. It returns the zero
// Addr if the subnets leave no room.
func endpointIn(cidrs, subnets []netip.Prefix) netip.Addr {
	for _, c := range cidrs {
		first := c.Addr().As4()
		for bits := max(24, c.Bits()); bits <= 28; bits++ {
			count := uint32(1) << (bits - c.Bits())
			for n := range count {
				if n > 0 {
					n = count - n // 0, the last one, the one before it, ...
				}
				b := first // at most 16 bits of it vary
				at := uint32(b[2])<<8 + uint32(b[3]) + n<<(32-bits)
				b[2], b[3] = byte(at>>8), byte(at)
				if block := netip.PrefixFrom(netip.AddrFrom4(b), bits); !slices.ContainsFunc(subnets, block.Overlaps) {
					b[3] += 10
					return netip.AddrFrom4(b)
				}
			}
		}
	}
	return netip.Addr{}
}

// listed returns networks as a list with commas.
func listed(networks []netip.Prefix) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(networks), " ", ", "), "[]")
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
