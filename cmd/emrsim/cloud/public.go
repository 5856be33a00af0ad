package cloud

import "net/netip"

// PublicNetwork has the model's public IPv4 addresses: a range for benchmarks, RFC 2544.
var PublicNetwork = netip.MustParsePrefix("198.18.0.0/16")

// newPublicIP returns the next public address. No address is given out twice. The lock must be
// held.
func (c *Cloud) newPublicIP() netip.Addr {
	c.publics++
	b := PublicNetwork.Addr().As4()
	b[2], b[3] = byte(c.publics>>8), byte(c.publics)
	return netip.AddrFrom4(b)
}

// Gateway translates the source address of a packet that leaves by the VPC's Internet gateway. The
// gateway knows the primary address of an interface with a public address, and drops all else:
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-instance-addressing.html
func (c *Cloud) Gateway(source netip.Addr) (public netip.Addr, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.settle(now)
	for _, e := range c.enis {
		if e.exists(now) && e.public.IsValid() && len(e.held) > 0 && e.primary() == source {
			return e.public, true
		}
	}
	return netip.Addr{}, false
}
