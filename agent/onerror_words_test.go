package agent

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emr-static-ip/emr-static-ip/agent/agenttest"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// A script with Windows' line ends adds a carriage return to the last address of a list. The retry
// gets the list without it.
func TestOnErrorCarriageReturn(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		env  map[string]string
		want string
	}{
		{"by position", []string{"10.0.1.20", "10.0.1.21", "10.0.1.22\r"}, nil, "ExecStart=" + systemd.Program + " retry --on-error=continue -- 10.0.1.20 10.0.1.21 10.0.1.22\n"},
		{"in one argument", []string{" 10.0.1.20 \t10.0.1.21-22 ,\n10.0.1.25\r"}, nil, "ExecStart=" + systemd.Program + " retry --on-error=continue -- 10.0.1.20,10.0.1.21-22,10.0.1.25\n"},
		{"by flag", []string{"--core-ips=10.0.1.21 10.0.1.22\r", "--verify", "198.51.100.1:80\r", "--only-cidr", "198.51.100.0/24, 192.0.2.1"}, nil,
			"ExecStart=" + systemd.Program + " retry --core-ips=10.0.1.21,10.0.1.22 --only-cidr=198.51.100.0/24,192.0.2.1 --on-error=continue --verify=198.51.100.1:80\n"},
		{"by variable", nil, map[string]string{"EMR_STATIC_IP_CORE_IPS": "10.0.1.21\n10.0.1.22\r"}, "Environment=\"EMR_STATIC_IP_CORE_IPS=10.0.1.21,10.0.1.22\"\n"},
		{"role", []string{"--role", "CORE\r", "10.0.1.20", "10.0.1.21-22"}, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var text, file string
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{}).withSystemd()
				w := &agenttest.Network{Primary: n.PrimaryIP, Answer: func(netip.Addr, netip.AddrPort) error { return nil }}
				w.Install(&n.env)
				n.deny("ssm:PutParameter")
				n.env.LookupEnv = func(name string) (string, bool) { v, ok := test.env[name]; return v, ok }
				n.env.Environ = func() (list []string) {
					for name, value := range test.env {
						list = append(list, name+"="+value)
					}
					return list
				}
				_, _, stderr := n.program(t.Context(), append([]string{"--on-error=continue"}, test.args...)...)
				if test.want == "" {
					if systemd.RetryPending(n.env) {
						t.Error(stderr)
					}
					return
				}
				if file = n.env.Path(filepath.Join(systemd.Dir, systemd.RetryService)); !host.Exists(file) {
					t.Fatal(stderr)
				}
				if text = n.read(filepath.Join(systemd.Dir, systemd.RetryService)); !strings.Contains(text, test.want) || strings.Contains(text, "\r") {
					t.Errorf("%s\nunit\n%q", stderr, text)
				}
				n.cloud.Fault(nil)
				if test.env == nil {
					if code, stdout, stderr := n.program(t.Context(), n.unitArgs()...); code != ExitOK || len(n.uses()) != 1 {
						t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
					}
				}
			})
			if text != "" {
				agenttest.VerifyUnits(t, systemd.Unit{Name: systemd.RetryService, Text: text})
			}
		})
	}
}
