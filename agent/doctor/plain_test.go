package doctor

import (
	"testing"
	"testing/synctest"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/agenttest"
	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	cloudiam "github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
)

// TestDoctorPlain examines an instance outside EMR: before its run, after it, and where another
// instance has addresses of the list.
func TestDoctorPlain(t *testing.T) {
	messages := golden.Open(t, "plain.txt")
	var policies cloudiam.Policies
	for _, file := range []string{iam.PlainProfile, iam.Doctor} {
		p, err := cloudiam.ParsePolicy([]byte(iam.Place{Region: "us-east-1", Account: "123456789012", Subnet: "*"}.Policy(file)))
		if err != nil {
			t.Fatal(err)
		}
		policies = append(policies, p)
	}
	synctest.Test(t, func(t *testing.T) {
		var nodes []*testNode
		for _, n := range agenttest.NewPlain(t, cloud.Options{Authorize: policies.OnInstances}, 2, map[string]string{"aws:autoscaling:groupName": "web"}) {
			agenttest.NewNetwork(n.PrimaryIP).Install(&n.Env)
			n.WithSystemd()
			cfg := agent.DefaultConfig()
			cfg.Pools, cfg.OnError = agent.Pools{Any: netiptest.Addrs("10.0.1.20 10.0.1.21")}, agent.OnErrorContinue
			nodes = append(nodes, &testNode{n, cfg})
		}
		check := func(name string, n *testNode, code exit.Code) {
			t.Helper()
			d := n.doctor()
			if d.ExitCode() != code {
				t.Errorf("%s: exit code %d, want %d\n%s", name, d.ExitCode(), code, textOf(t, d))
			}
			messages.Is(t, name, said(d, "emr-files", "role", "permission ec2:CreateTags", "pool --ips", "units"))
		}
		first, second := nodes[0], nodes[1]
		check("before the run", first, exit.OK)
		first.apply()
		check("after the run", first, exit.OK)
		check("one address is taken", second, exit.OK)
		second.cfg.Pools.Any = second.cfg.Pools.Any[:1]
		check("the only address is taken", second, exit.NoAddress)
	})
}
