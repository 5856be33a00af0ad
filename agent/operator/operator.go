// Package operator is AWS for the commands that people run anywhere, with credentials of their own:
// ledger and cluster. On a node, IMDS has the region, and the instance profile the credentials.
package operator

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

// IMDSTimeout is how long the commands wait for IMDS by default. Mostly there is none where they
// run.
const IMDSTimeout = 5 * time.Second

// Place is the region that a command works in. If IMDS was asked for it, Place also has the node
// that the command runs on, and that node's subnet.
type Place struct {
	Region string
	Node   string       // the instance; empty if IMDS was not asked
	Subnet string       // of the node
	CIDR   netip.Prefix // of the subnet
}

// Locate finds the region: the given one, or that of the SDK's settings. IMDS is asked only if
// neither has a region.
func Locate(ctx context.Context, env host.Environment, region string, imdsTimeout time.Duration) (Place, error) {
	if region == "" {
		var err error
		if region, err = ec2.RegionOf(ctx, env); err != nil {
			return Place{}, err
		}
	}
	if region != "" {
		if err := pool.CheckRegion(region); err != nil {
			return Place{}, &exit.Error{Code: exit.Usage, Err: err, Remedy: "write --region, AWS_REGION, AWS_DEFAULT_REGION or region in ~/.aws/config like us-east-1"}
		}
		return Place{Region: region}, nil
	}
	id, err := ec2.OpenIMDS(env).Identity(ctx, env, imdsTimeout)
	if err != nil {
		if e := (*exit.Error)(nil); errors.As(err, &e) {
			err = e.Err // its remedy is for nodes
		}
		return Place{}, &exit.Error{Code: exit.Usage, Err: fmt.Errorf("no region is given, and IMDS does not name one: %w", err),
			Remedy: "name it: --region eu-central-1 (or AWS_REGION, AWS_PROFILE)"}
	}
	env.Logger().Debug("region and subnet by IMDS", zap.String("region", id.Region), zap.String("subnet", id.SubnetID))
	return Place{Region: id.Region, Node: id.InstanceID, Subnet: id.SubnetID, CIDR: id.Subnet}, nil
}

// Open opens AWS in this region.
func (p Place) Open(ctx context.Context, env host.Environment, imdsTimeout time.Duration) (*ec2.Session, error) {
	s, err := ec2.Open(ctx, env, p.Region, imdsTimeout)
	if err != nil && p.Node == "" {
		err = credentialsElsewhere(err)
	}
	return s, err
}

// Explain gives an error its exit code and its remedy. On a node the permissions are those of the
// instance profile, elsewhere the caller's own. session is nil if AWS could not be opened. at has
// the subnet and the prefix that the command works on.
func (p Place) Explain(ctx context.Context, session *ec2.Session, err error, at iam.Place) error {
	at.Region = p.Region
	if p.Node == "" {
		err = explainElsewhere(err, at)
	}
	if session == nil {
		return err
	}
	return session.Explain(ctx, err, at)
}

// explainElsewhere explains an error of a command that did not ask IMDS: permissions and
// credentials are the operator's own.
func explainElsewhere(err error, at iam.Place) error {
	if !ec2.IsPermission(err) || exit.HasCode(err) {
		return err
	}
	remedy := Allow(err, at)
	if at.Subnet == "" && ec2.IAMAction(err) == "ssm:GetParametersByPath" {
		// The policy of the nodes allows their own subnet only.
		remedy = "name one subnet with --subnet, or on a node, which lists its own subnet, leave out --region and unset AWS_REGION (region in ~/.aws/config); for all subnets " + remedy
	}
	return exit.With(exit.Permission, err, remedy)
}

// Allow says what allows a person the call that was denied.
func Allow(err error, at iam.Place) string {
	action, message := ec2.IAMAction(err), ec2.ErrorMessage(err)
	at.Partition, at.Account, at.Subnet = ec2.Partition(at.Region), ec2.AccountIn(message), ""
	return fmt.Sprintf("allow %s to your user or role (aws sts get-caller-identity): %s", action, at.Statement(iam.Operator, action))
}

// credentialsElsewhere says how an operator who is not on a node gets credentials: no settings name
// any, so that IMDS was asked.
func credentialsElsewhere(err error) error {
	e := (*exit.Error)(nil)
	if !errors.As(err, &e) || e.Code == exit.Usage || !ec2.AskedIMDS(err) {
		return err // the remedy fits
	}
	return &exit.Error{Code: exit.Permission, Err: e.Err, Remedy: "name a profile that has credentials (AWS_PROFILE; aws sso login where it needs that), " +
		"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run this on an instance with an instance profile"}
}
