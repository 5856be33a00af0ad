package ec2

import (
	"context"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// Refresh asks IMDS about a node that is known: whether the instance is the same, the addresses of
// its network interface, and, if vpc is set, the CIDRs of its VPC. It makes one request for each,
// and one for a token. ok is false if anything is missing or odd, or the instance another one:
// Identity then has the reason.
func (m IMDS) Refresh(ctx context.Context, known Identity, vpc bool) (id Identity, ok bool) {
	id = known
	if instance, err := m.get(ctx, "instance-id"); err != nil || instance != known.InstanceID {
		return known, false
	}
	nic := "network/interfaces/macs/" + id.MAC.String() + "/"
	addrs, err := m.get(ctx, nic+"local-ipv4s")
	if err != nil {
		return known, false
	}
	id.Addresses = nil
	for line := range strings.FieldsSeq(addrs) {
		a, err := text.IPv4(line)
		if err != nil {
			return known, false
		}
		id.Addresses = append(id.Addresses, a)
	}
	if !vpc {
		return id, true
	}
	cidrs, err := m.get(ctx, nic+"vpc-ipv4-cidr-blocks")
	if err != nil {
		return known, false
	}
	id.VPC = nil
	for line := range strings.FieldsSeq(cidrs) {
		p, err := readNetwork(line)
		if err != nil {
			return known, false
		}
		id.VPC = append(id.VPC, p)
	}
	return id, true
}
