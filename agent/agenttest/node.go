// Package agenttest has a node for the tests of the run and of the commands: in the cloud model,
// with a kernel in memory and a directory as its file system. Tests use it inside a synctest
// bubble.
package agenttest

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
	"github.com/emr-static-ip/emr-static-ip/netcfg/netcfgtest"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// Main runs a package's tests. The SDK's settings of the machine do not reach the nodes of the
// model.
func Main(m *testing.M) {
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			os.Unsetenv(name)
		}
	}
	os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	os.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	os.Exit(m.Run())
}

// Link is the name of the node's primary interface.
const Link = "ens5"

// Node is a core node of a cluster.
type Node struct {
	*cloud.Node
	T      *testing.T
	Cloud  *cloud.Cloud
	Kernel *netcfgtest.Kernel
	Env    host.Environment
	Silent atomic.Bool     // IMDS and AWS do not answer
	Active map[string]bool // timers that systemctl calls active
}

// New returns the core node of a new cluster with one master and one core node.
func New(t *testing.T, o cloud.Options) *Node {
	t.Helper()
	account, subnet := network(o)
	cluster, err := account.LaunchCluster(cloud.ClusterSpec{Name: "test", NameTag: "test", Subnet: subnet, Masters: 1, Cores: 1})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(cluster.Nodes, func(n *cloud.Node) bool { return n.Role == cloud.RoleCore })
	n := newNode(t, account, cluster.Nodes[i])
	for p, content := range n.EMRFiles(cloud.FilesFull) {
		n.Write(filepath.Join(n.Env.Root, p), string(content))
	}
	return n
}

// NewPlain returns instances outside EMR, with these tags.
func NewPlain(t *testing.T, o cloud.Options, count int, tags map[string]string) (list []*Node) {
	t.Helper()
	account, subnet := network(o)
	for range count {
		cn, err := account.RunInstance(cloud.InstanceSpec{Subnet: subnet, Name: "plain", Tags: tags})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, newNode(t, account, cn))
	}
	return list
}

// network returns an account with the subnet 10.0.1.0/24. EC2 gives no instance an address from
// 10.0.1.16/28.
func network(o cloud.Options) (account *cloud.Cloud, subnet string) {
	account = cloud.New(o)
	vpc := account.CreateVPC(netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("10.7.0.0/16"))
	subnet = account.CreateSubnet(vpc, netip.MustParsePrefix("10.0.1.0/24"))
	account.ReserveCIDR(subnet, netip.MustParsePrefix("10.0.1.16/28"), "explicit")
	return account, subnet
}

func newNode(t *testing.T, account *cloud.Cloud, cn *cloud.Node) *Node {
	t.Helper()
	n := &Node{Node: cn, T: t, Cloud: account, Active: map[string]bool{}}
	n.Kernel = netcfgtest.New(netcfgtest.Link(Link, 2, n.MAC, netip.PrefixFrom(n.PrimaryIP, 24)))
	root := t.TempDir()
	program := filepath.Join(t.TempDir(), "program")
	n.Write(program, "the program")
	n.Env = host.Environment{
		Root: root, HTTP: n, Rand: func() float64 { return 0.5 },
		LookupEnv:  func(string) (string, bool) { return "", false },
		OpenKernel: func(context.Context, netcfg.Options) (netcfg.Kernel, error) { return n.Kernel, nil },
		Systemctl:  n.Systemctl,
		Executable: func() (string, error) { return program, nil },
	}
	return n
}

// RoundTrip sends a request of the node to the model.
func (n *Node) RoundTrip(req *http.Request) (*http.Response, error) {
	if n.Silent.Load() {
		return nil, errors.New("connection refused by the test")
	}
	return n.Cloud.Transport(n.InstanceID).RoundTrip(req)
}

// Systemctl does to the node's files what the program does.
func (n *Node) Systemctl(_ context.Context, args ...string) error {
	for _, u := range slices.Concat(systemd.Units(""), systemd.RetryUnits(nil, nil, 0), []systemd.Unit{systemd.ReleaseUnit("")}) {
		link := n.Env.Path(filepath.Join(systemd.Dir, u.Link))
		switch {
		case !slices.Contains(args, u.Name):
		case !host.Exists(n.Env.Path(filepath.Join(systemd.Dir, u.Name))):
			return errors.New("unit " + u.Name + " could not be found")
		case args[0] == "enable" && u.Link == "":
			return errors.New("unit " + u.Name + " has nothing to be enabled")
		case args[0] == "enable":
			n.Write(link, "")
		case args[0] == "disable":
			os.Remove(link)
		}
	}
	switch name := args[len(args)-1]; args[0] {
	case "restart", "stop":
		n.Active[name] = args[0] == "restart"
	case "is-active":
		if !n.Active[name] {
			return errors.New("exit status 3")
		}
	}
	return nil
}

// WithSystemd makes systemd run the node.
func (n *Node) WithSystemd() {
	n.T.Helper()
	if err := os.MkdirAll(n.Env.Path(systemd.RunDir), 0o755); err != nil {
		n.T.Fatal(err)
	}
}

// Deny makes EC2 or Parameter Store deny the node some actions.
func (n *Node) Deny(actions ...string) {
	n.Cloud.Fault(func(c cloud.Call) cloud.FaultAction {
		switch {
		case !slices.Contains(actions, c.Key()):
			return cloud.FaultAction{}
		case c.Service == "ec2":
			return cloud.FaultAction{Kind: cloud.FaultFail, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation.", Status: 403}
		}
		return cloud.FaultAction{Kind: cloud.FaultFail, Code: "AccessDeniedException", Message: "not authorized\x1b[2J", Status: 400}
	})
}

// RetryArgs returns what the installed retry service starts the program with.
func (n *Node) RetryArgs() []string {
	n.T.Helper()
	_, line, _ := strings.Cut(n.Read(filepath.Join(systemd.Dir, systemd.RetryService)), "\nExecStart="+systemd.Program+" ")
	line, _, _ = strings.Cut(line, "\n")
	return strings.Fields(line)
}

// Write writes a file, and makes its directory.
func (n *Node) Write(path, content string) {
	n.T.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		n.T.Fatal(err)
	}
}

// Read returns the content of the node's file p.
func (n *Node) Read(p string) string {
	n.T.Helper()
	data, err := os.ReadFile(n.Env.Path(p))
	if err != nil {
		n.T.Fatal(err)
	}
	return string(data)
}

// Session connects to AWS as the node's agent does.
func (n *Node) Session() node.Session {
	n.T.Helper()
	env := n.Env
	env.HTTP = n.Cloud.Transport(n.InstanceID)
	id, err := ec2.OpenIMDS(env).Identity(n.T.Context(), env, ec2.IMDSAttempt)
	var s node.Session
	if err == nil {
		err = s.Connect(n.T.Context(), env, node.Facts{ID: id}, ec2.IMDSAttempt)
	}
	if err != nil {
		n.T.Fatal(err)
	}
	return s
}

// As returns another instance of the model, for what is done on its interface.
func (n *Node) As(o *cloud.Node) *Node {
	env := host.Environment{LookupEnv: n.Env.LookupEnv, Rand: n.Env.Rand, Root: n.T.TempDir()}
	return &Node{Node: o, T: n.T, Cloud: n.Cloud, Env: env}
}

// Claim writes a record below prefix, and waits.
func (n *Node) Claim(prefix string, a netip.Addr, record ssmcoord.Record, wait time.Duration) {
	n.T.Helper()
	ledger := ssmcoord.NewLedger(n.Session().AWS.Config, prefix, n.SubnetID)
	if _, err := ledger.Create(n.T.Context(), a, record); err != nil {
		n.T.Fatal(err)
	}
	time.Sleep(wait)
}

// Assign gives the node an address, as an operator would.
func (n *Node) Assign(a netip.Addr) {
	n.T.Helper()
	if err := n.Session().EC2.Assign(n.T.Context(), a, false); err != nil {
		n.T.Fatal(err)
	}
}

// Unassign takes an address from the node's interface, as an operator would.
func (n *Node) Unassign(a netip.Addr) {
	n.T.Helper()
	if ok, err := n.Session().EC2.Unassign(n.T.Context(), a); !ok || err != nil {
		n.T.Fatal(ok, err)
	}
}

// Snapshot returns what the node's file system holds.
func (n *Node) Snapshot() (list []string) {
	n.T.Helper()
	err := filepath.WalkDir(n.Env.Root, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			list = append(list, p)
			return err
		}
		data, err := os.ReadFile(p)
		list = append(list, p+": "+string(data))
		return err
	})
	if err != nil {
		n.T.Fatal(err)
	}
	slices.Sort(list)
	return list
}
