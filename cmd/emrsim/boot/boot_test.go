// Package boot contains a test that boots a machine: the real systemd, the real program and its
// units.
package boot

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
)

// files are the files that the machine has in addition to the base system. The network comes up
// late, as with DHCP. The service that represents Hadoop has the name of a Hadoop service. It
// writes down the addresses and rules that it finds.
var files = map[string]string{
	"etc/systemd/system/late-network.service": `[Unit]
Description=Network that comes up late
Wants=network.target network-online.target
Before=network.target network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'sleep 2; ip addr add PRIMARY/24 dev ens5; ip link set ens5 up; ip link set lo up'
[Install]
WantedBy=multi-user.target
`,
	"etc/systemd/system/hadoop-hdfs-datanode.service": `[Unit]
Description=Stands for Hadoop's services
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c '{ ip -4 addr show dev ens5; nft list table ip emr-static-ip || true; } >/var/lib/seen 2>&1'
[Install]
WantedBy=multi-user.target
`,
	// The timer runs more often.
	"etc/systemd/system/emr-static-ip-restore.timer.d/fast.conf": "[Timer]\nOnBootSec=\nOnBootSec=5s\nOnUnitInactiveSec=2s\n",
	"etc/machine-id": "",
	"etc/hostname":   "node\n",
}

// dump prints the rules without counters.
const dump = "nft -s list table ip emr-static-ip 2>&1 || true"

// need skips the test if a machine cannot be booted. If REQUIRE_NETNS=1, the test fails instead.
func need(t *testing.T) {
	t.Helper()
	skip := func(why string) {
		t.Helper()
		if os.Getenv("REQUIRE_NETNS") == "1" {
			t.Fatal("REQUIRE_NETNS=1, and ", why)
		}
		t.Skip(why)
	}
	if testing.Short() {
		t.Skip("boots a machine")
	}
	if lab.OneUser() {
		t.Skip("this user namespace has one user only: systemd-nspawn and debootstrap need root")
	}
	if os.Geteuid() != 0 {
		skip("this needs root")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("a machine is made of Debian's packages, by debootstrap, which other systems do not have")
	}
	for _, program := range []string{"systemd-nspawn", "debootstrap", "nsenter", "ip", "iptables", "go"} {
		if _, err := exec.LookPath(program); err != nil {
			skip(err.Error())
		}
	}
}

// TestBoot is a node's life with systemd: a bootstrap action that fails at first, drift, a reboot
// and a release.
func TestBoot(t *testing.T) {
	need(t)
	base := baseTree(t)
	began := time.Now()
	lap := func(what string) { t.Logf("%5.1fs %s", time.Since(began).Seconds(), what) }

	account := cloud.New(cloud.Options{Seed: 1})
	subnet := account.CreateSubnet(account.CreateVPC(netip.MustParsePrefix("10.0.0.0/16")), netip.MustParsePrefix("10.0.1.0/24"))
	account.ReserveCIDR(subnet, netip.MustParsePrefix("10.0.1.16/28"), "explicit")
	cluster, err := account.LaunchCluster(cloud.ClusterSpec{Name: "boot", NameTag: "boot", Subnet: subnet, Masters: 1, Cores: 1})
	if err != nil {
		t.Fatal(err)
	}
	var node *cloud.Node
	for _, n := range cluster.Nodes {
		if n.Role == cloud.RoleCore {
			node = n
		}
	}

	m := newMachine(t, base, node)
	for p, text := range node.EMRFiles(cloud.FilesFull) {
		m.write(p, string(text))
	}
	lap("the tree is ready")
	m.connect(account, node, true)
	t.Cleanup(m.halt)
	m.boot(60 * time.Second)
	lap("booted")
	m.run("systemctl", "enable", "--now", "late-network.service", "hadoop-hdfs-datanode.service")

	apply := []string{"/opt/bootstrap-actions/emr-static-ip", "10.0.1.20", "10.0.1.21", "10.0.1.22"}
	retry(t, m, account, node, apply)
	lap("tried again until it succeeded, released")
	report := m.run(apply...)
	for _, want := range []string{"installed /usr/local/sbin/emr-static-ip", "enabled emr-static-ip-restore.service", "started emr-static-ip-restore.timer"} {
		if !strings.Contains(report, want) {
			t.Errorf("apply does not report %q:\n%s", want, report)
		}
	}
	if again := m.run(apply...); !strings.Contains(again, "\nchanged=0 ") {
		t.Errorf("a second apply:\n%s", again)
	}
	static := "10.0.1.21"
	if status, err := m.try("emr-static-ip", "status"); err != nil || !strings.Contains(status, "in order") || strings.Contains(status, "missing") {
		t.Errorf("status: %v\n%s", err, status)
	}
	if out, err := m.try("systemd-analyze", "--man=no", "verify",
		"/etc/systemd/system/emr-static-ip-restore.service", "/etc/systemd/system/emr-static-ip-restore.timer"); err != nil || out != "" {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	lap("applied")

	// A neighbour deletes a rule and then the address. The timer repairs both.
	rules := m.net.sh(t, dump)
	for _, drift := range []string{
		"nft flush chain ip emr-static-ip EMR-STATIC-IP-OUT",
		"ip addr del " + static + "/32 dev ens5",
		"nft flush ruleset",
	} {
		m.net.sh(t, drift)
		d := eventually(t, 20*time.Second, "repairing "+drift, func() (string, bool) {
			got := m.net.sh(t, dump)
			return got, got == rules && strings.Contains(m.net.sh(t, "ip -4 addr show dev ens5"), static+"/32")
		})
		lap("repaired after " + d.Round(100*time.Millisecond).String() + ": " + drift)
	}
	journal := m.run("journalctl", "--no-pager", "--unit=emr-static-ip-restore.service")
	if !strings.Contains(journal, " WARN ") || !strings.Contains(journal, static) {
		t.Errorf("the journal does not report what was missing:\n%s", journal)
	}
	if strings.Contains(journal, "Finished") {
		t.Errorf("the journal has a line for every run, even without changes:\n%s", tail(journal))
	}

	// A reboot with a metadata service that answers late.
	m.halt()
	lap("shut down")
	if err := os.Remove(filepath.Join(m.tree, "var/lib/seen")); err != nil {
		t.Fatal(err)
	}
	m.connect(account, node, false)
	m.boot(60 * time.Second)
	lap("booted again, without IMDS")
	seen, err := os.ReadFile(filepath.Join(m.tree, "var/lib/seen"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{static + "/32", "dnat to " + node.PrimaryIP.String(), "snat to " + static, "hook postrouting"} {
		if !strings.Contains(string(seen), want) {
			t.Errorf("Hadoop's service did not find %q at boot:\n%s", want, seen)
		}
	}
	if got := m.net.sh(t, dump); got != rules {
		t.Errorf("rules after the reboot:\n%s\nbefore:\n%s", got, rules)
	}
	m.net.sh(t, "ip addr add 169.254.169.254/32 dev lo")
	m.net.serve(t, "169.254.169.254:80", account.IMDSHandler(node.InstanceID))
	if again := m.run("emr-static-ip"); !strings.Contains(again, "\nchanged=0 ") {
		t.Errorf("apply after the reboot:\n%s", again)
	}

	// A release leaves nothing that could bring the address back.
	m.run("emr-static-ip", "release")
	for _, u := range []string{"emr-static-ip-restore.service", "emr-static-ip-restore.timer"} {
		if out, err := m.try("systemctl", "is-enabled", u); err == nil {
			t.Errorf("the unit %s still exists: %s", u, out)
		}
	}
	if out, err := m.try("systemctl", "is-active", "emr-static-ip-restore.timer"); err == nil {
		t.Errorf("the timer still runs: %s", out)
	}
	if status, err := m.try("emr-static-ip", "status"); err == nil || !strings.Contains(status, "not configured") {
		t.Errorf("status after the release: %v\n%s", err, status)
	}
	lap("released")
	m.halt()
	lap("shut down")
	if d := time.Since(began); d > 3*time.Minute {
		t.Errorf("took %v", d)
	}
}

// newMachine returns a machine with the program, which is not booted yet.
func newMachine(t *testing.T, base string, node *cloud.Node) *machine {
	t.Helper()
	m := &machine{t: t, name: "emr-static-ip-boot-" + strings.ToLower(filepath.Base(t.TempDir())) + "-" + time.Now().Format("150405"), tree: filepath.Join(t.TempDir(), "tree")}
	if out, err := output(t, time.Minute, "cp", "-a", "--reflink=auto", base, m.tree); err != nil {
		t.Fatal(err, out)
	}
	for p, text := range files {
		m.write(p, strings.ReplaceAll(text, "PRIMARY", node.PrimaryIP.String()))
	}
	program := filepath.Join(m.tree, "opt/bootstrap-actions/emr-static-ip")
	if out, err := output(t, 5*time.Minute, "go", "build", "-o", program, "github.com/emr-static-ip/emr-static-ip/cmd/emr-static-ip"); err != nil {
		t.Fatal(err, out)
	}
	return m
}

// connect sets up the machine's network as EC2 does for the node. imds says whether the metadata
// service answers.
func (m *machine) connect(account *cloud.Cloud, node *cloud.Node, imds bool) {
	m.t.Helper()
	m.net = newNetwork(m.t)
	m.net.sh(m.t, "ip link add ens5 address "+node.MAC.String()+" type veth peer name wire; ip link set wire up; ip link set lo up")
	m.net.serve(m.t, "127.0.0.1:4566", account.Handler())
	if imds {
		m.net.sh(m.t, "ip addr add 169.254.169.254/32 dev lo")
		m.net.serve(m.t, "169.254.169.254:80", account.IMDSHandler(node.InstanceID))
	}
}

func (m *machine) write(p, text string) {
	m.t.Helper()
	p = filepath.Join(m.tree, p)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}
