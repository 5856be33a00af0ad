package boot

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// TestPlain is the life of an instance outside EMR with systemd: the address survives a stop of the
// release unit and a reboot, and is given back when the machine is powered off.
func TestPlain(t *testing.T) {
	need(t)
	base := baseTree(t)
	account := cloud.New(cloud.Options{Seed: 1})
	subnet := account.CreateSubnet(account.CreateVPC(netip.MustParsePrefix("10.0.0.0/16")), netip.MustParsePrefix("10.0.1.0/24"))
	account.ReserveCIDR(subnet, netip.MustParsePrefix("10.0.1.16/28"), "explicit")
	node, err := account.RunInstance(cloud.InstanceSpec{Subnet: subnet, Name: "boot", Tags: map[string]string{"aws:autoscaling:groupName": "web"}})
	if err != nil {
		t.Fatal(err)
	}
	static := netip.MustParseAddr("10.0.1.20")
	held := func() bool {
		return slices.ContainsFunc(account.ENIs(), func(e cloud.ENI) bool { return e.ID == node.ENI && slices.Contains(e.Addresses, static) })
	}

	m := newMachine(t, base, node)
	// The units reach AWS without the environment of a run; the model is elsewhere.
	m.write("etc/systemd/system/emr-static-ip-release.service.d/endpoint.conf", "[Service]\nEnvironment=AWS_ENDPOINT_URL=http://127.0.0.1:4566\n")
	m.connect(account, node, true)
	t.Cleanup(m.halt)
	m.boot(60 * time.Second)
	m.run("systemctl", "enable", "--now", "late-network.service")
	m.run("/opt/bootstrap-actions/emr-static-ip", "--ips", "10.0.1.20-29")
	if !held() {
		t.Fatal("the node has no static IP")
	}
	if out, err := m.try("systemctl", "is-active", "emr-static-ip-release.service"); err != nil {
		t.Errorf("the release unit is not active: %s", out)
	}
	m.run("systemctl", "restart", "emr-static-ip-release.service")
	if !held() {
		t.Error("a stop of the release unit has released the address")
	}

	// A reboot keeps the address. Afterwards the kernel has it again.
	m.end(reboot)
	if !held() {
		t.Fatal("the reboot has released the address")
	}
	m.connect(account, node, true)
	m.boot(60 * time.Second)
	eventually(t, 30*time.Second, "a node in order after the reboot", func() (string, bool) {
		out, err := m.try("emr-static-ip", "status")
		return out, err == nil
	})

	m.halt()
	if held() || len(account.Parameters()) > 0 {
		t.Errorf("poweroff has not released the address: held %t, records %v\n%s", held(), account.Parameters(), tail(m.console.String()))
	}
	text, err := os.ReadFile(filepath.Join(m.tree, "var/lib/emr-static-ip/state.json"))
	var state struct{ Phase string }
	if err != nil || json.Unmarshal(text, &state) != nil || state.Phase != "released" {
		t.Errorf("state after poweroff: %q, %v", state.Phase, err)
	}
}
