package ec2

import (
	"net"
	"net/netip"
)

// Identity is what the Instance Metadata Service (IMDSv2) says about this node and its primary
// interface. Nothing of it comes from the node's files or from the order of addresses on a link.
type Identity struct {
	InstanceID   string
	InstanceType string
	Region       string
	MAC          net.HardwareAddr // of the primary interface (device number 0)
	ENI          string           // the primary interface's id
	SubnetID     string
	Subnet       netip.Prefix
	VPCID        string
	VPC          []netip.Prefix // every IPv4 CIDR of the VPC
	PrimaryIP    netip.Addr
	// Public are the public IPv4 addresses of the ENI. The Internet gateway maps each to a private
	// address, by default the primary one. None in a private subnet.
	Public []netip.Addr
	// Addresses are all private IPv4 addresses of the ENI. IMDS lags up to 30 s behind EC2.
	Addresses []netip.Addr
}
