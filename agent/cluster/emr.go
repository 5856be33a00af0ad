package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/operator"
	"github.com/emr-static-ip/emr-static-ip/internal/identifier"
)

// maxPages bounds the pages of one list. EMR lists at most 2,000 instances on a page, and a cluster
// has at most 4,000: https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-instance-fleet.html
const maxPages = 100

// silentAttempts is how often an endpoint of EMR that nobody can connect to is tried. Private
// subnets often have no way to it, and the check goes on without EMR.
const silentAttempts = 3

// emrService is EMR. It is called by people and pipelines only, never by a node's run: its quotas
// are too small for a launch.
var emrService = ec2.Service{ID: "EMR", Name: "elasticmapreduce", Protocol: ec2.AWSJSON{Target: "ElasticMapReduce"}, FIPSIn: "aws-us-gov"}

// The answers, as far as the check reads them.
// https://docs.aws.amazon.com/emr/latest/APIReference/API_Operations.html
type (
	status struct {
		State             string
		StateChangeReason struct{ Message string }
	}
	describeCluster struct {
		Cluster *struct {
			Name, ReleaseLabel, InstanceCollectionType string
			Status                                     status
		}
	}
	listInstanceGroups struct {
		InstanceGroups []struct {
			Id, InstanceGroupType                        string
			RequestedInstanceCount, RunningInstanceCount int
			Status                                       status
		}
		Marker string
	}
	listInstanceFleets struct {
		InstanceFleets []struct {
			Id, InstanceFleetType                                string
			TargetOnDemandCapacity, TargetSpotCapacity           int
			ProvisionedOnDemandCapacity, ProvisionedSpotCapacity int
			Status                                               status
		}
		Marker string
	}
	listInstances struct {
		Instances []struct {
			Id, Ec2InstanceId, InstanceGroupId, InstanceFleetId string
			Status                                              status
		}
		Marker string
	}
	listBootstrapActions struct {
		BootstrapActions []struct {
			Name, ScriptPath string
			Args             []string
		}
		Marker string
	}
)

// request is the parameters of each of the calls.
type request struct {
	ClusterId      string
	InstanceStates []string `json:",omitempty"`
	Marker         string   `json:",omitempty"`
}

// service is EMR, as far as the caller may see it.
type service struct {
	api     *ec2.Client
	cluster string
	at      iam.Place

	silent  string           // why EMR is not asked any more: its endpoint cannot be reached
	denied  map[string]error // calls that are denied
	actions []action         // of ListBootstrapActions, which never change
	asked   bool             // actions are known
	last    []Group          // the groups as they were last shown
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
	former       bool // groups are those of an earlier look: EMR does not show them any more
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
	return s.state == "TERMINATING" || s.state == "TERMINATED" || s.state == "TERMINATED_WITH_ERRORS"
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
//
// If EMR showed the groups in an earlier look, and no longer does, they are still what is
// requested: a way to EMR that breaks must not make a cluster complete.
func (s *service) look(ctx context.Context) (sight, error) {
	v, err := s.ask(ctx)
	switch {
	case v.grouped:
		s.last = v.groups
	case s.last != nil:
		v.groups, v.grouped, v.former = s.last, true, true
	}
	return v, err
}

// ask is look without the memory of earlier looks.
func (s *service) ask(ctx context.Context) (sight, error) {
	var v sight
	fleets := false
	err := s.try(ctx, "DescribeCluster", func() error {
		var out describeCluster
		if err := s.api.Call(ctx, "DescribeCluster", request{ClusterId: s.cluster}, &out); err != nil {
			return err
		}
		c := out.Cluster
		if c == nil || c.Status.State == "" {
			return errors.New("EMR's answer has no cluster with a state")
		}
		v.described, v.name, v.release, v.state, v.reason = true, c.Name, c.ReleaseLabel, c.Status.State, c.Status.StateChangeReason.Message
		fleets = c.InstanceCollectionType == "INSTANCE_FLEET"
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
func isInvalid(err error) bool { return ec2.ErrorCode(err) == "InvalidRequestException" }

// newClient returns a client of EMR that gives up an endpoint that nobody can connect to.
func newClient(session *ec2.Session) *ec2.Client {
	c := ec2.NewClient(session.Config, emrService)
	patient := c.Retryer
	c.Retryer = func() aws.Retryer { return &briefRetryer{Retryer: patient()} }
	return c
}

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

// pages makes a call with one marker after the other until there is none. read takes one page and
// returns the next marker.
func pages[T any](ctx context.Context, s *service, call string, states []string, read func(T) (marker string)) error {
	in := request{ClusterId: s.cluster, InstanceStates: states}
	for range maxPages {
		var out T
		if err := s.api.Call(ctx, call, in, &out); err != nil {
			return err
		}
		if in.Marker = read(out); in.Marker == "" {
			return nil
		}
	}
	return fmt.Errorf("EMR's answer has more than %d pages", maxPages)
}

func (s *service) instanceGroups(ctx context.Context) (groups []Group, err error) {
	err = pages(ctx, s, "ListInstanceGroups", nil, func(out listInstanceGroups) string {
		for _, g := range out.InstanceGroups {
			groups = append(groups, Group{ID: g.Id, Role: g.InstanceGroupType, State: g.Status.State, Requested: g.RequestedInstanceCount, Running: g.RunningInstanceCount})
		}
		return out.Marker
	})
	return groups, err
}

func (s *service) instanceFleets(ctx context.Context) (groups []Group, err error) {
	err = pages(ctx, s, "ListInstanceFleets", nil, func(out listInstanceFleets) string {
		for _, f := range out.InstanceFleets {
			groups = append(groups, Group{
				ID: f.Id, Role: f.InstanceFleetType, State: f.Status.State, Fleet: true,
				Requested: f.TargetOnDemandCapacity + f.TargetSpotCapacity, Running: f.ProvisionedOnDemandCapacity + f.ProvisionedSpotCapacity,
			})
		}
		return out.Marker
	})
	return groups, err
}

// active are the states of instances that the check asks for. EMR lists terminated instances for
// weeks.
var active = []string{"AWAITING_FULFILLMENT", "PROVISIONING", "BOOTSTRAPPING", "RUNNING"}

func (s *service) listInstances(ctx context.Context) (list []emrInstance, err error) {
	var odd error
	err = pages(ctx, s, "ListInstances", active, func(out listInstances) string {
		for _, i := range out.Instances {
			if i.Ec2InstanceId != "" && !identifier.EC2(i.Ec2InstanceId, "i-") {
				odd = fmt.Errorf("EMR's answer has an instance %s", text.Quote(i.Ec2InstanceId))
				continue // EC2 is asked about the ids
			}
			if i.Status.State != "TERMINATED" { // whatever was asked for
				list = append(list, emrInstance{id: i.Id, ec2: i.Ec2InstanceId, group: i.InstanceGroupId + i.InstanceFleetId, state: i.Status.State, reason: i.Status.StateChangeReason.Message})
			}
		}
		return out.Marker
	})
	return list, cmp.Or(err, odd)
}

func (s *service) bootstrapActions(ctx context.Context) (list []action, err error) {
	err = pages(ctx, s, "ListBootstrapActions", nil, func(out listBootstrapActions) string {
		for _, a := range out.BootstrapActions {
			list = append(list, action{name: a.Name, path: a.ScriptPath, args: a.Args})
		}
		return out.Marker
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
			if w.call == "ListInstanceGroups" && s.denied["DescribeCluster"] != nil && s.denied["ListInstanceFleets"] == nil {
				// Whether the cluster has groups or fleets is not known: it needs one of the two.
				actions = append(actions, `"elasticmapreduce:ListInstanceFleets"`)
			}
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
