package onnode

import (
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// onNode serves the IMDS of a core node of the model, and returns the node.
func onNode(t *testing.T, o cloud.Options) (*cloud.Cloud, *cloud.Node) {
	t.Helper()
	account := cloud.New(o)
	subnet := account.CreateSubnet(account.CreateVPC(netip.MustParsePrefix("10.0.0.0/16")), netip.MustParsePrefix("10.0.1.0/24"))
	cluster, err := account.LaunchCluster(cloud.ClusterSpec{Subnet: subnet, Cores: 1, Fleets: true})
	if err != nil {
		t.Fatal(err)
	}
	n := cluster.Nodes[1]
	server := httptest.NewServer(account.IMDSHandler(n.InstanceID))
	t.Cleanup(server.Close)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.URL)
	return account, n
}

// TestTree checks that all of IMDS is collected but what is secret.
func TestTree(t *testing.T) {
	account, n := onNode(t, cloud.Options{})
	text, err := OpenMetadata().Tree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	for _, want := range []string{"mac: " + n.MAC.String(), "/local-ipv4s: " + n.PrimaryIP.String(), "instance-id: " + n.InstanceID, "iam/security-credentials: (not read)"} {
		if !strings.Contains(got, want) {
			t.Errorf("the tree lacks %s:\n%s", want, got)
		}
	}
	c := account.Credentials(n.InstanceID)
	for _, secret := range []string{c.AccessKeyID, c.SecretAccessKey, c.SessionToken} {
		if strings.Contains(got, secret) {
			t.Errorf("the tree has %s", secret)
		}
	}
}

// TestWatch checks that a change that IMDS shows late is seen, with the time.
func TestWatch(t *testing.T) {
	account, n := onNode(t, cloud.Options{IMDSDelay: cloud.Exactly(700 * time.Millisecond)})
	done := make(chan struct{})
	static := netip.MustParseAddr("10.0.1.77")
	time.AfterFunc(600*time.Millisecond, func() {
		if err := account.Move(static, n.ENI); err != nil {
			t.Error(err)
		}
		close(done)
	})
	text, err := OpenMetadata().Watch(t.Context(), done, 2*time.Second)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if err != nil || len(lines) != 3 || !strings.HasSuffix(lines[0], n.PrimaryIP.String()) || !strings.HasSuffix(lines[2], static.String()) {
		t.Fatalf("%v; %q", err, lines)
	}
	ended, _ := time.Parse(moment, lines[1][:len(moment)])
	shown, _ := time.Parse(moment, lines[2][:len(moment)])
	if lag := shown.Sub(ended); lag < 200*time.Millisecond {
		t.Errorf("IMDS showed the address %s after the command", lag)
	}
}

// TestSilent checks that an IMDS that does not answer is said to be that.
func TestSilent(t *testing.T) {
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
	if _, err := OpenMetadata().Tree(t.Context()); err == nil {
		t.Error("no error")
	}
	if _, err := OpenMetadata().Watch(t.Context(), nil, 0); err == nil {
		t.Error("no error")
	}
}

func TestCommand(t *testing.T) {
	var seen strings.Builder
	out, err := Command{Argv: []string{"sh", "-c", "echo one; echo two >&2; exit 3"}, Out: &seen}.Run(t.Context())
	if err != nil || !strings.Contains(string(out), " one\n") || !strings.Contains(string(out), "exit code 3") || !strings.Contains(seen.String(), "two") {
		t.Errorf("%v; %s; %s", err, out, seen.String())
	}
	if _, err := (Command{Argv: []string{"/no/such/program"}}).Run(t.Context()); err == nil {
		t.Error("a program that does not exist was run")
	}
}
