package agent

import (
	"context"
	"net/netip"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/node"
)

// gatewaysFresh is how long the list of the networks of S3 and DynamoDB is not read again. AWS adds
// some now and then. An older list stays in use until an apply has a new one.
const gatewaysFresh = 7 * 24 * time.Hour

// askGateways asks EC2 for the networks of S3 and DynamoDB while the run goes on. It returns nil if
// the rules do not need them, or if the list is fresh.
func (r *run) askGateways(ctx context.Context) *answer[[]netip.Prefix] {
	if age := time.Since(r.facts.GatewaysAt); !node.WantsGateways(r.cfg.Settings()) || age >= 0 && age < gatewaysFresh {
		return nil
	}
	return ask(ctx, &r.beside, "DescribePrefixLists", r.session.EC2.GatewayNetworks)
}

// joinGateways waits for the answer. A run does not fail without it: the rules then have the
// networks of an earlier answer, or no exception for S3 and DynamoDB.
func (r *run) joinGateways(ctx context.Context, asked *answer[[]netip.Prefix]) {
	if asked == nil {
		return
	}
	networks, err := asked.wait()
	switch {
	case err == nil:
		r.facts.Gateways, r.facts.GatewaysAt = networks, time.Now().UTC()
	case len(r.facts.Gateways) > 0:
		r.report.note("using the networks of S3 and DynamoDB that an earlier run read: " + withRemedies(r.explain(ctx, err)))
	default:
		r.report.warn("traffic to S3 and DynamoDB gets the static IP too, which bucket policies on source addresses may refuse: " +
			withRemedies(r.explain(ctx, err)) + "; or name their networks with --exclude-cidr")
	}
}
