package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	cloudiam "github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/control"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/record"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/sample"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/scenario"
)

// options are the flags of launch.
type options struct {
	release   string
	core      int // -1: as many as there are addresses for core nodes
	masters   int
	tasks     int
	plain     int
	fleets    bool
	subnet    string
	shape     scenario.Shape
	policy    string
	binary    string
	iptables  string
	noTables  bool
	files     string
	imdsDelay time.Duration
	timeout   time.Duration
	seed      uint64
	verbose   bool
	shell     string
	report    string
	virtual   bool
	words     []string // of the command line
	log       bool
	keep      bool
}

const launchText = `Launches an EMR cluster that is made of network namespaces of this machine, runs emr-static-ip on every node with the arguments
after --, as EMR runs a bootstrap action, and shows what a firewall in another network saw before and after.

The nodes, the VPC between them, the data centre behind its firewall and all files of the nodes vanish with the program; the
machine's own network is not touched. Root, or a kernel that allows user namespaces, is needed.`

func launchCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "launch [flags] -- MASTER_IP CORE_IP...",
		Short: "Launch a cluster, run emr-static-ip on its nodes, check the outcome",
		Long:  launchText,
		Example: "  emrsim launch -- 10.0.1.10 10.0.1.11 10.0.1.12 10.0.1.13\n  emrsim launch --release emr-6.x --masters 3 --core 2 -- --master-ips 10.0.1.10-12 --core-ips 10.0.1.20-29\n" +
			"  emrsim launch --plain 3 -- --ips 10.0.1.20-29\n  emrsim launch --keep -- 10.0.1.10 10.0.1.11",
		RunE: func(cmd *cobra.Command, args []string) error {
			return launch(cmd.Context(), cmd.OutOrStdout(), o, args)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.release, "release", "emr-7.x", "EMR release: decides on interface names (eth0, ens5) and iptables (legacy, nft)")
	f.IntVar(&o.core, "core", -1, "core nodes (default: as many as addresses for them)")
	f.IntVar(&o.masters, "masters", 1, "masters: 1 or 3")
	f.IntVar(&o.tasks, "tasks", 0, "task nodes")
	f.IntVar(&o.plain, "plain", 0, "instead of a cluster, this many EC2 instances outside EMR, of one Auto Scaling group: -- --ips 10.0.1.20-29")
	f.BoolVar(&o.fleets, "fleets", false, "instance fleets in place of instance groups")
	f.StringVar(&o.subnet, "subnet", "", "the cluster's subnet (default: the /24 of the first address)")
	o.shape.Define(f)
	f.StringVar(&o.policy, "policy", "", "file with the IAM policy of the nodes' instance profile; REGION, ACCOUNT_ID and SUBNET_ID in it are filled in (default: agent/iam/"+iam.InstanceProfile+")")
	f.StringVar(&o.binary, "binary", "", "the emr-static-ip to run (default: the one beside emrsim, or in PATH)")
	f.StringVar(&o.iptables, "iptables", "", "the nodes' iptables: legacy or nft (default: as the release has it)")
	f.BoolVar(&o.noTables, "no-iptables", false, "nodes without an iptables program")
	f.StringVar(&o.files, "files", "full", "EMR's files on the nodes: full, minimal (instance.json and job-flow.json), or those in bundles of doctor, with commas between them: for the nodes of the same role")
	f.DurationVar(&o.imdsDelay, "imds-delay", 0, "how late each node's metadata service is")
	f.DurationVar(&o.timeout, "timeout", 15*time.Minute, "bound for the whole rehearsal")
	f.Uint64Var(&o.seed, "seed", 0, "of everything random in the cloud model (default: a new one each time)")
	f.StringVar(&o.shell, "shell", "", "afterwards, open a shell on this node: master, core-1, ...")
	f.StringVar(&o.report, "report", "", "write what happened to this file: .html is a page that needs no network, .json the same as data")
	f.BoolVar(&o.virtual, "virtual", false, "in virtual time: up to 1000 nodes, with kernels in memory and without packets; needs no root")
	f.BoolVar(&o.log, "log", false, "write a log also where stdout is a terminal")
	f.BoolVar(&o.keep, "keep", false, "afterwards, keep the cluster for other terminals until Ctrl-C: emrsim nodes, shell, exec, end, add")
	f.BoolVar(&o.verbose, "verbose", false, "show whole lines of the agents' logs, and their reports")
	return cmd
}

// launch checks the flags, moves into its own namespaces, and rehearses.
func launch(ctx context.Context, out io.Writer, o options, args []string) error {
	wanted, err := scenario.Understand(args)
	if err != nil {
		return usageError{err}
	}
	spec, err := o.cluster(args, wanted)
	if err != nil {
		return usageError{err}
	}
	if o.report != "" {
		if err := record.Check(o.report); err != nil {
			return usageError{err}
		}
	}
	if o.words = os.Args[1:]; o.virtual {
		if o.shell != "" || o.keep || o.binary != "" || o.policy != "" {
			return usageError{errors.New("--virtual has no nodes to look at and runs no other program: not with --shell, --keep, --binary, --policy")}
		}
		if !reflect.DeepEqual(spec.Shape, lab.Shape{}) {
			return usageError{errors.New("--virtual has one private subnet and no packets: not with --subnets, --vpc-cidr, --data-centre, --public, --shared, --bucket-policy")}
		}
		return launchVirtual(ctx, out, o, spec, args, wanted)
	}
	if o.binary, err = findBinary(o.binary); err != nil {
		return usageError{err}
	}
	if o.keep {
		if err := control.Open(); err != nil {
			return err
		}
	}
	if err := isolate(ctx); err != nil {
		return err
	}
	life := ctx
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("the rehearsal was not done within --timeout %s", o.timeout))
	defer cancel()
	policy := "agent/iam/" + o.profile()
	if o.policy != "" {
		policy = o.policy
	}
	start := time.Now()
	r := rehearsal{
		screen: newScreen(os.Stdout, o.log, o.verbose, start), spec: spec, policy: policy, binary: o.binary, args: args, wanted: wanted,
		verbose: o.verbose, shell: o.shell, report: o.report, keep: o.keep, life: life, start: start,
	}
	r.rec = record.New("Launch of "+size(spec), "emrsim "+quoted(os.Args[1:]), args, nil)
	return r.run(ctx)
}

// cluster returns the cluster to launch: the flags, completed from the addresses.
func (o options) cluster(args []string, wanted agent.Config) (lab.ClusterSpec, error) {
	pools := wanted.Pools
	release, known := lab.ReleaseLabel(o.release)
	spec := lab.ClusterSpec{
		Release: release, Masters: o.masters, Cores: o.core, Tasks: o.tasks, Fleets: o.fleets,
		NameTag: "rehearsal", Args: args, IMDSDelay: o.imdsDelay, Iptables: lab.Iptables(o.iptables),
		Static: slices.Concat(pools.Master, pools.Core, pools.Task, pools.Any),
	}
	problems := []error{positive("--timeout", o.timeout)}
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if o.core < 0 {
		spec.Cores = len(pools.Core)
	}
	problems = append(problems, o.shape.Apply(&spec, pools, o.core >= 0)...)
	if o.plain != 0 || pools.Plain() {
		problems = append(problems, o.outsideEMR(&spec, pools.Plain()))
	}
	if o.masters != 1 && o.masters != 3 {
		problem("--masters %d: EMR has clusters with 1 and with 3", o.masters)
	}
	if o.imdsDelay < 0 {
		problem("--imds-delay %s: less than none", o.imdsDelay)
	}
	if o.tasks < 0 {
		problem("--tasks %d: less than none", o.tasks)
	}
	if nodes := spec.Masters + spec.Cores + spec.Tasks + spec.Plain; nodes > maxNodes && !o.virtual {
		problem("%d nodes: more than %d do not fit on one machine; --virtual takes %d", nodes, maxNodes, maxVirtual)
	} else if nodes > maxVirtual {
		problem("%d nodes: more than %d are not rehearsed", nodes, maxVirtual)
	} else if names := nodeNames(spec); o.shell != "" && !slices.Contains(names, o.shell) {
		problem("--shell %s: there are %s", o.shell, strings.Join(names, ", "))
	}
	if !known {
		problem("--release %q: a release label such as emr-7.x, emr-6.15.0 or emr-spark-8.1.0", o.release)
	}
	switch spec.Iptables {
	case "", lab.IptablesLegacy, lab.IptablesNFT:
	default:
		problem("--iptables %q: legacy or nft", o.iptables)
	}
	if o.noTables {
		if o.iptables != "" {
			problem("--iptables and --no-iptables: one of them")
		}
		spec.Iptables = lab.IptablesNone
	}
	switch o.files {
	case "full":
	case "minimal":
		spec.Files = cloud.FilesMinimal
	default:
		if err := o.takeFiles(&spec); err != nil {
			problems = append(problems, fmt.Errorf("--files: full, minimal, or bundles of emr-static-ip doctor --bundle: %w", err))
		}
	}
	var err error
	if spec.Subnet, err = netip.PrefixFrom(spec.Static[0], 24).Masked(), nil; o.subnet != "" {
		if spec.Subnet, err = netip.ParsePrefix(o.subnet); err != nil {
			problem("--subnet: %w", err)
		}
	}
	if errors.Join(problems...) == nil && len(spec.Shape.Subnets) == 0 {
		if err := spec.Shape.Check(spec.Subnet); err != nil && !o.virtual { // in virtual time the subnet may grow
			problems = append(problems, err)
		}
	}
	spec.Account, spec.Prefix = scenario.Account(o.seed), wanted.Prefix
	if spec.Policies = []string{iam.Place{}.Policy(o.profile())}; o.policy != "" {
		text, err := os.ReadFile(o.policy)
		if err != nil {
			problem("--policy: %w", err)
		} else if _, err := cloudiam.ParsePolicy(text); err != nil {
			problem("--policy %s: %w", o.policy, err)
		}
		spec.Policies = []string{string(text)}
	}
	return spec, errors.Join(problems...)
}

// profile returns the shipped policy for the instances.
func (o options) profile() string {
	if o.plain > 0 {
		return iam.PlainProfile
	}
	return iam.InstanceProfile
}

// takeFiles gives the nodes EMR's files from bundles.
func (o options) takeFiles(spec *lab.ClusterSpec) error {
	if o.virtual {
		return errors.New("--virtual has the model's files only")
	}
	nodes, err := sample.ReadAll(context.Background(), o.files)
	if err != nil {
		return err
	}
	counts := map[string]int{cloud.RoleMaster: spec.Masters, cloud.RoleCore: spec.Cores, cloud.RoleTask: spec.Tasks}
	for _, n := range nodes {
		if counts[n.Role] == 0 {
			return fmt.Errorf("%s is of a %s node, and this cluster has none", n.Bundle, strings.ToLower(n.Role))
		}
		spec.EMRFilesFrom = append(spec.EMRFilesFrom, fmt.Sprintf("each %s node has EMR's files of %s (%s)", strings.ToLower(n.Role), n.Bundle, cmp.Or(n.Release, "without a release")))
	}
	spec.EMRFiles = nodes.Files
	return nil
}

// outsideEMR makes the spec one of instances outside EMR. ips says that the arguments are --ips.
func (o options) outsideEMR(spec *lab.ClusterSpec, ips bool) error {
	switch {
	case o.plain < 0:
		return fmt.Errorf("--plain %d: less than none", o.plain)
	case !ips:
		return errors.New("--plain: instances outside EMR have no roles: emrsim launch --plain 3 -- --ips 10.0.1.20-29")
	case o.plain == 0:
		return errors.New("--ips: for instances outside EMR: emrsim launch --plain 3 -- --ips 10.0.1.20-29")
	case o.core > 0 || o.masters != 1 || o.tasks > 0 || o.fleets || len(spec.Shape.Subnets) > 0 || o.files != "full" || o.virtual:
		return errors.New("--plain: no cluster of EMR, so not with --core, --masters, --tasks, --fleets, --subnets, --files, --virtual")
	}
	spec.Plain, spec.Group, spec.Masters, spec.Cores = o.plain, "rehearsal", 0, 0
	return nil
}

// maxNodes is the maximum size of a rehearsal. Each node is a process, two namespaces and a few
// megabytes.
const maxNodes = 100

// findBinary returns the path of the program to rehearse.
func findBinary(named string) (string, error) {
	if named == "" {
		named = "emr-static-ip"
		if self, err := os.Executable(); err == nil {
			beside := filepath.Join(filepath.Dir(self), named)
			if _, err := os.Stat(beside); err == nil {
				return beside, nil
			}
		}
		path, err := exec.LookPath(named)
		if err != nil {
			return "", fmt.Errorf("finding emr-static-ip beside emrsim and in PATH: %w; build it with `make build`, or name it with --binary", err)
		}
		named = path
	}
	path, err := filepath.Abs(named)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("looking for the program to rehearse: %w", err)
	} else if !info.Mode().IsRegular() {
		return "", fmt.Errorf("looking for the program to rehearse: %s is not a file", path)
	}
	return path, nil
}
