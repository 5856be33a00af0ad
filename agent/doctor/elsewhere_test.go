package doctor

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
	"github.com/emr-static-ip/emr-static-ip/netcfg/netcfgtest"
)

// TestDoctorWithoutIMDSAndRegion checks that doctor takes the region from EMR's files. If they do
// not name it either, doctor blames IMDS alone.
func TestDoctorWithoutIMDSAndRegion(t *testing.T) {
	for _, known := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			n, _ := newNode(t, cloud.Options{AnyCredentials: true})
			n.Silent.Store(true)
			if !known {
				n.rewriteEMRFiles("us-east-1", "")
			}
			d := n.doctor()
			if d.ExitCode() != exit.Unreachable {
				t.Errorf("exit code %d\n%s", d.ExitCode(), textOf(t, d))
			}
			expect(t, d, "imds", resultFailed)
			if known {
				expect(t, d, "dns ssm", resultOK)
				expect(t, d, "tcp ec2", resultOK)
				expect(t, d, "credentials", resultFailed)
				return
			}
			expect(t, d, "credentials", resultUnknown)
			expect(t, d, "dns ssm", resultUnknown)
			golden.Is(t, "no-region.txt", said(d, "credentials", "dns ssm"))
		})
	}
}

// rewriteEMRFiles replaces a text in all of EMR's files.
func (n *testNode) rewriteEMRFiles(old, text string) {
	n.T.Helper()
	for _, f := range emr.ReadFiles(n.Env.Root).Files {
		n.Write(n.Env.Path(f.Path), strings.ReplaceAll(n.Read(f.Path), old, text))
	}
}

// TestDoctorEMRFiles: what to do about a file depends on what is wrong with it.
func TestDoctorEMRFiles(t *testing.T) {
	for _, test := range []struct {
		err  error
		root bool // whether root could read the file
	}{
		{fmt.Errorf("reading x: %w", syscall.EACCES), true},
		{fmt.Errorf("reading x: %w", os.ErrPermission), true},
		{errors.New("reading x: is not JSON"), false},
		{fmt.Errorf("reading x: %w", syscall.EIO), false},
	} {
		if got := emrFileRemedy(test.err); got == "" || strings.Contains(got, "root") != test.root {
			t.Errorf("%v: %s", test.err, got)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		n, _ := newNode(t, cloud.Options{})
		for _, f := range emr.ReadFiles(n.Env.Root).Files {
			n.Write(n.Env.Path(f.Path), "not json")
		}
		d := n.doctor()
		expect(t, d, "emr-files", resultWarning)
		golden.Is(t, "emr-files.txt", said(d, "emr-files"))
	})
}

// TestDoctorOutsideEMRBesideACluster asks doctor about an address in use. If a node of a cluster
// has it, that is a warning. If a stranger has it, a run would fail.
func TestDoctorOutsideEMRBesideACluster(t *testing.T) {
	for _, stranger := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n, _ := newNode(t, cloud.Options{})
			n.cfg.Pools = agent.Pools{Core: netiptest.Addrs("10.0.1.21")}
			if stranger {
				if _, err := n.Cloud.RunInstance(cloud.InstanceSpec{Subnet: n.SubnetID, Secondary: netiptest.Addrs("10.0.1.21")}); err != nil {
					t.Fatal(err)
				}
			} else {
				n.apply()
			}
			plain, err := n.Cloud.RunInstance(cloud.InstanceSpec{Subnet: n.SubnetID})
			if err != nil {
				t.Fatal(err)
			}
			n.Env.HTTP = n.Cloud.Transport(plain.InstanceID)
			n.Kernel = netcfgtest.New(netcfgtest.Link("eth0", 2, plain.MAC, netip.PrefixFrom(plain.PrimaryIP, 24)))
			n.Env.Root = t.TempDir()
			d := n.doctor()
			if stranger {
				expectOnly(t, d, exit.NoAddress, "role", "address 10.0.1.21", "pool core", "units")
				return
			}
			expectOnly(t, d, exit.OK, "role", "pool core", "units")
			expect(t, d, "pool core", resultWarning)
			golden.Is(t, "beside-a-cluster.txt", said(d, "pool core"))
		})
	}
}
