package lab

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"golang.org/x/sys/unix"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// These functions prepare the failures of the matrix.

const (
	stateDir  = "/var/lib/emr-static-ip"
	stateFile = stateDir + "/state.json"
)

func contextFor(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), 4*time.Minute)
}

// applied lets the node get its static IP first.
func applied(t *testing.T, s *site) {
	t.Helper()
	if got := start(t, s.Cluster, s.core, Command{Args: list, Quiet: true}); got.ExitCode != 0 {
		t.Fatalf("exit code %d\n%s", got.ExitCode, got.Stderr)
	}
}

// operator returns the SDK configuration of the operator.
func (s *site) operator() aws.Config {
	return aws.Config{
		Region: "us-east-1", HTTPClient: &http.Client{Transport: s.Cloud.Transport("")},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return s.Cloud.Credentials(""), nil }),
	}
}

// outsideEMR replaces the core node by an instance outside EMR that has these files.
func (s *site) outsideEMR(t *testing.T, files map[string][]byte) {
	t.Helper()
	n := s.stranger(t, "")
	node, err := s.AddNode(t.Context(), NodeSpec{
		Name: "stranger", Instance: n.InstanceID, Primary: Port{ENI: n.ENI, MAC: n.MAC, Address: n.PrimaryIP}, Files: files,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.core = node
}

// damage writes half a state file.
func (s *site) damage(t *testing.T) {
	t.Helper()
	applied(t, s)
	s.write(t, stateFile, "{\"version\": 1, \x1b[2J")
}

// portal is a proxy at 10.0.0.11:8080 that answers every request with its own page.
func portal(t *testing.T, s *site) {
	t.Helper()
	if err := s.router.ip(t.Context(), "addr add 10.0.0.11/32 dev lo"); err != nil {
		t.Fatal(err)
	}
	l, err := s.router.listen(t.Context(), "10.0.0.11:8080", "")
	if err != nil {
		t.Fatal(err)
	}
	server := serveHTTP(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<html><body>Please sign in</body></html>")
	}))
	t.Cleanup(func() { server.Close() })
}

// unassign removes an address from the core node's interface, as another tool would.
func (s *site) unassign(t *testing.T, a netip.Addr) {
	t.Helper()
	_, err := ec2.NewFromConfig(s.operator()).UnassignPrivateIpAddresses(t.Context(), &ec2.UnassignPrivateIpAddressesInput{
		NetworkInterfaceId: aws.String(s.core.Primary.ENI), PrivateIpAddresses: []string{a.String()},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// stranger starts an instance outside EMR with these addresses.
func (s *site) stranger(t *testing.T, primary string, secondary ...string) *cloud.Node {
	t.Helper()
	spec := cloud.InstanceSpec{Subnet: s.SubnetID, Name: "stranger"}
	if primary != "" {
		spec.PrimaryIP = netip.MustParseAddr(primary)
	}
	for _, a := range secondary {
		spec.Secondary = append(spec.Secondary, netip.MustParseAddr(a))
	}
	n, err := s.Cloud.RunInstance(spec)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// inside calls f in the namespaces of the core node.
func (s *site) inside(t *testing.T, f func() error) {
	t.Helper()
	if err := s.core.ns.do(f); err != nil {
		t.Fatal(err)
	}
}

// emrFiles replaces the content of each of EMR's files on the core node.
func (s *site) emrFiles(t *testing.T, content string) {
	t.Helper()
	found := 0
	s.inside(t, func() error {
		for _, dir := range []string{"/mnt/var/lib", "/emr/instance-controller/lib/info", "/var/lib/info"} {
			err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
				if os.IsNotExist(err) || err == nil && entry.IsDir() {
					return nil
				}
				if err != nil {
					return err
				}
				found++
				if content == "" {
					return os.Remove(path)
				}
				return os.WriteFile(path, []byte(content), 0o600)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if found == 0 {
		t.Fatal("the node has none of EMR's files")
	}
}

// readOnly makes a directory of the core node a read-only file system.
func (s *site) readOnly(t *testing.T, dir string) {
	t.Helper()
	s.inside(t, func() error {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		return unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, "mode=0700")
	})
}

// sealed makes the core node look as if systemd ran there, and makes a directory with its files
// read-only.
func (s *site) sealed(t *testing.T, dir string) {
	t.Helper()
	s.inside(t, func() error {
		for _, d := range []string{"/run/systemd/system", dir} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				return err
			}
		}
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		return unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	})
}

// lock holds a lock file of the core node until the test ends, as a hanging program does.
func (s *site) lock(t *testing.T, path string) {
	t.Helper()
	var f *os.File
	s.inside(t, func() (err error) {
		if f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			return err
		}
		return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	})
	t.Cleanup(func() { f.Close() })
}

func (s *site) write(t *testing.T, path, content string) {
	t.Helper()
	if err := s.core.WriteFile(path, []byte(content)); err != nil {
		t.Fatal(err)
	}
}

// put writes a record of the ledger by hand.
func (s *site) put(t *testing.T, address, value string) {
	t.Helper()
	_, err := ssm.NewFromConfig(s.operator()).PutParameter(t.Context(), &ssm.PutParameterInput{
		Name: aws.String("/emr-static-ip/" + s.SubnetID + "/" + address), Value: aws.String(value), Type: "String", Overwrite: aws.Bool(true),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// assignOne assigns one more address to the core node's interface, as another tool would. No node
// has it as its primary IP.
func (s *site) assignOne(t *testing.T) {
	t.Helper()
	var err error
	for last := 200; last < 210; last++ {
		_, err = ec2.NewFromConfig(s.operator()).AssignPrivateIpAddresses(t.Context(), &ec2.AssignPrivateIpAddressesInput{
			NetworkInterfaceId: aws.String(s.core.Primary.ENI), PrivateIpAddresses: []string{fmt.Sprintf("10.0.1.%d", last)},
		})
		if err == nil {
			return
		}
	}
	t.Fatal(err)
}

// absent writes the file that restore leaves after the given number of checks in which IMDS did not
// list the static IP.
func (s *site) absent(t *testing.T, checks int) {
	t.Helper()
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	s.write(t, stateDir+"/absent.json", fmt.Sprintf(`{"instance":%q,"static":"10.0.1.11","boot":%q,"count":%d,"since":%q,"last":%q}`,
		s.core.Instance, strings.TrimSpace(string(boot)), checks, before, before))
}
