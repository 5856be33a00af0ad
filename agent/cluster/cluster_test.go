package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord/inventory"
)

// TestCheck looks at clusters in every condition that a node can be in.
func TestCheck(t *testing.T) {
	texts := golden.Open(t, "check.txt")
	deny := func(actions ...string) cloud.Options {
		return cloud.Options{Authorize: func(r cloud.AccessRequest) error {
			if slices.Contains(actions, r.Action) || slices.Contains(actions, strings.SplitAfter(r.Action, ":")[0]) {
				return fmt.Errorf("by the test")
			}
			return nil
		}}
	}
	for _, test := range []struct {
		name   string
		o      cloud.Options
		setup  func(a *account)
		code   exit.Code
		states string // of the nodes, sorted
	}{
		{"complete", cloud.Options{}, func(a *account) { a.finish(a.launch(cloud.ClusterSpec{Cores: 2}).Nodes...) }, exit.OK, "ok, ok, ok"},
		{"one node has none, and its bootstrap actions are over", cloud.Options{}, func(a *account) { a.finish(a.launch(cloud.ClusterSpec{Cores: 2}).Nodes[:2]...) }, exit.Drifted, "no address, ok, ok"},
		{"a bootstrap action still runs", cloud.Options{}, func(a *account) {
			c := a.launch(cloud.ClusterSpec{Cores: 2})
			a.finish(c.Nodes[0], c.Nodes[2])
			a.cloud.BeginBootstrap(c.Nodes[1].InstanceID)
		}, exit.Drifted, "ok, ok, starting"},
		{"EC2 starts a node", cloud.Options{BootTime: cloud.Exactly(3 * time.Hour)}, func(a *account) { a.launch(cloud.ClusterSpec{Cores: 1}) }, exit.Drifted, "starting, starting"},
		{"a run has failed", cloud.Options{}, func(a *account) {
			c := a.launch(cloud.ClusterSpec{Cores: 2})
			a.finish(c.Nodes[:2]...)
			a.tag(c.Nodes[2], "exit code 6, every address is in use, since 2026-11-30T08:00:00Z: none is \u202efree")
		}, exit.Drifted, "failed, ok, ok"},
		{"a later run has failed", cloud.Options{}, func(a *account) {
			c := a.launch(cloud.ClusterSpec{Cores: 1})
			a.finish(c.Nodes...)
			a.tag(c.Nodes[1], "exit code 13, a service of --verify cannot be reached")
		}, exit.OK, "ok, ok"},
		{"records are missing, another's, unreadable", cloud.Options{}, func(a *account) {
			c := a.launch(cloud.ClusterSpec{Cores: 3})
			a.finish(c.Nodes[0])
			for i, n := range c.Nodes[1:] {
				a.assign(n, fmt.Sprintf("10.0.1.%d", 11+i))
			}
			a.put(agent.DefaultPrefix, a.subnet, "10.0.1.12", recordText(c.Nodes[0]))
			a.put(agent.DefaultPrefix, a.subnet, "10.0.1.13", "blank")
		}, exit.Drifted, "conflict, no record, ok, unreadable"},
		{"addresses of records are elsewhere", cloud.Options{}, func(a *account) {
			c := a.launch(cloud.ClusterSpec{Cores: 2})
			a.finish(c.Nodes[0])
			stranger, err := a.cloud.RunInstance(cloud.InstanceSpec{Subnet: a.subnet})
			if err != nil {
				a.t.Fatal(err)
			}
			a.give(c.Nodes[1], "10.0.1.11")
			a.assign(stranger, "10.0.1.11")
			a.put(agent.DefaultPrefix, a.subnet, "10.0.1.12", recordText(c.Nodes[2]))
		}, exit.Drifted, "not attached, not attached, ok"},
		{"task nodes without a list", cloud.Options{}, func(a *account) { a.finish(a.launch(cloud.ClusterSpec{Cores: 1, Tasks: 2}).Nodes[:2]...) }, exit.OK, "not expected, not expected, ok, ok"},
		{"task nodes with a list", cloud.Options{}, func(a *account) {
			c := a.launch(cloud.ClusterSpec{Cores: 1, Tasks: 2, Args: append(slices.Clone(args), "--task-ips", "10.0.1.40-49", "--prefix", "/own")})
			for i, addr := range []string{"10.0.1.10", "10.0.1.11", "10.0.1.40"} {
				a.assign(c.Nodes[i], addr)
				a.put("/own", a.subnet, addr, recordText(c.Nodes[i]))
			}
		}, exit.Drifted, "no address, ok, ok, ok"},
		{"task nodes with a list of the command line", cloud.Options{}, func(a *account) {
			a.finish(a.launch(cloud.ClusterSpec{Cores: 1, Tasks: 1}).Nodes[:2]...)
			a.cfg.Pools = agent.Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11"), Task: netiptest.Addrs("10.0.1.40")}
			a.cfg.Given.Prefix = true
		}, exit.Drifted, "no address, ok, ok"},
		{"the master alone has an address", cloud.Options{}, func(a *account) {
			a.finish(a.launch(cloud.ClusterSpec{Cores: 1, Args: []string{"10.0.1.10", "us-east-1"}}).Nodes[0])
		}, exit.OK, "not expected, ok"},
		{"three masters", cloud.Options{}, func(a *account) {
			a.finish(a.launch(cloud.ClusterSpec{Masters: 3, Cores: 1, Args: []string{"--master-ips", "10.0.1.10-12", "--core-ips", "10.0.1.13-19"}}).Nodes[:3]...)
		}, exit.Drifted, "no address, ok, ok, ok"},
		{"a fleet in a subnet that EMR picked", cloud.Options{}, func(a *account) {
			c := a.launch(cloud.ClusterSpec{Cores: 2, Fleets: true, FleetWeight: 4, Subnets: []string{a.subnet, a.other}, Subnet: a.other, Args: []string{"10.0.1.10,10.0.1.11", "10.0.2.10-19"}})
			for i, n := range c.Nodes {
				a.give(n, fmt.Sprintf("10.0.2.%d", 10+i))
			}
		}, exit.OK, "ok, ok, ok"},
		{"a fleet that is smaller than asked for", cloud.Options{}, func(a *account) {
			c := a.launch(cloud.ClusterSpec{Cores: 1, Fleets: true, FleetWeight: 4})
			a.finish(c.Nodes...)
			if err := a.cloud.Await(c.ID, cloud.RoleCore, 2); err != nil {
				a.t.Fatal(err)
			}
		}, exit.Drifted, "ok, ok"},
		{"requested nodes have not started", cloud.Options{}, func(a *account) {
			c := a.launch(cloud.ClusterSpec{Cores: 1, Tasks: 1})
			a.finish(c.Nodes[:2]...)
			for _, role := range []string{cloud.RoleCore, cloud.RoleTask} { // task nodes need no address
				if err := a.cloud.Await(c.ID, role, 2); err != nil {
					a.t.Fatal(err)
				}
			}
		}, exit.Drifted, "not expected, ok, ok"},
		{"a node ends", cloud.Options{ShutdownTime: cloud.Exactly(3 * time.Hour)}, func(a *account) {
			c := a.launch(cloud.ClusterSpec{Cores: 2})
			a.finish(c.Nodes...)
			a.cloud.RemoveNode(c.Nodes[2].InstanceID)
		}, exit.OK, "ending, ok, ok"},
		{"two clusters with one list", cloud.Options{}, func(a *account) {
			other := a.launch(cloud.ClusterSpec{Name: "the other", Cores: 1})
			c := a.launch(cloud.ClusterSpec{Cores: 1})
			a.finish(slices.Concat(other.Nodes, c.Nodes)...)
		}, exit.OK, "ok, ok"},
		{"the cluster has ended", cloud.Options{}, func(a *account) {
			c := a.launch(cloud.ClusterSpec{Cores: 1})
			a.finish(c.Nodes...)
			a.cloud.TerminateCluster(c.ID)
		}, exit.Drifted, ""},
		{"no list in the arguments", cloud.Options{}, func(a *account) {
			a.launch(cloud.ClusterSpec{Cores: 1, Tasks: 1, Args: []string{"install", "10"}, OtherActions: []cloud.BootstrapAction{{Name: "other", Path: "s3://b/x.sh"}}})
		}, exit.Drifted, "no address, no address, not expected"},
		{"another action has addresses too", cloud.Options{}, func(a *account) {
			a.finish(a.launch(cloud.ClusterSpec{Args: append([]string{"s3://bucket/prefix"}, args...), Cores: 1, OtherActions: []cloud.BootstrapAction{{Name: "proxy", Path: "s3://b/x.sh", Args: []string{"10.0.9.9"}}}}).Nodes...)
		}, exit.OK, "ok, ok"},
		{"two actions have addresses", cloud.Options{}, func(a *account) {
			a.finish(a.launch(cloud.ClusterSpec{Cores: 1, OtherActions: []cloud.BootstrapAction{{Name: "static-ip 2", Path: "s3://b/x.sh", Args: []string{"10.0.9.9"}}}}).Nodes...)
		}, exit.OK, "ok, ok"},
		{"EMR is denied, complete", deny("elasticmapreduce:"), func(a *account) { a.finish(a.launch(cloud.ClusterSpec{Cores: 1, Tasks: 1}).Nodes[:2]...) }, exit.OK, "not expected, ok, ok"},
		{"EMR is denied, incomplete", deny("elasticmapreduce:"), func(a *account) { a.finish(a.launch(cloud.ClusterSpec{Cores: 1}).Nodes[0]) }, exit.Drifted, "no address, ok"},
		{"EMR is denied, another id", deny("elasticmapreduce:"), func(a *account) {
			a.finish(a.launch(cloud.ClusterSpec{Cores: 1}).Nodes...)
			a.cfg.Cluster = "j-0NONE"
		}, exit.Drifted, ""},
		{"the description of the cluster is denied, fleets", deny("elasticmapreduce:DescribeCluster"), func(a *account) { a.finish(a.launch(cloud.ClusterSpec{Cores: 1, Fleets: true}).Nodes...) }, exit.OK, "ok, ok"},
		{"the groups are denied, and a node has not started", deny("elasticmapreduce:ListInstanceGroups"), func(a *account) {
			c := a.launch(cloud.ClusterSpec{Cores: 1})
			a.finish(c.Nodes...)
			if err := a.cloud.Await(c.ID, cloud.RoleCore, 1); err != nil {
				a.t.Fatal(err)
			}
		}, exit.Drifted, "ok, ok"},
		{"EMR cannot be reached", cloud.Options{}, func(a *account) {
			a.silent = "elasticmapreduce"
			a.finish(a.launch(cloud.ClusterSpec{Cores: 1}).Nodes...)
		}, exit.OK, "ok, ok"},
		{"a firewall answers in place of EMR", cloud.Options{}, func(a *account) {
			a.blocked = "elasticmapreduce"
			a.finish(a.launch(cloud.ClusterSpec{Cores: 1}).Nodes...)
		}, exit.OK, "ok, ok"},
		{"others use EMR's quota", cloud.Options{}, func(a *account) {
			a.finish(a.launch(cloud.ClusterSpec{Cores: 1}).Nodes...)
			a.exhausted = []string{"elasticmapreduce:ListInstances", "elasticmapreduce:DescribeCluster", "elasticmapreduce:ListBootstrapActions"}
		}, exit.OK, "ok, ok"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := test.o
				o.Seed, o.Quotas = 3, cloud.DefaultQuotas()
				a := newAccount(t, o)
				test.setup(a)
				time.Sleep(2*time.Hour + 5*time.Minute)
				a.cloud.ForgetCalls()
				for _, bucket := range a.exhausted {
					a.cloud.Exhaust(bucket)
				}
				began := time.Now()
				r, text := a.check(test.code)
				if d := time.Since(began); d > time.Minute {
					t.Errorf("took %s", d)
				}
				if got := states(r); got != test.states {
					t.Errorf("states %q, want %q\n%s", got, test.states, text)
				}
				if r.Complete != (test.code == exit.OK) || strings.Contains(text, "\u202e") {
					t.Errorf("complete: %t\n%s", r.Complete, text)
				}
				for _, c := range a.cloud.Calls() {
					if c.Applied {
						t.Errorf("changes something: %s", c)
					}
				}
				if (r.Throttled > 0) != (len(a.exhausted) > 0) {
					t.Errorf("%d calls were throttled", r.Throttled)
				}
				texts.Is(t, test.name, text)
			})
		})
	}
}

// TestUnknownRole judges nodes whose role nothing shows: any of them may need an address.
func TestUnknownRole(t *testing.T) {
	now := time.Now()
	f := facts{now: now, list: list{known: true, pools: agent.Pools{Core: netiptest.Addrs("10.0.1.11")}},
		emr:     sight{instances: []emrInstance{{ec2: "i-0a1", group: "ig-1", state: "BOOTSTRAPPING"}}, listed: true},
		members: []ec2.Member{{Instance: inventory.Instance{ID: "i-0a2", State: "running"}, Launched: now.Add(-2 * startupTime)}}}
	nodes := f.judge()
	if len(nodes) != 2 {
		t.Fatal(nodes)
	}
	for _, n := range nodes {
		if !n.Expected || n.State == OK || n.State == NotExpected {
			t.Errorf("%+v", n)
		}
	}
}

// TestCheckJSON compares the object of a cluster that is not complete.
func TestCheckJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, cloud.Options{Seed: 3})
		c := a.launch(cloud.ClusterSpec{Cores: 2, NameTag: "etl"})
		a.finish(c.Nodes[:2]...)
		a.tag(c.Nodes[2], "exit code 6, every address is in use")
		time.Sleep(time.Hour)
		r, _ := a.check(exit.Drifted)
		r.Set("v0.0.0", r.ExitCode(), nil)
		var b, indented bytes.Buffer
		if err := r.Render(&b, "json"); err != nil {
			t.Fatal(err)
		}
		if err := json.Indent(&indented, b.Bytes(), "", "  "); err != nil {
			t.Fatal(err)
		}
		golden.Is(t, "check.json", duration.ReplaceAllString(indented.String(), `"seconds": 0.1`))
	})
}

// TestCheckFails lets calls fail without which nothing can be said.
func TestCheckFails(t *testing.T) {
	messages := golden.Open(t, "failures.txt")
	for _, test := range []struct {
		name   string
		denied string
		setup  func(a *account)
		code   exit.Code
	}{
		{"the ledger is denied", "ssm:GetParametersByPath", nil, exit.Permission},
		{"instances are denied", "ec2:DescribeInstances", nil, exit.Permission},
		{"interfaces are denied", "ec2:DescribeNetworkInterfaces", nil, exit.Permission},
		{"no such cluster", "", func(a *account) { a.cfg.Cluster = "j-0NONE" }, exit.Usage},
		{"no such cluster, and its description is denied", "elasticmapreduce:DescribeCluster", func(a *account) { a.cfg.Cluster = "j-0NONE" }, exit.Usage},
		{"EC2 cannot be reached", "", func(a *account) { a.silent = "ec2" }, exit.Unreachable},
		{"EMR's throttling outlasts the timeout", "", func(a *account) {
			a.cloud.Drain("elasticmapreduce:ListInstances", 1)
			a.cloud.Exhaust("elasticmapreduce:ListInstances")
		}, exit.Deadline},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccount(t, cloud.Options{Seed: 3, Quotas: cloud.DefaultQuotas(), Authorize: func(r cloud.AccessRequest) error {
					if r.Action == test.denied {
						return fmt.Errorf("by the test")
					}
					return nil
				}})
				a.finish(a.launch(cloud.ClusterSpec{Cores: 1}).Nodes...)
				if test.setup != nil {
					test.setup(a)
				}
				_, err := Check(t.Context(), a.cfg, a.env, read)
				if err == nil || exit.CodeOf(err) != test.code {
					t.Fatalf("code %d, %v, want code %d", exit.CodeOf(err), err, test.code)
				}
				messages.Is(t, test.name, err.Error()+"\n"+strings.Join(exit.Remedies(err), "\n"))
			})
		})
	}
}

// TestOddAnswersOfEMR gives answers that are AWS JSON and not EMR's. None of them is read as a
// cluster without nodes: it is an error, or said to be something else's answer.
func TestOddAnswersOfEMR(t *testing.T) {
	for name, answer := range map[string]string{
		"no cluster":                  `{}`,
		"no state":                    `{"Cluster":{"Name":"etl"}}`,
		"a number for the name":       `{"Cluster":{"Name":7,"Status":{"State":"RUNNING"}}}`,
		"an instance id that is none": `{"Cluster":{"Status":{"State":"RUNNING"}},"Instances":[{"Ec2InstanceId":"i-1\" or"}]}`,
		"pages without end":           `{"Cluster":{"Status":{"State":"RUNNING"}},"Marker":"again"}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccount(t, cloud.Options{Seed: 3})
				a.finish(a.launch(cloud.ClusterSpec{Cores: 1}).Nodes...)
				a.odd = answer
				if r, err := Check(t.Context(), a.cfg, a.env, read); err == nil && len(r.Unseen) == 0 {
					t.Errorf("no error: %+v", r)
				}
			})
		})
	}
}
