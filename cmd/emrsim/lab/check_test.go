package lab

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// checked is what cluster check prints, as far as these tests look.
type checked struct {
	Complete bool
	Nodes    []struct{ Instance, State, Static string }
	Counts   map[string]int
	Unseen   []string
	Missing  []string
}

// check runs cluster check on a node, with these variables in its environment.
func check(t *testing.T, c *Cluster, n *Node, code int, env ...string) (r checked) {
	t.Helper()
	got := start(t, c, n, Command{Args: []string{"cluster", "check", c.ID, "-o", "json"}, Env: env})
	if err := json.Unmarshal([]byte(got.Stdout), &r); err != nil || got.ExitCode != code || r.Complete != (code == 0) {
		t.Errorf("%v, exit code %d, want %d\n%s%s", err, got.ExitCode, code, got.Stdout, got.Stderr)
	}
	t.Logf("cluster check took %s", got.Duration)
	return r
}

// TestClusterCheck checks a cluster before and after its launch: as its step, with the permissions
// of the nodes, and as an operator who sees EMR too.
func TestClusterCheck(t *testing.T) {
	args := []string{"10.0.1.10", "10.0.1.11-19"}
	c := launch(t, func(s *ClusterSpec) { s.Cores, s.Tasks, s.Args = 2, 1, args })
	master, core := c.Nodes()[0], c.Nodes()[1]
	creds := c.Cloud.Credentials("")
	operator := []string{"AWS_ACCESS_KEY_ID=" + creds.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + creds.SecretAccessKey, "AWS_REGION=" + c.Cloud.Region()}
	if r := check(t, c, master, 10, operator...); r.Counts["no address"] != 3 || r.Counts["not expected"] != 1 || len(r.Unseen) > 0 {
		t.Errorf("before the launch: %+v", r)
	}
	if r := check(t, c, core, 10); r.Counts["starting"] != 3 || len(r.Unseen) == 0 {
		t.Errorf("before the launch, as a step: %+v", r)
	}
	startAll(t, c, args...)
	for name, r := range map[string]checked{"as an operator": check(t, c, master, 0, operator...), "as a step": check(t, c, core, 0)} {
		if r.Counts["ok"] != 3 || r.Counts["not expected"] != 1 || len(r.Missing) > 0 || (len(r.Unseen) > 0) != (name == "as a step") {
			t.Errorf("%s: %+v", name, r)
		}
		for _, n := range r.Nodes {
			if n.State == "ok" && !strings.HasPrefix(n.Static, "10.0.1.1") {
				t.Errorf("%s: %+v", name, n)
			}
		}
	}
	if err := c.Cloud.Await(c.ID, cloud.RoleCore, 1); err != nil {
		t.Fatal(err)
	}
	if r := check(t, c, master, 10, operator...); len(r.Missing) != 1 {
		t.Errorf("one more is requested: %+v", r)
	}
}
