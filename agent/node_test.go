package agent

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

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
	"github.com/emr-static-ip/emr-static-ip/netcfg/netcfgtest"
)

// The SDK's settings of the machine that runs the tests must not reach the nodes of the model.
func TestMain(m *testing.M) {
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			os.Unsetenv(name)
		}
	}
	os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	os.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	os.Exit(m.Run())
}

// testNode is a core node of a cluster in the cloud model, with a kernel in memory and a directory as its file system. It is used inside
// a synctest bubble.
type testNode struct {
	*cloud.Node
	t      *testing.T
	cloud  *cloud.Cloud
	kernel *netcfgtest.Kernel
	env    Environment
	cfg    Config
	silent atomic.Bool     // IMDS and AWS do not answer
	calls  []string        // of systemctl
	active map[string]bool // timers that systemctl calls active
	failed string          // the systemctl verb that fails
}

const testLink = "ens5"

func newTestNode(t *testing.T, o cloud.Options) *testNode {
	t.Helper()
	n := &testNode{t: t, cloud: cloud.New(o), active: map[string]bool{}}
	vpc := n.cloud.CreateVPC(netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("10.7.0.0/16"))
	subnet := n.cloud.CreateSubnet(vpc, netip.MustParsePrefix("10.0.1.0/24"))
	n.cloud.ReserveCIDR(subnet, netip.MustParsePrefix("10.0.1.16/28"), "explicit")
	cluster, err := n.cloud.LaunchCluster(cloud.ClusterSpec{Name: "test", NameTag: "test", Subnet: subnet, Masters: 1, Cores: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, cn := range cluster.Nodes {
		if cn.Role == cloud.RoleCore {
			n.Node = cn
		}
	}
	n.kernel = netcfgtest.New(netcfgtest.Link(testLink, 2, n.MAC, netip.PrefixFrom(n.PrimaryIP, 24)))
	root := t.TempDir()
	for p, content := range n.EMRFiles(cloud.FilesFull) {
		n.write(filepath.Join(root, p), string(content))
	}
	n.cfg = DefaultConfig()
	n.cfg.Pools = Pools{Master: addrList("10.0.1.20"), Core: addrList("10.0.1.21 10.0.1.22")}
	program := filepath.Join(t.TempDir(), "program")
	n.write(program, "the program")
	n.env = Environment{
		Root: root, HTTP: n, Rand: func() float64 { return 0.5 },
		LookupEnv:  func(string) (string, bool) { return "", false },
		OpenKernel: func(context.Context, netcfg.Options) (netcfg.Kernel, error) { return n.kernel, nil },
		Systemctl:  n.systemctl,
		Executable: func() (string, error) { return program, nil },
	}
	return n
}

func (n *testNode) RoundTrip(req *http.Request) (*http.Response, error) {
	if n.silent.Load() {
		return nil, errors.New("connection refused by the test")
	}
	return n.cloud.Transport(n.InstanceID).RoundTrip(req)
}

// systemctl does to the node's files what the program does.
func (n *testNode) systemctl(_ context.Context, args ...string) error {
	n.calls = append(n.calls, strings.Join(args, " "))
	if args[0] == n.failed {
		return errors.New("failed by the test")
	}
	for _, u := range slices.Concat(systemd.Units(""), systemd.RetryUnits(nil, nil, 0)) {
		link := n.env.Path(filepath.Join(systemd.Dir, u.Link))
		switch {
		case !slices.Contains(args, u.Name):
		case !host.Exists(n.env.Path(filepath.Join(systemd.Dir, u.Name))):
			return errors.New("unit " + u.Name + " could not be found")
		case args[0] == "enable" && u.Link == "":
			return errors.New("unit " + u.Name + " has nothing to be enabled")
		case args[0] == "enable":
			n.write(link, "")
		case args[0] == "disable":
			os.Remove(link)
		}
	}
	switch name := args[len(args)-1]; args[0] {
	case "restart", "stop":
		n.active[name] = args[0] == "restart"
	case "is-active":
		if !n.active[name] {
			return errors.New("exit status 3")
		}
	}
	return nil
}

func (n *testNode) write(path, content string) {
	n.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		n.t.Fatal(err)
	}
}

// apply gives the node its static IP.
func (n *testNode) apply() Report {
	n.t.Helper()
	rep, err := Apply(n.t.Context(), n.cfg, n.env)
	if err != nil {
		n.t.Fatal(err)
	}
	return rep
}

// restore runs a restore that has to end with the code and, where it is not ExitOK, names it.
func (n *testNode) restore(code ExitCode) Report {
	n.t.Helper()
	cfg := DefaultConfig()
	cfg.StateDir = n.cfg.StateDir
	rep, err := Restore(n.t.Context(), cfg, n.env)
	if CodeOf(err) != code {
		n.t.Fatalf("restore: %v (code %d), want code %d", err, CodeOf(err), code)
	}
	return rep
}

// state is the node's state file.
func (n *testNode) state() State {
	n.t.Helper()
	s, ok, err := LoadState(n.env.Path(n.cfg.StateDir), "")
	if err != nil || !ok {
		n.t.Fatalf("state file: %v, %v", ok, err)
	}
	return s
}

// uses are the addresses in use beside the primary IP.
func (n *testNode) uses() []netip.Addr { return n.kernel.Uses(n.PrimaryIP) }

// unassign takes an address from the node's interface, as an operator would.
func (n *testNode) unassign(a netip.Addr) {
	n.t.Helper()
	r := &run{cfg: n.cfg, env: n.env}
	r.env.HTTP = n.cloud.Transport(n.InstanceID)
	var err error
	if r.id, err = ec2.OpenIMDS(r.env).Identity(n.t.Context(), r.env, restoreIMDS); err != nil {
		n.t.Fatal(err)
	}
	if err := r.connect(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	if ok, err := r.ec2.Unassign(n.t.Context(), a); !ok || err != nil {
		n.t.Fatal(ok, err)
	}
}

func (n *testNode) assign(a netip.Addr) {
	n.t.Helper()
	r := &run{cfg: n.cfg, env: n.env}
	r.env.HTTP = n.cloud.Transport(n.InstanceID)
	var err error
	if r.id, err = ec2.OpenIMDS(r.env).Identity(n.t.Context(), r.env, restoreIMDS); err != nil {
		n.t.Fatal(err)
	}
	if err := errors.Join(r.connect(n.t.Context()), r.ec2.Assign(n.t.Context(), a, false)); err != nil {
		n.t.Fatal(err)
	}
}

// snapshot is what the node's file system holds below its root.
func (n *testNode) snapshot() (list []string) {
	n.t.Helper()
	err := filepath.WalkDir(n.env.Root, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			list = append(list, p)
			return err
		}
		data, err := os.ReadFile(p)
		list = append(list, p+": "+string(data))
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	slices.Sort(list)
	return list
}
