package lab

import (
	"net/netip"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// TestVerify runs the program with --verify and the data centre's file server. The connection
// succeeds if the firewall admits the static IP. Otherwise the run fails, says what to check, and
// leaves the address in place.
func TestVerify(t *testing.T) {
	t.Parallel()
	texts := golden.Open(t, "verify.txt")
	list := []string{"10.0.1.10", "10.0.1.11"}
	for _, test := range []struct {
		name   string
		change func(*ClusterSpec)
		target string
		code   int
	}{
		{"admitted", nil, "192.168.50.10:80", 0},
		{"admitted, iptables legacy", func(s *ClusterSpec) { s.Release = "emr-6.15.0" }, "192.168.50.10:80", 0},
		{"admitted, no iptables", func(s *ClusterSpec) { s.Iptables = IptablesNone }, "192.168.50.10:80", 0},
		// The firewall admits only other addresses.
		{"not admitted", func(s *ClusterSpec) { s.Admitted = []netip.Addr{netip.MustParseAddr("10.0.1.10")} }, "192.168.50.10:80", 13},
		{"nothing listens", nil, "198.51.100.10:81", 13},
		{"unknown name", nil, "namenode.example.com:8020", 13},
		// Traffic inside the VPC keeps the primary IP, so the program binds its socket to the
		// static IP.
		{"inside the VPC", nil, "10.0.0.10:80", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := launch(t, func(s *ClusterSpec) {
				s.Cores = 1
				if test.change != nil {
					test.change(s)
				}
			})
			core := c.Nodes()[1]
			got := start(t, c, core, Command{Args: append([]string{"--verify", test.target}, list...)})
			if got.ExitCode != test.code {
				t.Errorf("exit code %d, want %d\n%s%s", got.ExitCode, test.code, got.Stdout, got.Stderr)
			}
			texts.Is(t, test.name, c.told(got))
			if test.code != 0 && got.Duration > 45*time.Second {
				t.Errorf("took %v", got.Duration)
			}
			if assigned := c.Secondary(core); len(assigned) != 1 || assigned[0] != netip.MustParseAddr("10.0.1.11") {
				t.Errorf("assigned %v", assigned)
			}
			if test.code == 0 {
				expectUnchanged(t, c, core) // runs --verify again
			}
		})
	}
}
