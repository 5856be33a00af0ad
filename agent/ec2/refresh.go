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
//
// The requests go one after the other over one connection: requests at once need a connection each,
// which costs more CPU time than it saves waiting. The timer calls Refresh every minute.
func (m IMDS) Refresh(ctx context.Context, known Identity, vpc bool) (id Identity, ok bool) {
	id = known
	nic := "network/interfaces/macs/" + id.MAC.String() + "/"
	paths := []string{"instance-id", nic + "local-ipv4s"}
	if vpc {
		paths = append(paths, nic+"vpc-ipv4-cidr-blocks")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*IMDSAttempt) // as long as requests at once, after a token
	defer cancel()
	answers := map[string]string{}
	for _, path := range paths {
		answer, err := m.get(ctx, path)
		if err != nil {
			return known, false
		}
		answers[path] = answer
	}
	if answers["instance-id"] != known.InstanceID {
		return known, false
	}
	id.Addresses = nil
	for line := range strings.FieldsSeq(answers[nic+"local-ipv4s"]) {
		a, err := text.IPv4(line)
		if err != nil {
			return known, false
		}
		id.Addresses = append(id.Addresses, a)
	}
	if !vpc {
		return id, true
	}
	id.VPC = nil
	for line := range strings.FieldsSeq(answers[nic+"vpc-ipv4-cidr-blocks"]) {
		p, err := readNetwork(line)
		if err != nil {
			return known, false
		}
		id.VPC = append(id.VPC, p)
	}
	return id, true
}
