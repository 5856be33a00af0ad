package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/scenario"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	listen   string
	subnet   string
	release  string
	masters  int
	core     int
	tasks    int
	seed     uint64
	quotas   string
	quota    []string
	faults   []string
	latency  time.Duration
	describe time.Duration
	stale    float64
}

const serveText = `Serves the model of AWS to other programs: Parameter Store, the parts of EC2 and EMR that a node uses, and of STS GetCallerIdentity, in one
account and region, at one address. A cluster is in it, so that there are instances and network interfaces. What the model does not know it
refuses with ModelNotImplemented. Nothing is kept: the account ends with the program.

The first lines are shell commands that let the AWS CLI and the SDKs use it; the credentials are of this model only. Ctrl-C ends it with
exit code 0.

A fault is CALL=ACTION or CALL=ACTION:PROBABILITY, where CALL is SERVICE:ACTION as in IAM policies, and ACTION is throttle, deny, fail,
lose (the effect takes place, the answer is lost), break (the effect takes place, the answer ends in the middle), reset (the connection is
reset before any effect) or hang.`

func serveCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:     "serve [flags]",
		Short:   "Serve the model of AWS to other programs",
		Long:    serveText,
		Example: "  emrsim serve --listen 127.0.0.1:8080\n  emrsim serve --quota ssm:PutParameter=1/3 --fault ec2:AssignPrivateIpAddresses=throttle:0.5",
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), cmd.OutOrStdout(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "address and port; port 0: a free one")
	f.StringVar(&o.subnet, "subnet", "10.0.1.0/24", "the cluster's subnet")
	f.StringVar(&o.release, "release", "emr-7.x", "EMR release")
	f.IntVar(&o.masters, "masters", 1, "masters: 1 or 3")
	f.IntVar(&o.core, "core", 2, "core nodes")
	f.IntVar(&o.tasks, "tasks", 0, "task nodes")
	f.Uint64Var(&o.seed, "seed", 0, "of everything random (default: a new one each time)")
	f.StringVar(&o.quotas, "quotas", "default", "request limits of the account: default, paid (Parameter Store's paid throughput) or none")
	f.StringArrayVar(&o.quota, "quota", nil, "one limit, CALL=RATE/BURST: ssm:PutParameter=1/3")
	f.StringArrayVar(&o.faults, "fault", nil, "a fault, CALL=ACTION or CALL=ACTION:PROBABILITY: ssm:PutParameter=throttle:0.5")
	f.DurationVar(&o.latency, "latency", 0, "how long each call takes")
	f.DurationVar(&o.describe, "describe-lag", time.Second, "how late describe calls show an address, at most")
	f.Float64Var(&o.stale, "stale", 0, "probability of a read that shows an old state, up to 2s old")
	return cmd
}

// faultKinds are the faults by name.
var faultKinds = map[string]cloud.FaultAction{
	"fail":  {Kind: cloud.FaultFail},
	"lose":  {Kind: cloud.FaultLose},
	"break": {Kind: cloud.FaultBreak},
	"reset": {Kind: cloud.FaultReset},
	"hang":  {Kind: cloud.FaultHang},
	"deny":  {Kind: cloud.FaultFail, Status: http.StatusForbidden, Code: "AccessDeniedException", Message: "User is not authorized to perform this action"},
	// The codes of the two services differ: see throttle.
	"throttle": {Kind: cloud.FaultFail, Status: http.StatusBadRequest, Code: "ThrottlingException", Message: "Rate exceeded"},
}

// throttle is the answer of EC2 to a caller above its quota.
var throttle = cloud.FaultAction{Kind: cloud.FaultFail, Status: http.StatusServiceUnavailable, Code: "RequestLimitExceeded", Message: "Request limit exceeded."}

// A serveFault is a parsed --fault.
type serveFault struct {
	action      cloud.FaultAction
	probability float64
}

// parseFaults returns the faults by the call's key.
func parseFaults(words []string) (map[string]serveFault, error) {
	all := map[string]serveFault{}
	var problems []error
	for _, w := range words {
		call, rest, found := strings.Cut(w, "=")
		name, odds, some := strings.Cut(rest, ":")
		service, _, _ := strings.Cut(call, ":")
		f := serveFault{probability: 1}
		var known bool
		f.action, known = faultKinds[name]
		if name == "throttle" && service == "ec2" {
			f.action = throttle
		}
		var err error
		if some {
			f.probability, err = strconv.ParseFloat(odds, 64)
		}
		if !found || !strings.Contains(call, ":") || !known || err != nil || f.probability < 0 || f.probability > 1 {
			problems = append(problems, fmt.Errorf("--fault %q: CALL=ACTION or CALL=ACTION:PROBABILITY, with one of %v", w, slices.Sorted(maps.Keys(faultKinds))))
			continue
		}
		all[call] = f
	}
	return all, errors.Join(problems...)
}

// parseQuotas returns the account's quotas; nil means no limits.
func (o serveOptions) parseQuotas() (map[string]cloud.Quota, error) {
	var quotas map[string]cloud.Quota
	var problems []error
	switch o.quotas {
	case "default":
		quotas = cloud.DefaultQuotas()
	case "paid":
		quotas = cloud.PaidQuotas()
	case "none":
	default:
		problems = append(problems, fmt.Errorf("--quotas %q: default, paid or none", o.quotas))
	}
	for _, w := range o.quota {
		call, numbers, _ := strings.Cut(w, "=")
		rate, burst, _ := strings.Cut(numbers, "/")
		q := cloud.Quota{}
		var wrong [2]error
		q.Rate, wrong[0] = strconv.ParseFloat(rate, 64)
		q.Burst, wrong[1] = strconv.ParseFloat(burst, 64)
		if !strings.Contains(call, ":") || errors.Join(wrong[:]...) != nil || q.Rate < 0 || q.Burst < 1 {
			problems = append(problems, fmt.Errorf("--quota %q: CALL=RATE/BURST, with a burst of at least 1: ssm:PutParameter=1/3", w))
			continue
		}
		if quotas == nil {
			quotas = map[string]cloud.Quota{}
		}
		quotas[call] = q
	}
	return quotas, errors.Join(problems...)
}

// account builds the account and its cluster.
func (o serveOptions) account() (*cloud.Cloud, *cloud.Cluster, error) {
	faults, badFaults := parseFaults(o.faults)
	quotas, badQuotas := o.parseQuotas()
	problems := []error{badFaults, badQuotas}
	subnet, err := netip.ParsePrefix(o.subnet)
	if err == nil && (!subnet.Addr().Is4() || subnet.Bits() < 16 || subnet.Bits() > 28 || subnet.Masked() != subnet) {
		err = fmt.Errorf("%q: an IPv4 network between /16 and /28", o.subnet)
	}
	if err != nil {
		problems = append(problems, fmt.Errorf("--subnet: %w", err))
	}
	release, known := lab.ReleaseLabel(o.release)
	if !known {
		problems = append(problems, fmt.Errorf("--release %q: a release label such as emr-7.x or emr-6.15.0", o.release))
	}
	if o.masters != 1 && o.masters != 3 {
		problems = append(problems, fmt.Errorf("--masters %d: EMR has clusters with 1 and with 3", o.masters))
	}
	if o.core < 0 || o.tasks < 0 {
		problems = append(problems, errors.New("--core and --tasks: not less than none"))
	}
	if o.latency < 0 || o.describe < 0 {
		problems = append(problems, errors.New("--latency and --describe-lag: not less than none"))
	}
	if o.stale < 0 || o.stale > 1 {
		problems = append(problems, fmt.Errorf("--stale %v: a probability from 0 to 1", o.stale))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, nil, usageError{err}
	}
	options := scenario.Account(o.seed)
	options.Quotas, options.RemapDelay = quotas, cloud.Range{Max: o.describe}
	options.StaleEC2 = cloud.Staleness{Probability: o.stale, MaxAge: 2 * time.Second}
	options.StaleSSM = options.StaleEC2
	options.Latency = nil
	if o.latency > 0 {
		options.Latency = func(*rand.Rand, cloud.Call) time.Duration { return o.latency }
	}
	account := cloud.New(options)
	account.Fault(func(call cloud.Call) cloud.FaultAction {
		if f, named := faults[call.Key()]; named && call.Rand().Float64() < f.probability {
			return f.action
		}
		return cloud.FaultAction{}
	})
	vpc := account.CreateVPC(netip.PrefixFrom(subnet.Addr(), 16).Masked())
	cluster, err := account.LaunchCluster(cloud.ClusterSpec{
		Name: "emrsim", Subnet: account.CreateSubnet(vpc, subnet), ReleaseLabel: release, Masters: o.masters, Cores: o.core, Tasks: o.tasks, NameTag: "emrsim", SecondENIOnMaster: true,
	})
	if err != nil {
		return nil, nil, usageError{err}
	}
	account.Equip(vpc, true, nil)
	return account, cluster, nil
}

// serve serves the model until the context ends.
func serve(ctx context.Context, out io.Writer, o serveOptions) error {
	account, cluster, err := o.account()
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return usageError{fmt.Errorf("--listen: %w", err)}
	}
	server := &http.Server{Handler: account.Handler(), ReadHeaderTimeout: time.Minute, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	credentials := account.Credentials("")
	var text strings.Builder
	for _, v := range [][2]string{
		{"AWS_ENDPOINT_URL", "http://" + l.Addr().String()}, {"AWS_REGION", account.Region()}, {"AWS_DEFAULT_REGION", account.Region()},
		{"AWS_ACCESS_KEY_ID", credentials.AccessKeyID}, {"AWS_SECRET_ACCESS_KEY", credentials.SecretAccessKey},
		{"AWS_SESSION_TOKEN", credentials.SessionToken}, {"AWS_EC2_METADATA_DISABLED", "true"},
	} {
		if v[1] != "" {
			fmt.Fprintf(&text, "export %s=%s\n", v[0], v[1])
		} else {
			fmt.Fprintf(&text, "unset %s\n", v[0])
		}
	}
	fmt.Fprintf(&text, "# cluster %s in %s, %s\n", cluster.ID, cluster.Nodes[0].SubnetID, o.subnet)
	for _, n := range cluster.Nodes {
		fmt.Fprintf(&text, "# %-6s %s %s %s\n", n.Role, n.InstanceID, n.ENI, n.PrimaryIP)
	}
	if _, err := io.WriteString(out, text.String()); err != nil {
		return err
	}
	if w, ok := out.(*checkedWriter); ok && w.failed() != nil {
		return w.failed() // nobody knows the address
	}
	if err := server.Serve(l); ctx.Err() == nil {
		return fmt.Errorf("serving: %w", err)
	}
	fmt.Fprintln(os.Stderr, "emrsim: the model has ended")
	return nil
}
