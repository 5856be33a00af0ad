package agent

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// gatewayResult is what EC2 said of the networks behind gateway endpoints.
type gatewayResult struct {
	networks []netip.Prefix
	err      error
}

// wantsGateways reports whether the rules need the networks of S3 and DynamoDB. Through a gateway
// endpoint they see the node's own address, and AWS's sample bucket policies compare that with the
// primary IP: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
func (r *run) wantsGateways() bool {
	return netcfg.Scope(r.cfg.Scope) == netcfg.ScopeExternal && len(r.cfg.Only) == 0
}

// beginGateways asks EC2 for these networks while the run goes on, once in a node's life.
func (r *run) beginGateways(ctx context.Context) {
	if !r.wantsGateways() || r.gatewaysKnown {
		return
	}
	asked := make(chan gatewayResult, 1)
	r.gatewaysAsked = asked
	go func() {
		networks, err := r.ec2.GatewayNetworks(ctx)
		asked <- gatewayResult{networks, err}
	}()
}

// joinGateways waits for the answer. Without one the node is not failed: the rules then have no
// exception for S3 and DynamoDB.
func (r *run) joinGateways(ctx context.Context) {
	if r.gatewaysAsked == nil {
		return
	}
	var res gatewayResult
	select {
	case res = <-r.gatewaysAsked:
	case <-time.After(optionalWait):
		res.err = errors.New("EC2 has not answered DescribePrefixLists yet")
	}
	r.gatewaysAsked = nil
	if res.err != nil {
		r.warn("traffic to S3 and DynamoDB gets the static IP too, which bucket policies on source addresses may refuse: " +
			withRemedies(r.explain(ctx, res.err)) + "; or name their networks with --exclude-cidr")
		return
	}
	r.gateways, r.gatewaysKnown = res.networks, true
}

// excluded returns the destinations that keep the primary IP beside those that every node leaves
// alone.
func (r *run) excluded() []netip.Prefix {
	if !r.wantsGateways() || len(r.gateways) == 0 {
		return r.cfg.Exclude
	}
	return sorted(append(sorted(r.cfg.Exclude), r.gateways...))
}
