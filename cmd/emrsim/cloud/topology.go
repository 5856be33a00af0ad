package cloud

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

type vpc struct {
	id     string
	cidrs  []netip.Prefix
	tags   tagSet
	routes []*routeTable // see tables
	owner  string        // account that shares the VPC's subnets with this one; empty: this account owns it
}

type subnet struct {
	id           string
	vpc          *vpc
	cidr         netip.Prefix
	az           string
	public       bool // instances get a public IPv4 address at launch
	tags         tagSet
	owner        map[netip.Addr]*eni      // the arbiter: the ENI that has an address
	freeFrom     map[netip.Addr]time.Time // when an unassigned address can be assigned again: see Unverified.FreeDelay
	reservations []reservation
}

// reservation is a subnet CIDR reservation. EC2 does not choose addresses from it.
type reservation struct {
	id, kind string
	cidr     netip.Prefix
}

// CreateVPC creates a VPC with one or more IPv4 CIDRs. The first is the primary one.
func (c *Cloud) CreateVPC(cidrs ...netip.Prefix) (vpcID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := &vpc{id: c.newID("vpc"), cidrs: append([]netip.Prefix(nil), cidrs...)}
	c.vpcs = append(c.vpcs, v)
	return v.id
}

// CreateSubnet creates a subnet in the next availability zone. It panics on a mistake of the test:
// if the VPC is unknown or does not contain the CIDR, or if another subnet overlaps.
func (c *Cloud) CreateSubnet(vpcID string, cidr netip.Prefix) (subnetID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.findVPC(vpcID)
	if v == nil {
		panic("cloud: no VPC " + vpcID)
	}
	inside := false
	for _, p := range v.cidrs {
		inside = inside || (p.Contains(cidr.Addr()) && p.Bits() <= cidr.Bits())
	}
	if !inside || cidr.Bits() > 28 || cidr.Masked() != cidr {
		panic(fmt.Sprintf("cloud: %v is no subnet of %v", cidr, v.cidrs))
	}
	n := 0
	for _, s := range c.subnets {
		if s.vpc == v {
			n++
			if s.cidr.Overlaps(cidr) {
				panic(fmt.Sprintf("cloud: %v overlaps with %v", cidr, s.cidr))
			}
		}
	}
	s := &subnet{id: c.newID("subnet"), vpc: v, cidr: cidr, az: c.opts.Region + string(rune('a'+n%3)), owner: map[netip.Addr]*eni{}, freeFrom: map[netip.Addr]time.Time{}}
	c.subnets = append(c.subnets, s)
	return s.id
}

// ReserveCIDR creates a subnet CIDR reservation of type "explicit" or "prefix". EC2 assigns a
// primary address of the reservation only if the caller asks for that address.
func (c *Cloud) ReserveCIDR(subnetID string, cidr netip.Prefix, kind string) (reservationID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.findSubnet(subnetID)
	if s == nil || (kind != "explicit" && kind != "prefix") || !s.cidr.Contains(cidr.Addr()) || cidr.Bits() < s.cidr.Bits() {
		panic(fmt.Sprintf("cloud: no %q reservation of %v in subnet %q", kind, cidr, subnetID))
	}
	r := reservation{id: c.newID("scr"), kind: kind, cidr: cidr.Masked()}
	s.reservations = append(s.reservations, r)
	return r.id
}

// MapPublicIP makes a subnet public: an instance launched there gets a public IPv4 address, which
// the Internet gateway maps to the primary private address.
func (c *Cloud) MapPublicIP(subnetID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.findSubnet(subnetID)
	if s == nil {
		panic("cloud: no subnet " + subnetID)
	}
	s.public = true
}

func (c *Cloud) findVPC(id string) *vpc {
	for _, v := range c.vpcs {
		if v.id == id {
			return v
		}
	}
	return nil
}

func (c *Cloud) findSubnet(id string) *subnet {
	for _, s := range c.subnets {
		if s.id == id {
			return s
		}
	}
	return nil
}

// reserved reports whether AWS reserves an address of the subnet: the first four and the last.
func (s *subnet) reserved(a netip.Addr) bool {
	first := s.cidr.Masked().Addr()
	for range 4 {
		if a == first {
			return true
		}
		first = first.Next()
	}
	return a == s.last()
}

// last returns the subnet's broadcast address.
func (s *subnet) last() netip.Addr { return s.at(s.size() - 1) }

func (s *subnet) size() int { return 1 << (32 - s.cidr.Bits()) }

// at returns the n-th address of the subnet.
func (s *subnet) at(n int) netip.Addr {
	b := s.cidr.Masked().Addr().As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	v += uint32(n)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

func (s *subnet) available() int { return s.size() - 5 - len(s.owner) }

// free returns a free address for a new interface, anywhere in the subnet outside of reservations,
// as EC2 does.
func (s *subnet) free(r *rand.Rand) (netip.Addr, error) {
	n := s.size()
	start := r.IntN(n)
	for i := range n {
		a := s.at((start + i) % n)
		if s.reserved(a) || s.owner[a] != nil || s.inReservation(a) {
			continue
		}
		return a, nil
	}
	return netip.Addr{}, fmt.Errorf("subnet %s: InsufficientFreeAddressesInSubnet", s.id)
}

func (s *subnet) inReservation(a netip.Addr) bool {
	for _, r := range s.reservations {
		if r.cidr.Contains(a) {
			return true
		}
	}
	return false
}

// usable returns an error if an address that a caller asks for cannot be assigned.
func (s *subnet) usable(a netip.Addr) error {
	switch {
	case !s.cidr.Contains(a):
		return fmt.Errorf("%v is outside subnet %s %v", a, s.id, s.cidr)
	case s.reserved(a):
		return fmt.Errorf("%v is reserved by AWS in subnet %s", a, s.id)
	case s.owner[a] != nil:
		return fmt.Errorf("%v is in use by %s", a, s.owner[a].id)
	}
	return nil
}
