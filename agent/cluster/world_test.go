package cluster

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/agenttest"
	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

func TestMain(m *testing.M) { agenttest.Main(m) }

// account is an account with two subnets, and an operator with credentials in the environment. Use
// it inside a synctest bubble.
type account struct {
	t             *testing.T
	cloud         *cloud.Cloud
	subnet, other string
	env           agent.Environment
	cfg           agent.Config
	denied        string   // an action, where the test asks for it
	exhausted     []string // quotas that others have used up
	odd           string   // the answer to each call of EMR
	blocked       string   // a service in whose place a firewall answers
	silent        string   // a service whose endpoint nobody can connect to
}

func newAccount(t *testing.T, o cloud.Options) *account {
	t.Helper()
	a := &account{t: t, cloud: cloud.New(o)}
	vpc := a.cloud.CreateVPC(netip.MustParsePrefix("10.0.0.0/16"))
	a.subnet = a.cloud.CreateSubnet(vpc, netip.MustParsePrefix("10.0.1.0/24"))
	a.other = a.cloud.CreateSubnet(vpc, netip.MustParsePrefix("10.0.2.0/24"))
	a.cloud.ReserveCIDR(a.subnet, netip.MustParsePrefix("10.0.1.0/26"), "explicit")
	creds := a.cloud.Credentials("")
	t.Setenv("AWS_ACCESS_KEY_ID", creds.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", creds.SecretAccessKey)
	a.cfg = agent.DefaultConfig()
	a.cfg.Region = "us-east-1"
	a.env = agent.Environment{HTTP: a, Rand: func() float64 { return 0.5 }, LookupEnv: func(string) (string, bool) { return "", false }}
	return a
}

// RoundTrip makes the calls of the operator.
func (a *account) RoundTrip(req *http.Request) (*http.Response, error) {
	if ec2.IsIMDS(a.env, req.URL.Hostname()) {
		a.t.Errorf("IMDS is asked: %s", req.URL)
		return nil, errors.New("no IMDS here")
	}
	if a.silent != "" && strings.HasPrefix(req.URL.Hostname(), a.silent+".") {
		time.Sleep(5 * time.Second)
		return nil, &timeout{}
	}
	if a.odd != "" && strings.HasPrefix(req.URL.Hostname(), "elasticmapreduce.") {
		w := httptest.NewRecorder()
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_, _ = w.WriteString(a.odd)
		return w.Result(), nil
	}
	if a.blocked != "" && strings.HasPrefix(req.URL.Hostname(), a.blocked+".") {
		w := httptest.NewRecorder()
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.WriteString("<html>This site is blocked by policy.</html>")
		return w.Result(), nil
	}
	return a.cloud.Transport("").RoundTrip(req)
}

// timeout is the error of a connection that does not come about.
type timeout struct{}

func (*timeout) Error() string   { return "dial tcp 10.0.1.99:443: i/o timeout" }
func (*timeout) Timeout() bool   { return true }
func (*timeout) Temporary() bool { return true }

// args are the arguments of the bootstrap action in most tests.
var args = []string{"10.0.1.10", "10.0.1.11-19"}

// launch launches a cluster, which becomes the one to check.
func (a *account) launch(spec cloud.ClusterSpec) *cloud.Cluster {
	a.t.Helper()
	if spec.Name == "" {
		spec.Name = "etl"
	}
	if spec.Subnet == "" {
		spec.Subnet = a.subnet
	}
	if spec.Args == nil {
		spec.Args = args
	}
	c, err := a.cloud.LaunchCluster(spec)
	if err != nil {
		a.t.Fatal(err)
	}
	a.cfg.Cluster = c.ID
	return c
}

// assign gives a node an address, as its agent does.
func (a *account) assign(n *cloud.Node, addr string) {
	a.t.Helper()
	if err := a.cloud.Move(netip.MustParseAddr(addr), n.ENI); err != nil {
		a.t.Fatal(err)
	}
}

// put writes the record of an address.
func (a *account) put(prefix, subnet, addr, value string) {
	a.t.Helper()
	if err := a.cloud.SetParameter(prefix+"/"+subnet+"/"+addr, value); err != nil {
		a.t.Fatal(err)
	}
}

// finish gives nodes their addresses and records, from 10.0.1.10 on.
func (a *account) finish(nodes ...*cloud.Node) {
	a.t.Helper()
	for i, n := range nodes {
		a.give(n, netip.AddrFrom4([4]byte{10, 0, 1, byte(10 + i)}).String())
	}
}

// give gives a node an address with its record.
func (a *account) give(n *cloud.Node, addr string) {
	a.t.Helper()
	a.assign(n, addr)
	a.put(agent.DefaultPrefix, n.SubnetID, addr, recordText(n))
}

func recordText(n *cloud.Node) string {
	return ssmcoord.Record{Instance: n.InstanceID, ENI: n.ENI, Cluster: n.ClusterID, Role: n.Role, Time: time.Now()}.Render()
}

// tag sets a node's error tag.
func (a *account) tag(n *cloud.Node, value string) {
	a.t.Helper()
	creds := a.cloud.Credentials("")
	client := awsec2.NewFromConfig(aws.Config{Region: "us-east-1", HTTPClient: &http.Client{Transport: a.cloud.Transport("")},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return creds, nil })})
	_, err := client.CreateTags(a.t.Context(), &awsec2.CreateTagsInput{Resources: []string{n.InstanceID}, Tags: []ec2types.Tag{{Key: aws.String(ec2.ErrorTag), Value: &value}}})
	if err != nil {
		a.t.Fatal(err)
	}
}

// read reads the arguments of a bootstrap action. The command line's own reader is tested there.
func read(args []string) (agent.Config, error) {
	cfg := agent.DefaultConfig()
	var lists pool.Args
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "--task-ips", "--master-ips", "--core-ips", "--prefix":
			value := args[i+1]
			switch args[i] {
			case "--task-ips":
				lists.Task = []string{value}
			case "--master-ips":
				lists.Master = []string{value}
			case "--core-ips":
				lists.Core = []string{value}
			default:
				cfg.Prefix = value
			}
			i++
		default:
			lists.Positional = append(lists.Positional, args[i])
		}
	}
	var err error
	cfg.Pools, err = pool.Parse(lists)
	return cfg, err
}

// check checks the cluster, which must end with the code. It returns the report and its text.
func (a *account) check(code exit.Code) (Report, string) {
	a.t.Helper()
	r, err := Check(a.t.Context(), a.cfg, a.env, read)
	if got := exit.CodeOf(err); err == nil && r.ExitCode() != code || err != nil && got != code {
		a.t.Fatalf("exit code %d, %v, want %d\n%+v", r.ExitCode(), err, code, r)
	}
	var b bytes.Buffer
	if err := r.Render(&b, "text"); err != nil {
		a.t.Fatal(err)
	}
	return r, b.String()
}

// states returns the states of the nodes, sorted.
func states(r Report) string {
	var list []string
	for _, n := range r.Nodes {
		list = append(list, n.State)
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

var duration = regexp.MustCompile(`"seconds": [0-9.e-]+`)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
