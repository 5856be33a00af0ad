package agent

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
)

// jobFlowJSON is the job-flow.json of a cluster with one master, two core nodes and four task
// nodes.
const jobFlowJSON = `{"jobFlowId":"j-3H4A2KJ5EXAMPLE","instanceCount":3,"masterInstanceId":"i-1","instanceGroups":[
		{"instanceGroupId":"ig-1MASTER","instanceGroupName":"m","instanceRole":"Master","marketType":"ON_DEMAND","instanceType":"m5.xlarge","requestedInstanceCount":1},
		{"instanceGroupId":"ig-2CORE","instanceGroupName":"c","instanceRole":"Core","marketType":"ON_DEMAND","instanceType":"m5.xlarge","requestedInstanceCount":2},
		{"instanceGroupId":"ig-3TASK","instanceGroupName":"t","instanceRole":"Task","marketType":"SPOT","instanceType":"m5.xlarge","requestedInstanceCount":4}]}`

func testIdentity() Identity {
	return Identity{
		InstanceID: "i-0a1", InstanceType: "m5.xlarge", ENI: "eni-0a1", SubnetID: "subnet-0a1",
		Subnet: netip.MustParsePrefix("10.0.1.0/24"), PrimaryIP: netip.MustParseAddr("10.0.1.99"), VPC: netiptest.Prefixes("10.0.0.0/16 10.7.0.0/16"),
	}
}

func TestCheckPools(t *testing.T) {
	three := `{"haEnabled":true,"instanceGroups":[{"instanceRole":"MASTER","requestedInstanceCount":3},{"instanceRole":"CORE","requestedInstanceCount":2}]}`
	tests := []struct {
		name  string
		pools Pools
		role  Role
		files string // job-flow.json
		want  []string
	}{
		{"enough", Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11 10.0.1.12")}, RoleCore, jobFlowJSON, nil},
		{"more than enough", Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Range("10.0.1.11", 80)}, RoleMaster, jobFlowJSON, nil},
		{"first and last that AWS leaves", Pools{Master: netiptest.Addrs("10.0.1.4"), Core: netiptest.Addrs("10.0.1.254 10.0.1.5")}, RoleMaster, jobFlowJSON, nil},
		{"counts not known", Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11")}, RoleCore, "{}", nil},
		{"no addresses at all", Pools{}, RoleCore, jobFlowJSON, []string{
			"Insufficient arguments: no static IPs are named, and no earlier run on this node named any"}},
		{"too few, with both numbers", Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11")}, RoleCore, jobFlowJSON, []string{
			"Insufficient arguments: 1 address for core nodes, but /mnt/var/lib/info/job-flow.json says that 2 are requested"}},
		{"too few, seen from the master", Pools{Master: netiptest.Addrs("10.0.1.10")}, RoleMaster, jobFlowJSON, []string{
			"Insufficient arguments: 0 addresses for core nodes, but /mnt/var/lib/info/job-flow.json says that 2 are requested"}},
		{"none for this core node", Pools{Master: netiptest.Addrs("10.0.1.10")}, RoleCore, jobFlowJSON, []string{
			"Insufficient arguments: this is a core node, and no address is named for core nodes (0 addresses; /mnt/var/lib/info/job-flow.json says that 2 are requested)"}},
		{"none for this core node, counts not known", Pools{Master: netiptest.Addrs("10.0.1.10")}, RoleCore, "{}", []string{
			"Insufficient arguments: this is a core node, and no address is named for core nodes"}},
		{"none for this master", Pools{Core: netiptest.Addrs("10.0.1.11 10.0.1.12")}, RoleMaster, jobFlowJSON, []string{
			"Insufficient arguments: this is a master node, and no address is named for it (--master-ips, or the first of the list)"}},
		{"one node by its own pool", Pools{Core: netiptest.Addrs("10.0.1.11 10.0.1.12")}, RoleCore, three, nil},
		{"task node by its own pool", Pools{Task: netiptest.Addrs("10.0.1.11")}, RoleTask, three, nil},
		{"three masters", Pools{Master: netiptest.Range("10.0.1.10", 3), Core: netiptest.Range("10.0.1.20", 2)}, RoleMaster, three, nil},
		{"three masters, one address", Pools{Master: netiptest.Range("10.0.1.10", 1), Core: netiptest.Range("10.0.1.20", 2)}, RoleCore, three, []string{
			"Insufficient arguments: 1 address for the master, but /mnt/var/lib/info/job-flow.json says that the cluster has 3 masters (name 3 with --master-ips)"}},
		{"everything at once", Pools{Master: netiptest.Addrs("10.0.1.99"), Core: netiptest.Addrs("10.0.1.0 10.0.2.1 10.0.1.255 10.0.1.3 192.168.0.1"), Task: netiptest.Addrs("10.0.1.99")}, RoleCore,
			strings.ReplaceAll(jobFlowJSON, `"requestedInstanceCount":2`, `"requestedInstanceCount":12`), []string{
				"master address 10.0.1.99 is this node's primary IP, which EC2 gave it at launch: a static IP must be another one",
				"core address 192.168.0.1 is outside the VPC (10.0.0.0/16, 10.7.0.0/16): this node's subnet is 10.0.1.0/24 (subnet-0a1)",
				"core addresses 10.0.1.0, 10.0.1.255, 10.0.1.3 are reserved by AWS: the first four and the last of subnet 10.0.1.0/24 (subnet-0a1)",
				"task address 10.0.1.99 is this node's primary IP, which EC2 gave it at launch: a static IP must be another one",
				"task address 10.0.1.99 is named twice (also as master)",
				"Insufficient arguments: 3 addresses in this node's subnet for core nodes, but /mnt/var/lib/info/job-flow.json says that 12 are requested"}},
		{"a whole block, all of it elsewhere", Pools{Task: netiptest.Range("10.9.2.0", 300)}, RoleTask, "{}", []string{
			"task addresses 10.9.2.0, 10.9.2.1, 10.9.2.2, 10.9.2.3, 10.9.2.4, 10.9.2.5, 10.9.2.6, 10.9.2.7, 10.9.2.8, 10.9.2.9 and 290 more " +
				"are outside the VPC (10.0.0.0/16, 10.7.0.0/16): this node's subnet is 10.0.1.0/24 (subnet-0a1)"}},
		{"for three subnets", Pools{Master: netiptest.Addrs("10.0.2.10 10.0.1.10 10.7.3.10"), Core: netiptest.Addrs("10.0.2.11 10.0.2.12 10.0.1.11 10.0.1.12 10.7.3.11")}, RoleCore, jobFlowJSON, nil},
		{"too few in this subnet", Pools{Master: netiptest.Addrs("10.0.2.10 10.0.1.10"), Core: netiptest.Addrs("10.0.2.11 10.0.2.12 10.0.1.11")}, RoleCore, jobFlowJSON, []string{
			"Insufficient arguments: 1 address in this node's subnet for core nodes, but /mnt/var/lib/info/job-flow.json says that 2 are requested"}},
		{"none in this subnet", Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.2.11 10.0.2.12 10.7.3.1")}, RoleCore, jobFlowJSON, []string{
			"no core address is in this node's subnet 10.0.1.0/24 (subnet-0a1): the list has them in other subnets only (10.0.2.11-10.0.2.12, 10.7.3.1)"}},
		{"none in this subnet, of fleets", Pools{Master: netiptest.Addrs("10.0.2.10 10.7.3.10")}, RoleMaster, "{}", []string{
			"no master address is in this node's subnet 10.0.1.0/24 (subnet-0a1): the list has them in other subnets only (10.0.2.10, 10.7.3.10)"}},
		{"reserved elsewhere cannot be told", Pools{Core: netiptest.Addrs("10.0.1.11 10.0.1.12 10.0.2.1")}, RoleCore, jobFlowJSON, nil},
		{"the whole subnet", Pools{Task: netiptest.Range("10.0.1.0", 256)}, RoleTask, "{}", []string{
			"task address 10.0.1.99 is this node's primary IP, which EC2 gave it at launch: a static IP must be another one",
			"task addresses 10.0.1.0, 10.0.1.1, 10.0.1.2, 10.0.1.3, 10.0.1.255 are reserved by AWS: the first four and the last of subnet 10.0.1.0/24 (subnet-0a1)"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			files := emr.ReadFiles(rootWith(t, "/mnt/var/lib/info/"+emr.FileJobFlow, test.files))
			_, err := CheckPools(test.pools, test.role, testIdentity(), files, false)
			if test.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if CodeOf(err) != ExitUsage || len(exit.Remedies(err)) == 0 {
				t.Fatalf("code %d, remedies %q, %v", CodeOf(err), exit.Remedies(err), err)
			}
			if got := strings.Split(err.Error(), "\n"); !slices.Equal(got, test.want) {
				t.Errorf("got\n%v\nwant\n%s", err, strings.Join(test.want, "\n"))
			}
		})
	}
}

// A count is no reason to refuse a node that has its address, nor is one that EMR's files only
// suggest. Each is a warning then.
func TestCountsThatOnlyWarn(t *testing.T) {
	pools := Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11")}
	const extra = `{"haEnabled":true,"instanceGroups":{"MASTER":[{"instanceCount":3}],"CORE":[{"instanceCount":2}]}}`
	const fleet = `{"instanceGroups":{"MASTER":[{"instanceCount":1}],"CORE":[{"instanceCount":2},{"instanceCount":8}]}}`
	tests := []struct {
		name, file, content string
		has, refused        bool
		warnings            []string
	}{
		{"certain", emr.FileJobFlow, jobFlowJSON, false, true, nil},
		{"certain, and it has its address", emr.FileJobFlow, jobFlowJSON, true, false, []string{
			"too few addresses: 1 address for core nodes, but /mnt/var/lib/info/job-flow.json says that 2 are requested"}},
		{"suggested", emr.FileExtra, extra, false, false, []string{
			"too few addresses: 1 address for the master, but /mnt/var/lib/info/extraInstanceData.json says that the cluster has 3 masters (name 3 with --master-ips)",
			"too few addresses: 1 address for core nodes, but /mnt/var/lib/info/extraInstanceData.json says that 2 are requested"}},
		{"units of a fleet", emr.FileExtra, fleet, false, false, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			files := emr.ReadFiles(rootWith(t, "/mnt/var/lib/info/"+test.file, test.content))
			fit, err := CheckPools(pools, RoleCore, testIdentity(), files, test.has)
			if (err != nil) != test.refused || !slices.Equal(fit.Warnings, test.warnings) {
				t.Errorf("error %v, warnings %q, want %q", err, fit.Warnings, test.warnings)
			}
		})
	}
}

// Addresses for other subnets are told once, and no node of this subnet uses them.
func TestCheckPoolsOverSubnets(t *testing.T) {
	pools := Pools{Master: netiptest.Addrs("10.0.2.10 10.0.1.10"), Core: netiptest.Addrs("10.0.2.11 10.0.2.12 10.0.1.11 10.0.1.12"), Task: netiptest.Addrs("10.7.3.30")}
	files := emr.ReadFiles(rootWith(t, "/mnt/var/lib/info/"+emr.FileJobFlow, jobFlowJSON))
	fit, err := CheckPools(pools, RoleMaster, testIdentity(), files, false)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(fit.Own.Master, netiptest.Addrs("10.0.1.10")) || !slices.Equal(fit.Own.Core, netiptest.Addrs("10.0.1.11 10.0.1.12")) || len(fit.Own.Task) > 0 {
		t.Errorf("own %+v", fit.Own)
	}
	notes := []string{"4 addresses of the list are for nodes in other subnets of the VPC: 10.0.2.10-10.0.2.12, 10.7.3.30 (this node's subnet is 10.0.1.0/24 (subnet-0a1))"}
	warnings := []string{"no task address is in this node's subnet 10.0.1.0/24 (subnet-0a1): task nodes here get none"}
	if !slices.Equal(fit.Notes, notes) || !slices.Equal(fit.Warnings, warnings) {
		t.Errorf("notes %q, warnings %q", fit.Notes, fit.Warnings)
	}
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
		pools Pools
		role  Role
		want  bool
	}{
		{Pools{Core: netiptest.Addrs("10.0.1.11")}, RoleTask, true},
		{Pools{Task: netiptest.Addrs("10.0.1.11")}, RoleTask, false},
		{Pools{Master: netiptest.Addrs("10.0.1.11")}, RoleCore, false},
		{Pools{Core: netiptest.Addrs("10.0.1.11")}, RoleMaster, false},
	} {
		if got, why := LeftAlone(test.pools, test.role); got != test.want || got != (why != "") {
			t.Errorf("%+v: %t %q", test, got, why)
		}
	}
}

func TestCheckRoom(t *testing.T) {
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
		err := CheckRoom(testIdentity(), test.limit, netiptest.Addrs(test.present), pool)
		if (err == nil) != test.ok || err != nil && CodeOf(err) != ExitUsage {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestCheckRegion(t *testing.T) {
	id := testIdentity()
	id.Region = "eu-west-1\x1b"
	for region, want := range map[string]bool{"": true, "eu-west-1\x1b": true, "eu-west-1": false, "us-east-1": false} {
		if err := CheckRegion(region, id); (err == nil) != want || !want && (CodeOf(err) != ExitUsage || strings.ContainsRune(err.Error(), 0x1b)) {
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
