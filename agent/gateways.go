package agent

import (
	"context"
	"net/netip"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
)

// gatewaysFresh is how long the list of the networks of S3 and DynamoDB is not read again. AWS adds
// some now and then. An older list stays in use until an apply has a new one.
const gatewaysFresh = 7 * 24 * time.Hour

// askGateways asks EC2 for the networks of S3 and DynamoDB while the run goes on. It returns nil if
// the rules do not need them, or if the list is fresh.
func askGateways(ctx context.Context, b *beside, api *ec2.Node, s Settings, read time.Time) *answer[[]netip.Prefix] {
	if age := time.Since(read); !node.WantsGateways(s) || age >= 0 && age < gatewaysFresh {
		return nil
	}
	return ask(ctx, b, "DescribePrefixLists", api.GatewayNetworks)
}

// joinGateways waits for the answer. A run does not fail without it: the rules then have the
// networks of an earlier answer, or no exception for S3 and DynamoDB.
func joinGateways(ctx context.Context, asked *answer[[]netip.Prefix], facts *node.Facts, report *reporter, explain explainer) {
	if asked == nil {
		return
	}
	networks, err := asked.wait()
	switch {
	case err == nil:
		facts.Gateways, facts.GatewaysAt = networks, time.Now().UTC()
	case len(facts.Gateways) > 0:
		report.note("using the networks of S3 and DynamoDB that an earlier run read: " + withRemedies(explain(ctx, err)))
	default:
		report.warn("traffic to S3 and DynamoDB gets the static IP too, which bucket policies on source addresses may refuse: " +
			withRemedies(explain(ctx, err)) + "; or name their networks with --exclude-cidr")
	}
}
