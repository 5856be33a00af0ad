package simulation

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// operatorConfig is the SDK's configuration of somebody outside, whom no fault and no quota of the nodes is meant for.
func (w *World) operatorConfig() aws.Config {
	creds := w.Cloud.Credentials("")
	return aws.Config{
		Region:     "us-east-1",
		HTTPClient: &http.Client{Transport: w.Cloud.Transport("")},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return creds, nil
		}),
	}
}

// Ledger is the ledger of a subnet in the operator's hands.
func (w *World) Ledger(prefix, subnet string) *ssmcoord.Ledger {
	return ssmcoord.NewLedger(w.operatorConfig(), prefix, subnet)
}

// Take gives an address to an instance outside the ledger, from whoever has it.
func (w *World) Take(ctx context.Context, to *cloud.Node, a netip.Addr) error {
	_, err := ec2.NewFromConfig(w.operatorConfig()).AssignPrivateIpAddresses(ctx, &ec2.AssignPrivateIpAddressesInput{
		NetworkInterfaceId: aws.String(to.ENI),
		PrivateIpAddresses: []string{a.String()},
		AllowReassignment:  aws.Bool(true),
	})
	return err
}
