package lab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain runs all tests of the package in their own namespaces.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "sudo" {
		fmt.Fprintln(os.Stderr, "sudo:", actAsSudo(os.Args[1:])) // actAsSudo returns only on failure
		os.Exit(1)
	}
	if filepath.Base(os.Args[0]) == "aws" {
		os.Exit(actAsAWS(os.Args[1:]))
	}
	if filepath.Base(os.Args[0]) == syncCounter {
		code, err := actAsSyncCounter(os.Args[1], os.Args[2], os.Args[3:])
		if err != nil {
			fmt.Fprintln(os.Stderr, syncCounter+":", err)
			os.Exit(1)
		}
		os.Exit(code)
	}
	if os.Getenv(isolatedVariable) == "" {
		fetchModules()
	}
	inside, code, err := Isolate(context.Background())
	switch {
	case err != nil && os.Getenv("REQUIRE_NETNS") == "1":
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "skipping the tests that need namespaces:", err)
		os.Setenv(skipVariable, "1")
		os.Exit(m.Run())
	case !inside:
		os.Exit(code)
	}
	dir, err := os.MkdirTemp("", "emrsim-lab")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv(buildVariable, dir)
	// A lab waits far more than it computes, so more of them than processors run at once.
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		parallel.Value.Set("8")
	}
	code = m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// Environment variables that TestMain sets for the tests.
const (
	skipVariable  = "EMRSIM_NO_NAMESPACES" // namespaces cannot be made
	buildVariable = "EMRSIM_BUILD_DIR"     // where programs may be built; removed at the end
)

// needNamespaces skips a test if namespaces cannot be made. With REQUIRE_NETNS=1 TestMain has
// failed already.
func needNamespaces(t *testing.T) {
	t.Helper()
	if os.Getenv(skipVariable) != "" {
		t.Skip(ErrNoNamespaces)
	}
}

// testFabric is a cloud in which a test moves addresses by hand.
type testFabric struct {
	mu         sync.Mutex
	interfaces []Interface
}

func (f *testFabric) Interfaces() []Interface {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.interfaces)
}

func (f *testFabric) API() http.Handler { return http.NotFoundHandler() }

func (f *testFabric) IMDS(instance string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, instance) })
}

// assign assigns a secondary address to an ENI, as EC2 does.
func (f *testFabric) assign(eni string, a netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n, i := range f.interfaces {
		if i.ID == eni {
			f.interfaces[n].Addresses = append(slices.Clone(i.Addresses), a)
		}
	}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func testPort(n byte) Port {
	return Port{
		ENI:     fmt.Sprintf("eni-%02x", n),
		MAC:     net.HardwareAddr{0x02, 0, 0, 0, 0, n},
		Address: netip.AddrFrom4([4]byte{10, 0, 1, n}),
	}
}

// buildTest builds a master with a second interface (.101 and .201) and a core node (.102). Their
// static IPs may be .10 and .11.
func buildTest(t *testing.T, change func(*Spec)) (*Lab, *testFabric) {
	t.Helper()
	t.Parallel()
	needNamespaces(t)
	plan, err := NewPlan(netip.MustParsePrefix("10.0.1.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	second := testPort(201)
	spec := Spec{
		Plan: plan, Release: "emr-7.5.0", Admitted: []netip.Addr{addr("10.0.1.10"), addr("10.0.1.11")},
		Nodes: []NodeSpec{
			{Name: "master", Instance: "i-master", Primary: testPort(101), Second: &second,
				Files: map[string][]byte{"/mnt/var/lib/info/instance.json": []byte(`{"isMaster": true}`)}},
			{Name: "core-1", Instance: "i-core", Primary: testPort(102)},
		},
		Progress: func(e Event) { t.Logf("%-8s %s", e.Node, e.Text) },
	}
	fabric := &testFabric{}
	for _, n := range spec.Nodes {
		fabric.interfaces = append(fabric.interfaces, Interface{ID: n.Primary.ENI, Addresses: []netip.Addr{n.Primary.Address}})
		if n.Second != nil {
			fabric.interfaces = append(fabric.interfaces, Interface{ID: n.Second.ENI, Addresses: []netip.Addr{n.Second.Address}})
		}
	}
	spec.Fabric = fabric
	if change != nil {
		change(&spec)
	}
	l, err := Build(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l, fabric
}

// scriptedAgent programs a node as the agent does, with the commands of the old script.
func scriptedAgent(t *testing.T, n *Node, static netip.Addr) {
	t.Helper()
	for _, line := range []string{
		fmt.Sprintf("ip addr add %s/32 dev %s", static, n.Link),
		fmt.Sprintf("iptables -t nat -A PREROUTING -d %s -j DNAT --to-destination %s", static, n.Primary.Address),
		fmt.Sprintf("iptables -t nat -A POSTROUTING -o %s ! -d 10.0.0.0/16 -j SNAT --to-source %s", n.Link, static),
	} {
		words := strings.Fields(line)
		if _, err := n.Output(t.Context(), words[0], words[1:]...); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTraffic(t *testing.T) {
	t.Parallel()
	for _, variant := range []Iptables{IptablesLegacy, IptablesNFT} {
		t.Run(string(variant), func(t *testing.T) {
			l, fabric := buildTest(t, func(s *Spec) { s.Iptables = variant })
			ctx := t.Context()
			master, core := l.Nodes()[0], l.Nodes()[1]
			static := addr("10.0.1.11")

			if source, err := l.Download(ctx, core); !errors.Is(err, ErrRefused) || source.IsValid() {
				t.Errorf("download before: %v from %v, want refused", err, source)
			}
			if n, err := l.Dropped(ctx, core); err != nil || n == 0 {
				t.Errorf("the firewall dropped %d packets (%v), want some", n, err)
			}
			if _, err := l.CallNode(ctx, static); !errors.Is(err, ErrRefused) {
				t.Errorf("call to the static IP before: %v, want refused", err)
			}

			// An address in the kernel alone is not enough: EC2's network drops packets from it.
			scriptedAgent(t, core, static)
			if source, err := l.Download(ctx, core); !errors.Is(err, ErrRefused) {
				t.Errorf("download with an address that was not assigned: %v from %v, want refused", err, source)
			}
			if n, err := l.Spoofed(ctx); err != nil || n == 0 {
				t.Errorf("the VPC dropped %d packets with a wrong source address (%v), want some", n, err)
			}

			fabric.assign(core.Primary.ENI, static)
			if err := l.sync(ctx); err != nil {
				t.Fatal(err)
			}
			if source, err := l.Download(ctx, core); err != nil || source != static {
				t.Errorf("download after: %v from %v, want %v", err, source, static)
			}
			if answer, err := l.CallNode(ctx, static); err != nil || answer.Name != "core-1" || answer.Source != l.Plan().Server {
				t.Errorf("call to the static IP after: %+v, %v", answer, err)
			}
			if answer, err := l.Call(ctx, core, master); err != nil || answer.Source != core.Primary.Address {
				t.Errorf("call inside the VPC: %+v, %v, want source %v", answer, err, core.Primary.Address)
			}
			if answer, err := l.CallOutside(ctx, core); err != nil || answer.Source != static {
				t.Errorf("call outside: %+v, %v, want source %v", answer, err, static)
			}
			if answer, err := l.CallOutsideBySecond(ctx, master); err != nil || answer.Source != master.Second.Address {
				t.Errorf("call through the second interface: %+v, %v, want source %v", answer, err, master.Second.Address)
			}
			if answer, err := l.CallSecond(ctx, master); err != nil || answer.Name != "master/second" {
				t.Errorf("call to the second interface: %+v, %v", answer, err)
			}
			// The master has no static IP.
			if source, err := l.Download(ctx, master); !errors.Is(err, ErrRefused) {
				t.Errorf("download on the master: %v from %v, want refused", err, source)
			}
		})
	}
}

func TestNodeIsAsOnEMR(t *testing.T) {
	t.Parallel()
	for release, want := range map[string]struct{ link, second, iptables, system string }{
		"emr-6.15.0": {"eth0", "eth1", "legacy", `VERSION_ID="2"`},
		"emr-7.5.0":  {"ens5", "ens6", "nf_tables", `VERSION_ID="2023"`},
	} {
		t.Run(release, func(t *testing.T) {
			l, _ := buildTest(t, func(s *Spec) { s.Release = release })
			master := l.Nodes()[0]
			if master.Link != want.link || master.SecondLink != want.second {
				t.Errorf("links %s and %s, want %s and %s", master.Link, master.SecondLink, want.link, want.second)
			}
			out, err := master.Output(t.Context(), "ip", "link", "show", "dev", want.link)
			if err != nil || !strings.Contains(out, master.Primary.MAC.String()) {
				t.Errorf("%s does not have the ENI's MAC %s: %v\n%s", want.link, master.Primary.MAC, err, out)
			}
			if out, err := master.Output(t.Context(), "iptables", "--version"); err != nil || !strings.Contains(out, want.iptables) {
				t.Errorf("iptables is %q (%v), want %s", out, err, want.iptables)
			}
			if content, err := master.ReadFile("/etc/os-release"); err != nil || !strings.Contains(string(content), want.system) {
				t.Errorf("/etc/os-release: %v\n%s", err, content)
			}
			if content, err := master.ReadFile("/mnt/var/lib/info/instance.json"); err != nil || !strings.Contains(string(content), "isMaster") {
				t.Errorf("instance.json: %v %s", err, content)
			}
			if _, err := l.Nodes()[1].ReadFile("/mnt/var/lib/info/instance.json"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the core node can read the master's files: %v", err)
			}
			if err := master.ns.do(func() error { return os.WriteFile("/usr/bin/new", nil, 0o644) }); err == nil {
				t.Error("a node can write to the machine's /usr")
			}
			for _, n := range l.Nodes() {
				c, err := connect(t.Context(), n.ns, netip.Addr{}, "169.254.169.254:80")
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n")
				c.SetDeadline(time.Now().Add(time.Second))
				answer := make([]byte, 4096)
				k, _ := c.Read(answer)
				c.Close()
				if !strings.HasSuffix(string(answer[:k]), n.Instance) {
					t.Errorf("IMDS of %s answered %q", n.Name, answer[:k])
				}
				if got := n.IMDSSources(); !slices.Equal(got, []netip.Addr{n.Primary.Address}) {
					t.Errorf("IMDS of %s saw requests from %v", n.Name, got)
				}
			}
		})
	}
}

func TestNodeWithoutIptables(t *testing.T) {
	l, _ := buildTest(t, func(s *Spec) { s.Iptables = IptablesNone })
	for _, name := range []string{"iptables", "iptables-nft", "iptables-legacy", "iptables-restore", "nft", "sudo"} {
		err := l.Nodes()[0].ns.do(func() error {
			if path, err := program(name); err == nil {
				return errors.New(path)
			}
			return nil
		})
		if err != nil {
			t.Errorf("the node has the program %s: %v", name, err)
		}
	}
}

// TestRun runs a program on a node and checks its output, exit code, progress, and its end when the
// context is cancelled.
func TestRun(t *testing.T) {
	script := t.TempDir() + "/bootstrap.sh"
	text := "#!/bin/sh\necho \"$# $1 $AWS_ENDPOINT_URL $X\"; id -u; printf 'one\\ntw\\033o' >&2; [ \"$1\" = hang ] && { trap 'kill $!; exit 7' TERM; sleep 20 & wait; }; exit 3\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	var lines []string
	l, _ := buildTest(t, func(s *Spec) { s.Progress = func(e Event) { lines = append(lines, e.Node+": "+e.Text) } })
	core := l.Nodes()[1]
	got, err := l.Run(t.Context(), core, Command{Program: script, Args: []string{"a b", "c"}, Env: []string{"X=y"}})
	if err != nil || got.ExitCode != 3 || got.Stdout != "2 a b http://10.0.0.10 y\n0\n" || got.Stderr != "one\ntw\x1bo" {
		t.Errorf("got %+v, %v", got, err)
	}
	if want := []string{"core-1: one", "core-1: tw?o"}; !slices.Equal(lines, want) {
		t.Errorf("progress %q, want %q", lines, want)
	}
	got, err = l.Run(t.Context(), core, Command{Program: script, User: "hadoop"})
	if !OneUser() && (err != nil || !strings.Contains(got.Stdout, "\n498\n")) {
		t.Errorf("as hadoop: %+v, %v", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if got, err := l.Run(ctx, core, Command{Program: script, Args: []string{"hang"}}); err != nil || got.ExitCode != 7 || got.Duration > 5*time.Second {
		t.Errorf("cancelled: %+v, %v", got, err)
	}
}
