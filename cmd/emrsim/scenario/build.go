package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
)

// buildCommands describe what a scenario starts with.
func buildCommands() map[string]Command {
	return map[string]Command{
		"subnet":  {Usage: "subnet CIDR", About: "The cluster's subnet. Without: 10.0.1.0/24.", least: 1, most: 1, parse: parseSubnet},
		"account": {Usage: "account [--quotas default|paid|none] [--describe-lag D] [--imds-lag D] [--stale P] [--shutdown D] [--clock D]", About: "The AWS account: its quotas, how late describe calls and IMDS show an address, how probable a stale read is, how long an instance shuts down, how far AWS's clock is ahead.", flags: accountFlags},
		"cluster": {Usage: "cluster [--name N] [--release R] [--masters N] [--core N] [--task N] [--fleets] [--type T] [--iptables legacy|nft|none] [--files full|minimal] [--imds-delay D] [--endpoint-blocked] [--policy FILE] [--subnets CIDRS] [--chosen N] [--vpc-cidr CIDRS] [--data-centre CIDR] [--public] [--shared] [--bucket-policy] -- ARGUMENT...", About: "Builds a cluster with these arguments of its bootstrap action. Nothing runs yet. A second cluster needs a name, which begins the names of its nodes. Of several subnets EMR picks one for an instance fleet, the one that is chosen; the VPC's CIDRs are the /16 around the subnet without --vpc-cidr; the data centre, the network behind the firewall, stands for a second VPC, too; public subnets have an Internet gateway; shared ones are another account's; the bucket policy denies S3 to other addresses than the primary IP.", least: 1, most: -1, flags: clusterFlags},
	}
}

// early wraps a line that must stand before the first cluster.
func early(do func(p *play) error) step {
	return func(p *play) error {
		if p.cluster != nil {
			return errors.New("this must stand before the first cluster")
		}
		return do(p)
	}
}

func parseSubnet(words []string) (step, error) {
	cidr, err := netip.ParsePrefix(words[0])
	if err != nil {
		return nil, err
	}
	if _, err := lab.NewPlan(cidr); err != nil {
		return nil, err
	}
	return early(func(p *play) error {
		p.spec.Subnet = cidr
		return nil
	}), nil
}

// An accountLine is a parsed line of the command account.
type accountLine struct {
	set                             *pflag.FlagSet
	quotas                          string
	describe, imds, shutdown, clock time.Duration
	stale                           float64
}

func accountFlags(f *pflag.FlagSet) reader {
	l := &accountLine{set: f}
	f.StringVar(&l.quotas, "quotas", "", "")
	f.DurationVar(&l.describe, "describe-lag", 0, "")
	f.DurationVar(&l.imds, "imds-lag", 0, "")
	f.DurationVar(&l.shutdown, "shutdown", 0, "")
	f.DurationVar(&l.clock, "clock", 0, "")
	f.Float64Var(&l.stale, "stale", 0, "")
	return l.parse
}

func (l *accountLine) parse([]string) (step, error) {
	if !slices.Contains([]string{"", "default", "paid", "none"}, l.quotas) {
		return nil, fmt.Errorf("--quotas %q: default, paid or none", l.quotas)
	}
	if l.stale < 0 || l.stale > 1 {
		return nil, fmt.Errorf("--stale %v: a probability from 0 to 1", l.stale)
	}
	return early(func(p *play) error {
		a := &p.spec.Account
		switch l.quotas {
		case "none":
			a.Quotas = nil
		case "paid":
			a.Quotas = cloud.PaidQuotas()
		}
		if l.set.Changed("describe-lag") {
			a.RemapDelay = cloud.Range{Max: l.describe}
		}
		if l.set.Changed("imds-lag") {
			a.IMDSDelay = cloud.Range{Max: l.imds}
		}
		if l.set.Changed("shutdown") {
			a.ShutdownTime = cloud.Exactly(l.shutdown)
		}
		if l.stale > 0 {
			a.StaleEC2 = cloud.Staleness{Probability: l.stale, MaxAge: 2 * time.Second}
			a.StaleSSM = cloud.Staleness{Probability: l.stale, MaxAge: time.Second}
		}
		a.ClockSkew = l.clock
		return nil
	}), nil
}

// A clusterLine is a parsed line of the command cluster.
type clusterLine struct {
	name, release, kind, iptables, files, policy string
	masters, cores, tasks                        int
	fleets, blocked                              bool
	imdsDelay                                    time.Duration
	shape                                        Shape
	args                                         []string
}

func clusterFlags(f *pflag.FlagSet) reader {
	l := &clusterLine{}
	f.StringVar(&l.name, "name", "", "")
	f.StringVar(&l.release, "release", "emr-7.x", "")
	f.IntVar(&l.masters, "masters", 1, "")
	f.IntVar(&l.cores, "core", 1, "")
	f.IntVar(&l.tasks, "task", 0, "")
	f.BoolVar(&l.fleets, "fleets", false, "")
	f.StringVar(&l.kind, "type", "", "")
	f.StringVar(&l.iptables, "iptables", "", "")
	f.StringVar(&l.files, "files", "full", "")
	f.DurationVar(&l.imdsDelay, "imds-delay", 0, "")
	f.BoolVar(&l.blocked, "endpoint-blocked", false, "")
	f.StringVar(&l.policy, "policy", "", "")
	l.shape.Define(f)
	return l.parse
}

func (l *clusterLine) parse(args []string) (step, error) {
	l.args = args
	wanted, err := Understand(args)
	if err != nil {
		return nil, err
	}
	release, ok := lab.ReleaseLabel(l.release)
	var problems []error
	if !ok {
		problems = append(problems, fmt.Errorf("--release %q: a release label such as emr-7.x, emr-6.15.0 or emr-spark-8.1.0", l.release))
	}
	if l.masters != 1 && l.masters != 3 {
		problems = append(problems, fmt.Errorf("--masters %d: EMR has clusters with 1 and with 3", l.masters))
	}
	if l.cores < 0 || l.tasks < 0 || l.cores+l.tasks > 100 {
		problems = append(problems, fmt.Errorf("--core %d, --task %d: 0 to 100 in all", l.cores, l.tasks))
	}
	switch lab.Iptables(l.iptables) {
	case "", lab.IptablesLegacy, lab.IptablesNFT, lab.IptablesNone:
	default:
		problems = append(problems, fmt.Errorf("--iptables %q: legacy, nft or none", l.iptables))
	}
	if l.files != "full" && l.files != "minimal" {
		problems = append(problems, fmt.Errorf("--files %q: full or minimal", l.files))
	}
	problems = append(problems, l.shape.Apply(&lab.ClusterSpec{}, wanted.Pools, true)...)
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	l.release = release
	return func(p *play) error {
		spec, err := l.spec(p)
		if err != nil {
			return err
		}
		g := &group{args: l.args, wanted: wanted}
		spec.Static = slices.Concat(wanted.Pools.Master, wanted.Pools.Core, wanted.Pools.Task)
		switch {
		case p.cluster != nil && l.name == "":
			return errors.New("a second cluster needs --name")
		case p.cluster != nil:
			g.Cluster, err = p.cluster.Beside(p.ctx, l.name, spec)
		default:
			spec.Prefix = wanted.Prefix
			g.Cluster, err = lab.Launch(p.ctx, spec)
		}
		if err != nil {
			return err
		}
		if p.cluster == nil {
			p.cluster = g.Cluster
			p.cluster.Cloud.Fault(p.faults.decide)
		}
		p.groups = append(p.groups, g)
		return nil
	}, nil
}

// spec returns the cluster to launch.
func (l *clusterLine) spec(p *play) (lab.ClusterSpec, error) {
	spec := p.spec
	spec.Release, spec.Masters, spec.Cores, spec.Tasks, spec.Fleets, spec.InstanceType = l.release, l.masters, l.cores, l.tasks, l.fleets, l.kind
	spec.Iptables, spec.IMDSDelay, spec.EndpointBlocked = lab.Iptables(l.iptables), l.imdsDelay, l.blocked
	spec.NameTag, spec.Args = "rehearsal", l.args
	if problems := l.shape.Apply(&spec, agent.Pools{}, true); len(problems) > 0 {
		return spec, errors.Join(problems...)
	}
	if l.files == "minimal" {
		spec.Files = cloud.FilesMinimal
	}
	spec.Policies = []string{iam.Place{}.Policy(iam.InstanceProfile), iam.Place{}.Policy(iam.Doctor)}
	if l.policy != "" {
		text, err := p.file(l.policy)
		if err != nil {
			return spec, err
		}
		spec.Policies = []string{text}
	}
	return spec, nil
}
