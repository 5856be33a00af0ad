package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/pflag"

	"github.com/emr-static-ip/emr-static-ip/agent/pool"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
)

// Shape has the flags for accounts that are not one private subnet of their own.
type Shape struct {
	subnets string
	chosen  int
	vpc     string
	centre  string
	public  bool
	shared  bool
	bucket  bool
}

// Define adds the flags.
func (s *Shape) Define(f *pflag.FlagSet) {
	f.StringVar(&s.subnets, "subnets", "", "subnets of one VPC, separated by commas: EMR picks one of them for an instance fleet")
	f.IntVar(&s.chosen, "chosen", 0, "number of the subnet that EMR picks, from 1 (default: the seed picks)")
	f.StringVar(&s.vpc, "vpc-cidr", "", "CIDRs of the VPC, separated by commas, the primary one first (default: the /16 around the subnet)")
	f.StringVar(&s.centre, "data-centre", "", "network behind the firewall (default: 192.168.50.0/24, or another one if the VPC has that)")
	f.BoolVar(&s.public, "public", false, "public subnets: an Internet gateway, and AWS's endpoints outside the VPC")
	f.BoolVar(&s.shared, "shared", false, "the subnets are another account's, which shares them")
	f.BoolVar(&s.bucket, "bucket-policy", false, "S3 denies requests that do not come from a node's primary IP")
}

// Apply completes the cluster, and returns what is wrong with the flags. counted reports whether
// the number of core nodes was given.
func (s Shape) Apply(spec *lab.ClusterSpec, pools pool.Pools, counted bool) (problems []error) {
	shape := lab.Shape{Chosen: s.chosen, Public: s.public, Shared: s.shared}
	if s.bucket {
		shape.BucketPolicy = cloud.SourceIPBucketPolicy
	}
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	networks := func(flag, list string) (all []netip.Prefix) {
		if list == "" {
			return nil
		}
		for text := range strings.SplitSeq(list, ",") {
			p, err := netip.ParsePrefix(strings.TrimSpace(text))
			if err != nil {
				problem("%s: %w", flag, err)
				continue
			}
			all = append(all, p)
		}
		return all
	}
	shape.VPC = networks("--vpc-cidr", s.vpc)
	if centre := networks("--data-centre", s.centre); len(centre) > 1 {
		problem("--data-centre %s: one network", s.centre)
	} else if len(centre) == 1 {
		shape.DataCentre = centre[0]
	}
	if s.subnets != "" {
		spec.Fleets = true
		shape.Subnets = networks("--subnets", s.subnets)
		if s.chosen < 0 || s.chosen > len(shape.Subnets) {
			problem("--chosen %d: of %s", s.chosen, lab.Count(len(shape.Subnets), "subnet"))
		}
	} else if s.chosen != 0 {
		problem("--chosen: only with --subnets")
	}
	if len(problems) == 0 && len(shape.Subnets) > 0 {
		if err := shape.Check(shape.Subnets[0]); err != nil {
			problems = append(problems, err)
		}
	}
	spec.Shape = shape
	if counted || len(problems) > 0 {
		return problems
	}
	for i, p := range shape.Subnets { // as many core nodes as any of the subnets has addresses for
		if n := len(pools.In(p, nil).Own.Core); i == 0 || n < spec.Cores {
			spec.Cores = n
		}
	}
	return problems
}

func parseS3(words []string) (step, error) {
	return onEach(words[0], func(p *play, n *lab.Node) error {
		source, err := p.cluster.GetObject(p.ctx, n)
		switch {
		case errors.Is(err, lab.ErrDenied), errors.Is(err, lab.ErrRefused):
			return mismatch{err.Error()}
		case err != nil:
			return err
		case source != n.Primary.Address:
			return mismatched("%s: S3 saw %s, expected %s", n.Name, source, n.Primary.Address)
		}
		return nil
	}), nil
}

func parseGateway(words []string) (step, error) {
	gateway := lab.Gateway(words[0])
	if gateway != lab.InternetGateway && gateway != lab.S3Gateway {
		return nil, fmt.Errorf("%q: internet or s3", words[0])
	}
	if words[1] != "attached" && words[1] != "detached" {
		return nil, fmt.Errorf("%q: attached or detached", words[1])
	}
	return onCluster(func(p *play, c *lab.Cluster) error {
		return c.SetGateway(p.ctx, gateway, words[1] == "attached")
	}), nil
}
