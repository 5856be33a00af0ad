package check

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
)

// jobFlowJSON is the job-flow.json of a cluster with one master, two core nodes and four task
// nodes.
const jobFlowJSON = `{"jobFlowId":"j-3H4A2KJ5EXAMPLE","instanceCount":3,"masterInstanceId":"i-1","instanceGroups":[
		{"instanceGroupId":"ig-1MASTER","instanceGroupName":"m","instanceRole":"Master","marketType":"ON_DEMAND","instanceType":"m5.xlarge","requestedInstanceCount":1},
		{"instanceGroupId":"ig-2CORE","instanceGroupName":"c","instanceRole":"Core","marketType":"ON_DEMAND","instanceType":"m5.xlarge","requestedInstanceCount":2},
		{"instanceGroupId":"ig-3TASK","instanceGroupName":"t","instanceRole":"Task","marketType":"SPOT","instanceType":"m5.xlarge","requestedInstanceCount":4}]}`

func testIdentity() ec2.Identity {
	return ec2.Identity{
		InstanceID: "i-0a1", InstanceType: "m5.xlarge", ENI: "eni-0a1", SubnetID: "subnet-0a1",
		Subnet: netip.MustParsePrefix("10.0.1.0/24"), PrimaryIP: netip.MustParseAddr("10.0.1.99"), VPC: netiptest.Prefixes("10.0.0.0/16 10.7.0.0/16"),
	}
}

func TestPools(t *testing.T) {
	three := `{"haEnabled":true,"instanceGroups":[{"instanceRole":"MASTER","requestedInstanceCount":3},{"instanceRole":"CORE","requestedInstanceCount":2}]}`
	tests := []struct {
		name    string
		pools   pool.Pools
		role    emr.Role
		files   string // job-flow.json
		refused bool
	}{
		{"enough", pool.Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11 10.0.1.12")}, emr.Core, jobFlowJSON, false},
		{"more than enough", pool.Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Range("10.0.1.11", 80)}, emr.Master, jobFlowJSON, false},
		{"first and last that AWS leaves", pool.Pools{Master: netiptest.Addrs("10.0.1.4"), Core: netiptest.Addrs("10.0.1.254 10.0.1.5")}, emr.Master, jobFlowJSON, false},
		{"counts not known", pool.Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11")}, emr.Core, "{}", false},
		{"no addresses at all", pool.Pools{}, emr.Core, jobFlowJSON, true},
		{"too few, with both numbers", pool.Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11")}, emr.Core, jobFlowJSON, true},
		{"too few, seen from the master", pool.Pools{Master: netiptest.Addrs("10.0.1.10")}, emr.Master, jobFlowJSON, true},
		{"none for this core node", pool.Pools{Master: netiptest.Addrs("10.0.1.10")}, emr.Core, jobFlowJSON, true},
		{"none for this core node, counts not known", pool.Pools{Master: netiptest.Addrs("10.0.1.10")}, emr.Core, "{}", true},
		{"none for this master", pool.Pools{Core: netiptest.Addrs("10.0.1.11 10.0.1.12")}, emr.Master, jobFlowJSON, true},
		{"one node by its own pool", pool.Pools{Core: netiptest.Addrs("10.0.1.11 10.0.1.12")}, emr.Core, three, false},
		{"task node by its own pool", pool.Pools{Task: netiptest.Addrs("10.0.1.11")}, emr.Task, three, false},
		{"three masters", pool.Pools{Master: netiptest.Range("10.0.1.10", 3), Core: netiptest.Range("10.0.1.20", 2)}, emr.Master, three, false},
		{"three masters, one address", pool.Pools{Master: netiptest.Range("10.0.1.10", 1), Core: netiptest.Range("10.0.1.20", 2)}, emr.Core, three, true},
		{"everything at once", pool.Pools{Master: netiptest.Addrs("10.0.1.99"), Core: netiptest.Addrs("10.0.1.0 10.0.2.1 10.0.1.255 10.0.1.3 192.168.0.1"), Task: netiptest.Addrs("10.0.1.99")}, emr.Core,
			strings.ReplaceAll(jobFlowJSON, `"requestedInstanceCount":2`, `"requestedInstanceCount":12`), true},
		{"a whole block, all of it elsewhere", pool.Pools{Task: netiptest.Range("10.9.2.0", 300)}, emr.Task, "{}", true},
		{"for three subnets", pool.Pools{Master: netiptest.Addrs("10.0.2.10 10.0.1.10 10.7.3.10"), Core: netiptest.Addrs("10.0.2.11 10.0.2.12 10.0.1.11 10.0.1.12 10.7.3.11")}, emr.Core, jobFlowJSON, false},
		{"too few in this subnet", pool.Pools{Master: netiptest.Addrs("10.0.2.10 10.0.1.10"), Core: netiptest.Addrs("10.0.2.11 10.0.2.12 10.0.1.11")}, emr.Core, jobFlowJSON, true},
		{"none in this subnet", pool.Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.2.11 10.0.2.12 10.7.3.1")}, emr.Core, jobFlowJSON, true},
		{"none in this subnet, of fleets", pool.Pools{Master: netiptest.Addrs("10.0.2.10 10.7.3.10")}, emr.Master, "{}", true},
		{"reserved elsewhere cannot be told", pool.Pools{Core: netiptest.Addrs("10.0.1.11 10.0.1.12 10.0.2.1")}, emr.Core, jobFlowJSON, false},
		{"the whole subnet", pool.Pools{Task: netiptest.Range("10.0.1.0", 256)}, emr.Task, "{}", true},
	}
	messages := golden.Open(t, "check-pools.txt")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			files := emr.ReadFiles(rootWith(t, "/mnt/var/lib/info/"+emr.FileJobFlow, test.files))
			_, err := Pools(test.pools, test.role, testIdentity(), files, false)
			if !test.refused {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if exit.CodeOf(err) != exit.Usage || len(exit.Remedies(err)) == 0 {
				t.Fatalf("code %d, remedies %q, %v", exit.CodeOf(err), exit.Remedies(err), err)
			}
			messages.Is(t, test.name, err.Error())
		})
	}
}

// A count is no reason to refuse a node that has its address, nor is one that EMR's files only
// suggest. Each is a warning then.
func TestCountsThatOnlyWarn(t *testing.T) {
	pools := pool.Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11")}
	const extra = `{"haEnabled":true,"instanceGroups":{"MASTER":[{"instanceCount":3}],"CORE":[{"instanceCount":2}]}}`
	const flag = `{"haEnabled":true,"instanceGroups":{"MASTER":[{"instanceCount":1}],"CORE":[{"instanceCount":1}]}}`
	const fleet = `{"instanceGroups":{"MASTER":[{"instanceCount":1}],"CORE":[{"instanceCount":2},{"instanceCount":8}]}}`
	tests := []struct {
		name, file, content string
		has, refused        bool
		warned              bool
	}{
		{"certain", emr.FileJobFlow, jobFlowJSON, false, true, false},
		{"certain, and it has its address", emr.FileJobFlow, jobFlowJSON, true, false, true},
		{"suggested", emr.FileExtra, extra, false, false, true},
		{"three masters by the flag alone", emr.FileExtra, flag, false, false, true},
		{"units of a fleet", emr.FileExtra, fleet, false, false, false},
	}
	messages := golden.Open(t, "check-counts.txt")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			files := emr.ReadFiles(rootWith(t, "/mnt/var/lib/info/"+test.file, test.content))
			fit, err := Pools(pools, emr.Core, testIdentity(), files, test.has)
			if (err != nil) != test.refused || len(fit.Warnings) > 0 != test.warned {
				t.Errorf("error %v, warnings %q", err, fit.Warnings)
			}
			messages.Is(t, test.name, strings.Join(fit.Warnings, "\n"))
		})
	}
}

// Addresses for other subnets are told once, and no node of this subnet uses them.
func TestCheckPoolsOverSubnets(t *testing.T) {
	pools := pool.Pools{Master: netiptest.Addrs("10.0.2.10 10.0.1.10"), Core: netiptest.Addrs("10.0.2.11 10.0.2.12 10.0.1.11 10.0.1.12"), Task: netiptest.Addrs("10.7.3.30")}
	files := emr.ReadFiles(rootWith(t, "/mnt/var/lib/info/"+emr.FileJobFlow, jobFlowJSON))
	fit, err := Pools(pools, emr.Master, testIdentity(), files, false)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(fit.Own.Master, netiptest.Addrs("10.0.1.10")) || !slices.Equal(fit.Own.Core, netiptest.Addrs("10.0.1.11 10.0.1.12")) || len(fit.Own.Task) > 0 {
		t.Errorf("own %+v", fit.Own)
	}
	messages := golden.Open(t, "check-subnets.txt")
	messages.Is(t, "notes", strings.Join(fit.Notes, "\n"))
	messages.Is(t, "warnings", strings.Join(fit.Warnings, "\n"))
}

func TestReserved(t *testing.T) {
	tests := []struct {
		subnet string
		want   string // the reserved addresses
	}{
		{"10.0.1.16/28", "10.0.1.16 10.0.1.17 10.0.1.18 10.0.1.19 10.0.1.31"},
		{"10.0.0.0/16", "10.0.0.0 10.0.0.1 10.0.0.2 10.0.0.3 10.0.255.255"},
		{"255.255.255.240/28", "255.255.255.240 255.255.255.241 255.255.255.242 255.255.255.243 255.255.255.255"},
	}
	for _, test := range tests {
		subnet := netip.MustParsePrefix(test.subnet)
		var got []netip.Addr
		for a := subnet.Addr(); a.IsValid() && subnet.Contains(a); a = a.Next() {
			if Reserved(subnet, a) {
				got = append(got, a)
			}
		}
		if !slices.Equal(got, netiptest.Addrs(test.want)) {
			t.Errorf("%s: got %v, want %s", subnet, got, test.want)
		}
	}
}

func TestLeftAlone(t *testing.T) {
	for _, test := range []struct {
		pools pool.Pools
		role  emr.Role
		want  bool
	}{
		{pool.Pools{Core: netiptest.Addrs("10.0.1.11")}, emr.Task, true},
		{pool.Pools{Task: netiptest.Addrs("10.0.1.11")}, emr.Task, false},
		{pool.Pools{Master: netiptest.Addrs("10.0.1.11")}, emr.Core, false},
		{pool.Pools{Core: netiptest.Addrs("10.0.1.11")}, emr.Master, false},
	} {
		if got, why := LeftAlone(test.pools, test.role); got != test.want || got != (why != "") {
			t.Errorf("%+v: %t %q", test, got, why)
		}
	}
}

func TestRoom(t *testing.T) {
	pool := netiptest.Addrs("10.0.1.11 10.0.1.12")
	for _, test := range []struct {
		name    string
		limit   int
		present string
		ok      bool
	}{
		{"room", 3, "10.0.1.99 10.0.1.98", true},
		{"full", 2, "10.0.1.99 10.0.1.98", false},
		{"full, with an address of the pool", 2, "10.0.1.99 10.0.1.12", true},
		{"limit not known", 0, "10.0.1.99 10.0.1.98", true},
	} {
		err := Room(testIdentity(), test.limit, netiptest.Addrs(test.present), pool)
		if (err == nil) != test.ok || err != nil && exit.CodeOf(err) != exit.Usage {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestRegion(t *testing.T) {
	id := testIdentity()
	id.Region = "eu-west-1\x1b"
	for region, want := range map[string]bool{"": true, "eu-west-1\x1b": true, "eu-west-1": false, "us-east-1": false} {
		if err := Region(region, id); (err == nil) != want || !want && (exit.CodeOf(err) != exit.Usage || strings.ContainsRune(err.Error(), 0x1b)) {
			t.Errorf("%q: %v", region, err)
		}
	}
}

// rootWith returns a directory with one file.
func rootWith(t *testing.T, path, content string) string {
	t.Helper()
	root := t.TempDir()
	p := filepath.Join(root, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
	return root
}
