package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// operatorConfig returns the SDK configuration of an operator outside. The nodes' faults and quotas
// do not apply to it.
func (w *World) operatorConfig() aws.Config {
	creds := w.Cloud.Credentials("")
	return aws.Config{
		Region:     "us-east-1",
		HTTPClient: &http.Client{Transport: w.Cloud.Transport("")},
		// The delay is fixed, so that seeds stay reproducible, and there are enough attempts.
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts, o.RateLimiter = 1000, ratelimit.None
				o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return time.Second, nil })
			})
		},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return creds, nil
		}),
	}
}

// Parameter returns the name of the parameter that holds an address's record.
func Parameter(prefix, subnet string, a netip.Addr) string {
	return prefix + "/" + subnet + "/" + a.String()
}

// recordVersion is the record version that every release of the product can read.
const recordVersion = 1

// PutRecord writes a record as another program would. Scenarios begin with such records. The
// product itself writes records only for addresses that it holds.
func (w *World) PutRecord(ctx context.Context, name string, r ssmcoord.Record) error {
	r.Version, r.Time = recordVersion, time.Now().UTC().Truncate(time.Second)
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return w.PutRaw(ctx, name, string(value))
}

// Delete deletes any parameter, as an operator would. It ignores a missing one.
func (w *World) Delete(ctx context.Context, name string) error {
	_, err := ssm.NewFromConfig(w.operatorConfig()).DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String(name)})
	if missing := (*types.ParameterNotFound)(nil); errors.As(err, &missing) {
		return nil
	}
	return err
}

// PutRaw writes any value to a parameter, as an operator would.
func (w *World) PutRaw(ctx context.Context, name, value string) error {
	_, err := ssm.NewFromConfig(w.operatorConfig()).PutParameter(ctx, &ssm.PutParameterInput{
		Name: aws.String(name), Value: aws.String(value), Type: types.ParameterTypeString, Overwrite: aws.Bool(true),
	})
	return err
}

// Take moves an address from its holder to an instance outside the ledger.
func (w *World) Take(ctx context.Context, to *cloud.Node, a netip.Addr) error {
	w.mu.Lock()
	w.taken[a] = true
	w.mu.Unlock()
	_, err := ec2.NewFromConfig(w.operatorConfig()).AssignPrivateIpAddresses(ctx, &ec2.AssignPrivateIpAddressesInput{
		NetworkInterfaceId: aws.String(to.ENI),
		PrivateIpAddresses: []string{a.String()},
		AllowReassignment:  aws.Bool(true),
	})
	return err
}
