package lab

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// diagnosis is the output of doctor -o json, as far as these tests need it.
type diagnosis struct {
	Version  int
	Instance string
	Findings []struct{ Check, Subject, Result, Detail, Remedy string }
	OK       int
	Failed   int
	Warnings int
	Unknown  int
	ExitCode int `json:"exit_code"`
}

// doctor runs the program's doctor on a node. It fails the test unless doctor ends with the code
// and changes nothing. It returns the lines that are not ok.
func doctor(t *testing.T, c *Cluster, n *Node, code int, cmd Command) (d diagnosis, notOK map[string]string) {
	t.Helper()
	before, parameters, assigned := snapshot(t, n), len(c.Cloud.Parameters()), len(c.Secondary(n))
	cmd.Args = append([]string{"doctor", "-o", "json"}, cmd.Args...)
	got := start(t, c, n, cmd)
	if err := json.Unmarshal([]byte(got.Stdout), &d); err != nil {
		t.Fatalf("%v\n%s%s", err, got.Stdout, got.Stderr)
	}
	if got.ExitCode != code || d.ExitCode != code || d.Instance != "" && d.Instance != n.Instance {
		t.Errorf("exit code %d, want %d\n%s%s", got.ExitCode, code, got.Stdout, got.Stderr)
	}
	notOK = map[string]string{}
	for _, f := range d.Findings {
		if f.Result != "ok" {
			notOK[strings.TrimSpace(f.Check+" "+f.Subject)] = f.Result + ": " + f.Detail + "\n" + f.Remedy
		}
	}
	// Reading the legacy table creates it, without rules.
	if after := snapshot(t, n); legacyTable.ReplaceAllString(after, "") != legacyTable.ReplaceAllString(before, "") {
		t.Errorf("the kernel's state was changed:\n%s\nafter\n%s", before, after)
	}
	if p, a := len(c.Cloud.Parameters()), len(c.Secondary(n)); p != parameters || a != assigned {
		t.Errorf("doctor left %d parameters and %d secondary addresses, before there were %d and %d", p, a, parameters, assigned)
	}
	return d, notOK
}

// only fails the test unless exactly the named lines are not ok.
func only(t *testing.T, notOK map[string]string, names ...string) {
	t.Helper()
	for _, name := range names {
		if notOK[name] == "" {
			t.Errorf("%s is ok, or missing", name)
		}
		delete(notOK, name)
	}
	for name, text := range notOK {
		t.Errorf("%s is %s", name, text)
	}
}

// TestDoctorOnNodes runs doctor on a healthy node before and after it has its static IP, and on an
// instance outside EMR.
func TestDoctorOnNodes(t *testing.T) {
	t.Parallel()
	list := []string{"10.0.1.10", "10.0.1.11-12"}
	texts := golden.Open(t, "doctor-address-gone.txt")
	for _, test := range []struct {
		name   string
		change func(*ClusterSpec)
	}{
		{"emr-6", func(s *ClusterSpec) { s.Release = "emr-6.15.0" }},
		{"emr-7", nil},
		{"emr-7 without iptables", func(s *ClusterSpec) { s.Iptables = IptablesNone }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := launch(t, test.change)
			core := c.Nodes()[1]
			// A node of the lab has no systemd, which is the only warning.
			_, notOK := doctor(t, c, core, 0, Command{Args: list})
			only(t, notOK, "units")
			_, notOK = doctor(t, c, core, 0, Command{Args: append([]string{"--verify", "192.168.50.10:80"}, list...)})
			only(t, notOK, "units", "verify 192.168.50.10:80") // the firewall does not admit the primary IP
			static := expectDone(t, c, core, start(t, c, core, Command{Args: append([]string{"--verify", "192.168.50.10:80"}, list...)}))
			d, notOK := doctor(t, c, core, 0, Command{})
			only(t, notOK, "units")
			if d.OK < 30 {
				t.Errorf("%d checks only", d.OK)
			}
			// Somebody deletes the address.
			if _, err := core.Output(t.Context(), "ip", "addr", "flush", "dev", core.Link, "to", static.String()+"/32"); err != nil {
				t.Fatal(err)
			}
			_, notOK = doctor(t, c, core, 10, Command{Args: []string{"--verify", "10.0.0.10:80"}})
			texts.Is(t, test.name, c.steady(strings.ReplaceAll(notOK["static-ip"], static.String(), "STATIC")))
		})
	}
}

// TestDoctorOfASubnet runs doctor --subnet with an operator's credentials, as from a laptop.
func TestDoctorOfASubnet(t *testing.T) {
	c := launch(t, nil)
	creds := c.Cloud.Credentials("")
	args := []string{"--subnet", c.SubnetID, "--cluster", c.ID, "--role-name", "EMR_EC2_DefaultRole", "10.0.1.10", "10.0.1.11-19"}
	env := []string{"AWS_ACCESS_KEY_ID=" + creds.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + creds.SecretAccessKey, "AWS_REGION=" + c.Cloud.Region()}
	got := start(t, c, c.Nodes()[1], Command{Args: append([]string{"doctor", "-o", "json"}, args...), Env: env})
	d := diagnosis{}
	if err := json.Unmarshal([]byte(got.Stdout), &d); err != nil || got.ExitCode != 0 || d.Unknown != 1 || d.Warnings+d.Failed != 0 || d.OK < 15 {
		t.Errorf("%v, exit code %d\n%s%s", err, got.ExitCode, got.Stdout, got.Stderr)
	}
}

// TestDoctorTakenAway checks that doctor notices when somebody removes a node's address from its
// interface, which nothing on the node shows.
func TestDoctorTakenAway(t *testing.T) {
	s := &site{Cluster: launch(t, nil)}
	s.core = s.Nodes()[1]
	static := expectDone(t, s.Cluster, s.core, start(t, s.Cluster, s.core, Command{Args: []string{"10.0.1.10", "10.0.1.11-12"}}))
	s.unassign(t, static)
	_, notOK := doctor(t, s.Cluster, s.core, 12, Command{})
	golden.Is(t, "doctor-taken-away.txt", s.steady(strings.ReplaceAll(notOK["static-ip"], static.String(), "STATIC")))
}

func TestDoctorOutsideEMR(t *testing.T) {
	c := launch(t, nil)
	plain, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.SubnetID})
	if err != nil {
		t.Fatal(err)
	}
	n, err := c.AddNode(t.Context(), NodeSpec{Name: "plain", Instance: plain.InstanceID, Primary: Port{ENI: plain.ENI, MAC: plain.MAC, Address: plain.PrimaryIP}})
	if err != nil {
		t.Fatal(err)
	}
	_, notOK := doctor(t, c, n, 0, Command{Args: []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}})
	// The shipped policy allows tagging only for EMR's nodes.
	const tagging = "permission ec2:CreateTags"
	only(t, notOK, "units", "role", tagging)
	_, notOK = doctor(t, c, n, 0, Command{Args: []string{"--role", "core", "10.0.1.10", "10.0.1.11", "10.0.1.12"}})
	only(t, notOK, "units", tagging)
	if OneUser() {
		t.Skip("this user namespace has no user but root")
	}
	_, notOK = doctor(t, c, n, 0, Command{User: "hadoop", Args: []string{"--role", "core", "10.0.1.10", "10.0.1.11", "10.0.1.12"}})
	only(t, notOK, "units", "root", "nat", tagging)
}

func TestDoctorFailures(t *testing.T) {
	t.Parallel()
	list := []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}
	texts := golden.Open(t, "doctor-failures.txt")
	for _, test := range []struct {
		name   string
		change func(*ClusterSpec)
		cmd    Command
		code   int
		line   string
	}{
		{"endpoint that swallows packets", func(s *ClusterSpec) { s.EndpointBlocked = true }, Command{Args: list}, 5, "tcp ssm"},
		{"endpoint that refuses", nil, Command{Args: list, Env: []string{"AWS_ENDPOINT_URL_EC2=http://10.0.0.10:81"}}, 5, "tcp ec2"},
		{"no DNS", nil, Command{Args: list, Env: []string{"AWS_ENDPOINT_URL_SSM=https://ssm.us-east-1.amazonaws.com"}}, 5, "dns ssm"},
		{"no metadata service", func(s *ClusterSpec) { s.IMDSDelay = time.Hour }, Command{Args: list}, 5, "imds"},
		{"permission", func(s *ClusterSpec) {
			s.Account.Authorize = func(a cloud.AccessRequest) error {
				if a.Action == "ssm:PutParameter" {
					return errors.New("taken out")
				}
				return nil
			}
		}, Command{Args: list}, 4, "permission ssm:PutParameter"},
		{"clock", func(s *ClusterSpec) { s.Account.ClockSkew = -12 * time.Minute }, Command{Args: list}, 4, "clock"},
		{"reserved", nil, Command{Args: []string{"10.0.1.10", "10.0.1.11", "10.0.1.3"}}, 2, "address 10.0.1.3"},
		{"too few", nil, Command{Args: list[:2]}, 2, "addresses"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := launch(t, test.change)
			began := time.Now()
			_, notOK := doctor(t, c, c.Nodes()[1], test.code, test.cmd)
			texts.Is(t, test.name, c.steady(notOK[test.line]))
			if test.line == "imds" && notOK["tcp ssm"]+notOK["dns ssm"] != "" {
				t.Errorf("doctor did not check the endpoints of the region in EMR's files: %q", notOK)
			}
			if took := time.Since(began); took > 75*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestWrongClock checks that a run reports a wrong clock and how to correct it.
func TestWrongClock(t *testing.T) {
	c := launch(t, func(s *ClusterSpec) { s.Account.ClockSkew = 12 * time.Minute })
	core := c.Nodes()[1]
	before := snapshot(t, core)
	got := start(t, c, core, Command{Args: []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"}})
	golden.Is(t, "wrong-clock.txt", c.told(got))
	expectUntouched(t, c, core, before)
}
