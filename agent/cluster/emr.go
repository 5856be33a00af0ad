package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/emr"
	"github.com/aws/aws-sdk-go-v2/service/emr/types"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/operator"
)

// maxPages bounds the pages of one list. EMR lists at most 2,000 instances on a page, and a cluster
// has at most 4,000: https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-instance-fleet.html
const maxPages = 100

// silentAttempts is how often an endpoint of EMR that nobody can connect to is tried. Private
// subnets often have no way to it, and the check goes on without EMR.
const silentAttempts = 3

// emrAPI is what the check calls of EMR. It is called by people and pipelines only, never by a
// node's run: its quotas are too small for a launch.
type emrAPI interface {
	DescribeCluster(context.Context, *emr.DescribeClusterInput, ...func(*emr.Options)) (*emr.DescribeClusterOutput, error)
	ListInstances(context.Context, *emr.ListInstancesInput, ...func(*emr.Options)) (*emr.ListInstancesOutput, error)
	ListInstanceGroups(context.Context, *emr.ListInstanceGroupsInput, ...func(*emr.Options)) (*emr.ListInstanceGroupsOutput, error)
	ListInstanceFleets(context.Context, *emr.ListInstanceFleetsInput, ...func(*emr.Options)) (*emr.ListInstanceFleetsOutput, error)
	ListBootstrapActions(context.Context, *emr.ListBootstrapActionsInput, ...func(*emr.Options)) (*emr.ListBootstrapActionsOutput, error)
}

// service is EMR, as far as the caller may see it.
type service struct {
	api     emrAPI
	cluster string
	at      iam.Place

	silent  string           // why EMR is not asked any more: its endpoint cannot be reached
	denied  map[string]error // calls that are denied
	actions []action         // of ListBootstrapActions, which never change
	asked   bool             // actions are known
}

// action is a bootstrap action.
type action struct {
	name, path string
	args       []string
}

// sight is what EMR shows of the cluster at one time.
type sight struct {
	described    bool // name, state and release are known
	name         string
	state        string
	reason       string
	release      string
	groups       []Group
	grouped      bool // groups is known
	instances    []emrInstance
	listed       bool // instances is known
	actions      []action
	actionsKnown bool
}

// emrInstance is an instance as EMR lists it.
type emrInstance struct {
	id, ec2, group, state, reason string
}

// over reports whether the cluster has ended, or is ending.
func (s sight) over() bool {
	switch types.ClusterState(s.state) {
	case types.ClusterStateTerminating, types.ClusterStateTerminated, types.ClusterStateTerminatedWithErrors:
		return true
	}
	return false
}

// started returns the EC2 ids of the instances.
func (s sight) started() (ids []string) {
	for _, i := range s.instances {
		if i.ec2 != "" {
			ids = append(ids, i.ec2)
		}
	}
	return ids
}

// look asks EMR. A call that is denied is left out: see unseen. So are all calls if EMR's endpoint
// cannot be reached. Any other error is returned.
func (s *service) look(ctx context.Context) (sight, error) {
	var v sight
	fleets := false
	err := s.try(ctx, "DescribeCluster", func() error {
		out, err := s.api.DescribeCluster(ctx, &emr.DescribeClusterInput{ClusterId: &s.cluster}, s.briefly)
		if err != nil {
			return err
		}
		c := out.Cluster
		if c == nil || c.Status == nil {
			return errors.New("EMR's answer has no cluster with a state")
		}
		v.described, v.name, v.release, v.state = true, aws.ToString(c.Name), aws.ToString(c.ReleaseLabel), string(c.Status.State)
		if r := c.Status.StateChangeReason; r != nil {
			v.reason = aws.ToString(r.Message)
		}
		fleets = c.InstanceCollectionType == types.InstanceCollectionTypeInstanceFleet
		return nil
	})
	if err != nil {
		return v, err
	}
	if !fleets {
		err = s.try(ctx, "ListInstanceGroups", func() (err error) {
			v.groups, err = s.instanceGroups(ctx)
			v.grouped = err == nil
			return err
		})
		if isInvalid(err) && !v.described { // it may be a cluster of fleets
			fleets, err = true, nil
		}
		if err != nil {
			return v, err
		}
	}
	if fleets {
		err = s.try(ctx, "ListInstanceFleets", func() (err error) {
			v.groups, err = s.instanceFleets(ctx)
			v.grouped = err == nil
			return err
		})
		if err != nil {
			return v, err
		}
	}
	err = s.try(ctx, "ListInstances", func() (err error) {
		v.instances, err = s.listInstances(ctx)
		v.listed = err == nil
		return err
	})
	if err != nil || s.asked {
		v.actions, v.actionsKnown = s.actions, s.asked
		return v, err
	}
	err = s.try(ctx, "ListBootstrapActions", func() (err error) {
		s.actions, err = s.bootstrapActions(ctx)
		s.asked = err == nil
		return err
	})
	v.actions, v.actionsKnown = s.actions, s.asked
	return v, err
}

// try makes one call. It returns no error if the call is denied, or if there is no way to EMR: no
// connection, a proxy or a firewall that refuses it. It remembers both, and does not ask again.
func (s *service) try(ctx context.Context, call string, do func() error) error {
	if _, denied := s.denied[call]; denied || s.silent != "" {
		return nil
	}
	err := do()
	switch {
	case err == nil:
		return nil
	case ec2.IsPermission(err):
		s.denied[call] = err
		return nil
	case ctx.Err() == nil && exit.CodeOf(ec2.ExplainAt(err, s.at)) == exit.Unreachable:
		s.silent = text.Clean(exit.Innermost(err).Error(), text.MaxQuoted*2)
		return nil
	case isInvalid(err) && call != "ListInstanceGroups":
		return exit.With(exit.Usage, fmt.Errorf("asking EMR about cluster %s: %w", s.cluster, err), "check the id of the cluster, and the region (--region)")
	}
	return fmt.Errorf("asking EMR about cluster %s: %w", s.cluster, err)
}

// isInvalid reports whether EMR does not accept the request. It says so of clusters that it does
// not know.
func isInvalid(err error) bool {
	invalid := (*types.InvalidRequestException)(nil)
	return errors.As(err, &invalid)
}

// briefly makes a call give up an endpoint that nobody can connect to.
func (s *service) briefly(o *emr.Options) { o.Retryer = &briefRetryer{Retryer: o.Retryer} }

type briefRetryer struct {
	aws.Retryer
	silent int
}

// IsErrorRetryable reports whether the call is made again.
func (r *briefRetryer) IsErrorRetryable(err error) bool {
	if ec2.IsNetwork(err) {
		if r.silent++; r.silent >= silentAttempts {
			return false
		}
	}
	return r.Retryer.IsErrorRetryable(err)
}

// pages calls next with one marker after the other until there is none.
func pages(next func(marker *string) (*string, error)) error {
	var marker *string
	for range maxPages {
		following, err := next(marker)
		if err != nil || aws.ToString(following) == "" {
			return err
		}
		marker = following
	}
	return fmt.Errorf("EMR's answer has more than %d pages", maxPages)
}

func (s *service) instanceGroups(ctx context.Context) (groups []Group, err error) {
	err = pages(func(marker *string) (*string, error) {
		out, err := s.api.ListInstanceGroups(ctx, &emr.ListInstanceGroupsInput{ClusterId: &s.cluster, Marker: marker}, s.briefly)
		if err != nil {
			return nil, err
		}
		for _, g := range out.InstanceGroups {
			x := Group{ID: aws.ToString(g.Id), Role: string(g.InstanceGroupType), Requested: int(aws.ToInt32(g.RequestedInstanceCount)), Running: int(aws.ToInt32(g.RunningInstanceCount))}
			if g.Status != nil {
				x.State = string(g.Status.State)
			}
			groups = append(groups, x)
		}
		return out.Marker, nil
	})
	return groups, err
}

func (s *service) instanceFleets(ctx context.Context) (groups []Group, err error) {
	err = pages(func(marker *string) (*string, error) {
		out, err := s.api.ListInstanceFleets(ctx, &emr.ListInstanceFleetsInput{ClusterId: &s.cluster, Marker: marker}, s.briefly)
		if err != nil {
			return nil, err
		}
		for _, f := range out.InstanceFleets {
			x := Group{
				ID: aws.ToString(f.Id), Role: string(f.InstanceFleetType), Fleet: true,
				Requested: int(aws.ToInt32(f.TargetOnDemandCapacity) + aws.ToInt32(f.TargetSpotCapacity)),
				Running:   int(aws.ToInt32(f.ProvisionedOnDemandCapacity) + aws.ToInt32(f.ProvisionedSpotCapacity)),
			}
			if f.Status != nil {
				x.State = string(f.Status.State)
			}
			groups = append(groups, x)
		}
		return out.Marker, nil
	})
	return groups, err
}

// active are the states of instances that the check asks for. EMR lists terminated instances for
// weeks.
var active = []types.InstanceState{
	types.InstanceStateAwaitingFulfillment, types.InstanceStateProvisioning, types.InstanceStateBootstrapping, types.InstanceStateRunning,
}

func (s *service) listInstances(ctx context.Context) (list []emrInstance, err error) {
	err = pages(func(marker *string) (*string, error) {
		out, err := s.api.ListInstances(ctx, &emr.ListInstancesInput{ClusterId: &s.cluster, InstanceStates: active, Marker: marker}, s.briefly)
		if err != nil {
			return nil, err
		}
		for _, i := range out.Instances {
			x := emrInstance{id: aws.ToString(i.Id), ec2: aws.ToString(i.Ec2InstanceId), group: aws.ToString(i.InstanceGroupId) + aws.ToString(i.InstanceFleetId)}
			if i.Status != nil {
				x.state = string(i.Status.State)
				if r := i.Status.StateChangeReason; r != nil {
					x.reason = aws.ToString(r.Message)
				}
			}
			if x.state != string(types.InstanceStateTerminated) { // whatever was asked for
				list = append(list, x)
			}
		}
		return out.Marker, nil
	})
	return list, err
}

func (s *service) bootstrapActions(ctx context.Context) (list []action, err error) {
	err = pages(func(marker *string) (*string, error) {
		out, err := s.api.ListBootstrapActions(ctx, &emr.ListBootstrapActionsInput{ClusterId: &s.cluster, Marker: marker}, s.briefly)
		if err != nil {
			return nil, err
		}
		for _, a := range out.BootstrapActions {
			list = append(list, action{name: aws.ToString(a.Name), path: aws.ToString(a.ScriptPath), args: a.Args})
		}
		return out.Marker, nil
	})
	return list, err
}

// whatIsUnseen are the calls that may be denied, with what cannot be seen without them.
var whatIsUnseen = []struct{ call, what string }{
	{"DescribeCluster", "the state of the cluster cannot be seen"},
	{"ListInstanceGroups", "nodes that are requested and have not started cannot be seen"},
	{"ListInstanceFleets", "nodes that are requested and have not started cannot be seen"},
	{"ListInstances", "it cannot be seen whether a node's bootstrap actions still run"},
	{"ListBootstrapActions", "the cluster's list of addresses and its prefix cannot be seen: name them with --core-ips, --task-ips, --prefix"},
}

// unseen says what could not be seen, and why.
func (s *service) unseen() (lines []string) {
	if s.silent != "" {
		return []string{"EMR cannot be reached (" + s.silent + "): nodes that have not started, bootstrap actions that still run, the cluster's list of addresses and its prefix are not seen; " +
			"name the latter with --core-ips, --task-ips, --prefix"}
	}
	var actions []string
	var first error
	for _, w := range whatIsUnseen {
		if err := s.denied[w.call]; err != nil {
			first = cmp.Or(first, err)
			action := "elasticmapreduce:" + w.call
			lines = append(lines, action+" is denied: "+w.what)
			actions = append(actions, `"`+action+`"`)
		}
	}
	if first == nil {
		return nil
	}
	// The statement of one action, for all of them.
	all := strings.Join(actions, ", ")
	if len(actions) > 1 {
		all = "[" + all + "]"
	}
	return append(lines, strings.Replace(operator.Allow(first, s.at), `"Action": `+actions[0], `"Action": `+all, 1))
}
