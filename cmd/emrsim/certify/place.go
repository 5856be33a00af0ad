package certify

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// place is the subnet, and free addresses there.
type place struct {
	vpc     string
	cidr    netip.Prefix
	free    []netip.Addr // the first ones are for single steps, the others for one with many
	primary [2]netip.Addr
}

// manyAddresses is the number of addresses that one step puts on one interface; fewAddresses is the
// number for the other steps. The subnet must have as many as spare more that nobody uses, of which
// EC2 may give two to the run's interfaces.
const (
	manyAddresses = 20
	fewAddresses  = 4
	spare         = 8
)

// furnish looks at the subnet and makes two interfaces in it.
func (s *side) furnish(ctx context.Context) error {
	in := &ec2.DescribeSubnetsInput{}
	if s.Subnet != "" {
		in.SubnetIds = []string{s.Subnet}
	}
	out, err := s.ec2.DescribeSubnets(ctx, in)
	if err != nil {
		return fmt.Errorf("looking at the subnet: %w", err)
	}
	if len(out.Subnets) == 0 {
		return errors.New("the account has no subnet: name one with --subnet")
	}
	sub := out.Subnets[0]
	s.Subnet, s.place.vpc = aws.ToString(sub.SubnetId), aws.ToString(sub.VpcId)
	if s.place.cidr, err = netip.ParsePrefix(aws.ToString(sub.CidrBlock)); err != nil || !s.place.cidr.Addr().Is4() {
		return fmt.Errorf("subnet %s has the network %q: an IPv4 network is needed", s.Subnet, aws.ToString(sub.CidrBlock))
	}
	s.words.know(s.Subnet, "SUBNET")
	s.words.know(s.place.vpc, "VPC")
	s.words.know(s.place.cidr.String(), "CIDR")
	if err := s.choose(ctx); err != nil {
		return err
	}
	for n := range s.eni {
		if err := s.create(ctx, n); err != nil {
			return err
		}
	}
	s.nameAddresses()
	return s.available(ctx)
}

// nameAddresses names the addresses of the steps. One that EC2 has given to an interface of the run
// as its primary address is not among them: choose has found some to spare.
func (s *side) nameAddresses() {
	n := len(s.place.free) - spare
	s.place.free = slices.DeleteFunc(s.place.free, func(a netip.Addr) bool { return slices.Contains(s.place.primary[:], a) })[:n]
	for n, a := range s.place.free {
		s.words.address(a, fmt.Sprintf("ADDRESS%d", n))
	}
	s.words.address(nth(s.place.cidr, 2), "RESERVED")
	last := lastOf(s.place.cidr)
	s.words.address(last, "LAST")
	s.words.address(last.Next().Next(), "OUTSIDE")
}

// choose finds addresses of the subnet that no interface has and no reservation covers. They are
// the last ones of the subnet, since EC2 and operators begin with the first.
func (s *side) choose(ctx context.Context) error {
	used := map[netip.Addr]bool{}
	list, err := s.interfaces(ctx, false)
	if err != nil {
		return fmt.Errorf("looking for free addresses in %s: %w", s.Subnet, err)
	}
	for _, e := range list {
		for _, a := range e.PrivateIpAddresses {
			if addr, err := netip.ParseAddr(aws.ToString(a.PrivateIpAddress)); err == nil {
				used[addr] = true
			}
		}
	}
	reserved, err := s.reserved(ctx)
	if err != nil {
		return err
	}
	last := lastOf(s.place.cidr)
	for a := last.Prev(); s.place.cidr.Contains(a) && len(s.place.free) < fewAddresses+manyAddresses+spare; a = a.Prev() {
		if used[a] || slices.ContainsFunc(reserved, func(p netip.Prefix) bool { return p.Contains(a) }) || a.Compare(nth(s.place.cidr, 4)) < 0 {
			continue
		}
		s.place.free = append(s.place.free, a)
	}
	if len(s.place.free) < fewAddresses+spare {
		return fmt.Errorf("subnet %s has only %d addresses that are free and not reserved: %d are needed", s.Subnet, len(s.place.free), fewAddresses+spare)
	}
	return nil
}

// reserved returns the networks that the subnet keeps for others.
func (s *side) reserved(ctx context.Context) (list []netip.Prefix, err error) {
	out, err := s.ec2.GetSubnetCidrReservations(ctx, &ec2.GetSubnetCidrReservationsInput{SubnetId: &s.Subnet})
	if err != nil {
		if s.Emulator && code(err) != "" { // it may not know the call
			return nil, nil
		}
		return nil, fmt.Errorf("looking for reservations in %s: %w", s.Subnet, err)
	}
	for _, r := range out.SubnetIpv4CidrReservations {
		if p, err := netip.ParsePrefix(aws.ToString(r.Cidr)); err == nil {
			list = append(list, p)
		}
	}
	return list, nil
}

func (s *side) create(ctx context.Context, n int) error {
	out, err := s.ec2.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{
		SubnetId: &s.Subnet, Description: aws.String("made by emrsim certify " + s.Run + "; may be deleted"),
		// With a token of its own a repeated call makes nothing new.
		ClientToken: aws.String(fmt.Sprintf("emrsim-%s-%d", s.Run, n)),
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeNetworkInterface,
			Tags: []ec2types.Tag{{Key: aws.String(Tag), Value: &s.Run}}}},
	})
	if err != nil {
		return fmt.Errorf("making a network interface in %s: %w", s.Subnet, err)
	}
	s.own(n, *out.NetworkInterface)
	return nil
}

// own notes an interface that the run has made.
func (s *side) own(n int, e ec2types.NetworkInterface) {
	s.eni[n] = aws.ToString(e.NetworkInterfaceId)
	s.made[s.eni[n]] = true
	s.words.know(s.eni[n], fmt.Sprintf("ENI%d", n))
	if a, err := netip.ParseAddr(aws.ToString(e.PrivateIpAddress)); err == nil {
		s.place.primary[n] = a
		s.words.address(a, fmt.Sprintf("PRIMARY%d", n))
	}
}

// available waits until describe calls show both interfaces as available.
func (s *side) available(ctx context.Context) error {
	began := time.Now()
	for {
		out, err := s.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: s.eni[:]})
		if err == nil && len(out.NetworkInterfaces) == len(s.eni) && !slices.ContainsFunc(out.NetworkInterfaces, func(e ec2types.NetworkInterface) bool {
			return e.Status == "pending"
		}) {
			return nil
		}
		if time.Since(began) > s.Lag {
			return fmt.Errorf("the new interfaces %v are not available after %s: %w", s.eni, s.Lag, err)
		}
		if err := s.wait(ctx, pollPause); err != nil {
			return err
		}
	}
}

// interfaces returns the interfaces of the subnet; with tagged only those that some run made.
func (s *side) interfaces(ctx context.Context, tagged bool) (list []ec2types.NetworkInterface, err error) {
	in := &ec2.DescribeNetworkInterfacesInput{Filters: []ec2types.Filter{{Name: aws.String("subnet-id"), Values: []string{s.Subnet}}}}
	if tagged {
		in.Filters = append(in.Filters, ec2types.Filter{Name: aws.String("tag-key"), Values: []string{Tag}})
	}
	p := ec2.NewDescribeNetworkInterfacesPaginator(s.ec2, in)
	for p.HasMorePages() {
		out, err := p.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, e := range out.NetworkInterfaces {
			if !tagged || runOf(e) != "" {
				list = append(list, e)
			}
		}
	}
	return list, nil
}

// runOf returns the id of the run that made an interface, or "".
func runOf(e ec2types.NetworkInterface) string {
	for _, t := range e.TagSet {
		if aws.ToString(t.Key) == Tag {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

// nth returns the n-th address of a network, from 0.
func nth(p netip.Prefix, n int) netip.Addr {
	a := p.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// lastOf returns the last address of an IPv4 network.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(b)
}
