package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// A Gateway is a way out of the VPC that a route table can lose.
type Gateway string

// The gateways.
const (
	InternetGateway Gateway = "internet" // of public subnets
	S3Gateway       Gateway = "s3"       // the gateway endpoint of S3, in private subnets
)

// SetGateway attaches a gateway to the VPC with its routes, or detaches it. Packets that need a
// gateway which is not there are dropped. All gateways are there in the beginning.
func (l *Lab) SetGateway(ctx context.Context, g Gateway, attached bool) error {
	switch {
	case g == InternetGateway && !l.spec.Plan.Public:
		return errors.New("private subnets have no Internet gateway")
	case g == S3Gateway && l.spec.Plan.Public:
		return errors.New("in public subnets the Internet gateway leads to S3, too")
	}
	r := l.router
	r.mu.Lock()
	defer r.mu.Unlock()
	r.detached[g] = !attached
	return r.loadGateways(ctx)
}

// loadGateways loads the rules for packets that leave the VPC by a gateway. A packet for the
// Internet must have the primary IP of a node as its source: the Internet gateway knows no other
// address of a node. The lock must be held.
//
//	-A INPUT -d S3 -j DROP             without its gateway endpoint
//	-A INPUT -d INTERNET -j GATEWAY    in a public subnet
//	-A GATEWAY -s PRIMARY -j RETURN    for each node; without the Internet gateway: for none
//	-A GATEWAY -j DROP
func (r *router) loadGateways(ctx context.Context) error {
	var b strings.Builder
	b.WriteString("*filter\n:INPUT ACCEPT [0:0]\n:GATEWAY - [0:0]\n")
	if r.detached[S3Gateway] {
		fmt.Fprintf(&b, "-A INPUT -d %s/32 -j DROP\n", cloud.S3Address)
	}
	if r.plan.Public {
		fmt.Fprintf(&b, "-A INPUT -d %s -j GATEWAY\n", r.plan.Internet())
	}
	for _, p := range r.ports {
		if !r.detached[InternetGateway] {
			fmt.Fprintf(&b, "-A GATEWAY -s %s/32 -j RETURN\n", p.Address)
		}
	}
	b.WriteString("-A GATEWAY -j DROP\nCOMMIT\n")
	if _, err := r.output(ctx, command{path: filterTool("restore"), stdin: b.String()}); err != nil {
		return fmt.Errorf("loading the rules of the VPC's gateways: %w", err)
	}
	return nil
}
