package ledger

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/agenttest"
	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

func TestMain(m *testing.M) { agenttest.Main(m) }

// ledgerWorld is an account with two subnets, a running cluster in the first, and an operator with
// credentials in the environment. A call to IMDS fails the test. Use it inside a synctest bubble.
type ledgerWorld struct {
	t      *testing.T
	cloud  *cloud.Cloud
	subnet string
	other  string
	nodes  []*cloud.Node // master, two core nodes, in this order
	env    agent.Environment
	cfg    agent.Config
}

func newLedgerWorld(t *testing.T, o cloud.Options) *ledgerWorld {
	t.Helper()
	w := &ledgerWorld{t: t, cloud: cloud.New(o)}
	vpc := w.cloud.CreateVPC(netip.MustParsePrefix("10.0.0.0/16"))
	w.subnet = w.cloud.CreateSubnet(vpc, netip.MustParsePrefix("10.0.1.0/24"))
	w.other = w.cloud.CreateSubnet(vpc, netip.MustParsePrefix("10.0.2.0/24"))
	w.cloud.ReserveCIDR(w.subnet, netip.MustParsePrefix("10.0.1.0/26"), "explicit")
	cluster, err := w.cloud.LaunchCluster(cloud.ClusterSpec{Name: "etl", NameTag: "etl", Subnet: w.subnet, Masters: 1, Cores: 2})
	if err != nil {
		t.Fatal(err)
	}
	w.nodes = cluster.Nodes
	creds := w.cloud.Credentials("")
	t.Setenv("AWS_ACCESS_KEY_ID", creds.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", creds.SecretAccessKey)
	w.cfg = agent.DefaultConfig()
	w.cfg.Region, w.cfg.Subnet = "us-east-1", w.subnet
	w.env = agent.Environment{HTTP: w, Rand: func() float64 { return 0.5 }, LookupEnv: func(string) (string, bool) { return "", false }}
	time.Sleep(time.Hour) // so that ages are ages
	return w
}

func (w *ledgerWorld) RoundTrip(req *http.Request) (*http.Response, error) {
	if ec2.IsIMDS(w.env, req.URL.Hostname()) {
		w.t.Errorf("IMDS is asked: %s", req.URL)
		return nil, errors.New("no IMDS here")
	}
	return w.cloud.Transport("").RoundTrip(req)
}

// run carries out a ledger command, which must end with the code. It returns the report and its
// text.
func (w *ledgerWorld) run(command string, code exit.Code) (Report, string) {
	w.t.Helper()
	l, err := Run(w.t.Context(), command, w.cfg, w.env)
	if err == nil && l.ExitCode() != code || err != nil && exit.CodeOf(err) != code {
		w.t.Fatalf("ledger %s: exit code %d, %v, want %d", command, l.ExitCode(), err, code)
	}
	var b bytes.Buffer
	if err := l.Render(&b, "text"); err != nil {
		w.t.Fatal(err)
	}
	return l, b.String()
}

// yes is run with --yes.
func (w *ledgerWorld) yes(command string, code exit.Code) (Report, string) {
	w.t.Helper()
	w.cfg.Yes = true
	defer func() { w.cfg.Yes = false }()
	return w.run(command, code)
}

// awsConfig returns the configuration of an outsider who outlasts every quota and waits without
// chance.
func (w *ledgerWorld) awsConfig() aws.Config {
	creds := w.cloud.Credentials("")
	return aws.Config{Region: "us-east-1", HTTPClient: &http.Client{Transport: w.cloud.Transport("")},
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts, o.RateLimiter = 100, ratelimit.None
				o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return time.Second, nil })
			})
		},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return creds, nil })}
}

func (w *ledgerWorld) name(subnet, addr string) string {
	return agent.DefaultPrefix + "/" + subnet + "/" + addr
}

// put writes a parameter with whatever value.
func (w *ledgerWorld) put(name, value string) {
	w.t.Helper()
	_, err := ssm.NewFromConfig(w.awsConfig()).PutParameter(w.t.Context(), &ssm.PutParameterInput{
		Name: &name, Value: &value, Type: ssmtypes.ParameterTypeString, Overwrite: aws.Bool(true)},
		func(o *ssm.Options) { o.RetryMaxAttempts = 30 }) // the account's quota is in force
	if err != nil {
		w.t.Fatal(err)
	}
}

func recordOf(n *cloud.Node) string {
	return ssmcoord.Record{Instance: n.InstanceID, ENI: n.ENI, Cluster: n.ClusterID, Role: n.Role, Time: time.Now()}.Render()
}

// gone returns the record of an instance that EC2 does not know.
func gone(id string) string {
	return ssmcoord.Record{Instance: id, ENI: "eni-0dead", Cluster: "j-OLD", Role: "CORE", Time: time.Now()}.Render()
}

// assign gives a node an address, as its agent or an operator would.
func (w *ledgerWorld) assign(n *cloud.Node, addr string) {
	w.t.Helper()
	_, err := awsec2.NewFromConfig(w.awsConfig()).AssignPrivateIpAddresses(w.t.Context(), &awsec2.AssignPrivateIpAddressesInput{
		NetworkInterfaceId: aws.String(n.ENI), PrivateIpAddresses: []string{addr}, AllowReassignment: aws.Bool(true)})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *ledgerWorld) unassign(n *cloud.Node, addr string) {
	w.t.Helper()
	_, err := awsec2.NewFromConfig(w.awsConfig()).UnassignPrivateIpAddresses(w.t.Context(), &awsec2.UnassignPrivateIpAddressesInput{
		NetworkInterfaceId: aws.String(n.ENI), PrivateIpAddresses: []string{addr}})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *ledgerWorld) stranger(o cloud.InstanceSpec) *cloud.Node {
	w.t.Helper()
	o.Subnet = w.subnet
	n, err := w.cloud.RunInstance(o)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// parameter returns the value of a parameter, or "" if there is none.
func (w *ledgerWorld) parameter(name string) string {
	for _, p := range w.cloud.Parameters() {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

func (w *ledgerWorld) expectRecord(addr string, n *cloud.Node) {
	w.t.Helper()
	value := w.parameter(w.name(w.subnet, addr))
	if n == nil {
		if value != "" {
			w.t.Errorf("the record of %s is still there: %s", addr, value)
		}
		return
	}
	r, err := ssmcoord.ParseRecord(value)
	if err != nil || r.Instance != n.InstanceID || r.ENI != n.ENI || r.Cluster != n.ClusterID || r.Role != n.Role {
		w.t.Errorf("the record of %s is %q, want it to name %s", addr, value, n.InstanceID)
	}
}

// onCall runs do once, before or after the effect of the n-th call of an action whose parameters
// contain part.
func (w *ledgerWorld) onCall(action, part string, n int, after bool, do func()) {
	count := 0
	w.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
		if c.Action != action || !strings.Contains(c.Params, part) {
			return cloud.FaultAction{}
		}
		if count++; count != n {
			return cloud.FaultAction{}
		}
		if after {
			return cloud.FaultAction{Then: do}
		}
		do()
		return cloud.FaultAction{}
	})
}
