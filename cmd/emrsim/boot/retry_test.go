package boot

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// retry tests a bootstrap action that fails with --on-error continue. systemd repeats it with the
// same arguments until the cause is gone, and removes the retry units then. Afterwards the machine
// is as before.
func retry(t *testing.T, m *machine, account *cloud.Cloud, node *cloud.Node, args []string) {
	t.Helper()
	const timer, service = "emr-static-ip-retry.timer", "emr-static-ip-retry.service"
	// The timer normally waits for minutes. An empty setting takes all of them back:
	// systemd.timer(5).
	fast := "etc/systemd/system/" + timer + ".d/fast.conf"
	m.write(fast, "[Timer]\nOnActiveSec=\nOnActiveSec=1s\nOnUnitInactiveSec=1s\n")
	account.Fault(func(c cloud.Call) cloud.FaultAction {
		if c.Key() == "ssm:PutParameter" {
			return cloud.FaultAction{Kind: cloud.FaultFail, Code: "AccessDeniedException", Message: "not authorized", Status: 400}
		}
		return cloud.FaultAction{}
	})
	tag := func() string {
		for _, i := range account.Instances() {
			if i.InstanceID == node.InstanceID {
				return i.Tags["emr-static-ip:error"]
			}
		}
		return ""
	}
	if out := m.run(append([]string{args[0], "--on-error=continue"}, args[1:]...)...); !strings.Contains(out, timer) || !strings.Contains(tag(), " 4, ") {
		t.Errorf("tag %q\n%s", tag(), out)
	}
	if out, err := m.try("systemd-analyze", "--man=no", "verify", "/etc/systemd/system/"+service, "/etc/systemd/system/"+timer); err != nil || out != "" {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	type status struct {
		Verdict   string
		LastError *struct {
			Count    int
			Retrying bool
		} `json:"last_error"`
	}
	ask := func() (s status, out string) {
		out, _ = m.try("emr-static-ip", "status", "-o", "json")
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return s, out
	}
	eventually(t, 30*time.Second, "two more attempts", func() (string, bool) {
		s, out := ask()
		return out, s.LastError != nil && s.LastError.Count >= 3 && s.LastError.Retrying
	})
	if out, err := m.try("systemctl", "is-failed", service); strings.TrimSpace(out) != "failed" && strings.TrimSpace(out) != "activating" {
		t.Errorf("systemd calls the failing service %s (%v)", out, err)
	}
	account.Fault(nil)
	eventually(t, 30*time.Second, "an attempt that succeeds", func() (string, bool) {
		s, out := ask()
		return out, s.Verdict == "in order" && s.LastError == nil
	})
	eventually(t, 10*time.Second, "the end of the attempts", func() (string, bool) {
		out, err := m.try("systemctl", "is-active", timer, service)
		return out, err != nil && !strings.Contains(out, "\nactiv")
	})
	left, _ := filepath.Glob(filepath.Join(m.tree, "etc/systemd/system/*-retry.*r*"))
	links, _ := filepath.Glob(filepath.Join(m.tree, "etc/systemd/system/*.wants/*-retry*"))
	for _, p := range append(left, links...) {
		if !strings.HasSuffix(p, ".d") {
			t.Errorf("not removed: %s", p)
		}
	}
	if tag() != "" {
		t.Errorf("the tag is still %q", tag())
	}
	m.run("emr-static-ip", "release")
	for _, p := range []string{fast, "usr/local/sbin/emr-static-ip"} {
		if err := os.Remove(filepath.Join(m.tree, p)); err != nil {
			t.Error(err)
		}
	}
}
