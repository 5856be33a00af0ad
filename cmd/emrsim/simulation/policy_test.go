package simulation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	cloudiam "github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
)

// These tests use the shipped policy of the instance profile. It must suffice for everything, and
// every part of it must be needed.

// policed is an account whose instances have only this policy, or a test's variant of it.
type policed struct {
	*cluster
	prefix string
	said   []said
}

// said is the output of one run.
type said struct {
	run      string
	err      error
	warnings []string
}

// place returns the place for which the policies are written.
func (p *policed) place() iam.Place {
	return iam.Place{Region: "us-east-1", Account: "123456789012", Subnet: p.subnet, Prefix: p.prefix}
}

// note records the outcome of a run.
func (p *policed) note(n *Node, what string, o Outcome) {
	p.said = append(p.said, said{fmt.Sprintf("%s %s", n.Role, what), o.Err, o.Report.Warnings})
}

// run calls work for all nodes at once.
func (p *policed) run(what string, work func(*Node) Outcome, nodes ...*Node) {
	outcomes := make([]Outcome, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { outcomes[i] = work(n) })
	}
	all.Wait()
	for i, n := range nodes {
		p.note(n, what, outcomes[i])
	}
}

func (p *policed) apply(nodes ...*Node) {
	p.run("apply", func(n *Node) Outcome { return n.Apply(p.t.Context(), Kill{}) }, nodes...)
}

func (p *policed) release(nodes ...*Node) {
	p.run("release", func(n *Node) Outcome { return n.Release(p.t.Context(), Kill{}) }, nodes...)
}

func (p *policed) plan(nodes ...*Node) {
	p.run("plan", func(n *Node) Outcome { return n.run(p.t.Context(), Kill{}, agent.Plan) }, nodes...)
}

// status runs status, which must find the node in order. If it lacks a permission to find something
// out, that counts as an error.
func (p *policed) status(nodes ...*Node) {
	p.run("status", func(n *Node) Outcome {
		return n.run(p.t.Context(), Kill{}, func(ctx context.Context, cfg agent.Config, env agent.Environment) (agent.Report, error) {
			s, err := agent.Inspect(ctx, cfg, env)
			rep := agent.Report{}
			for _, i := range []*agent.Item{s.EC2, s.Ledger} {
				if i != nil && i.Detail != "" {
					rep.Warnings = append(rep.Warnings, i.Detail)
				}
			}
			return rep, err
		})
	}, nodes...)
}

// start launches the instances of a cluster, on which the agent has not run yet.
func (p *policed) start(spec cloud.ClusterSpec, pools agent.Pools) (id string, nodes []*Node) {
	p.t.Helper()
	spec.Subnet, spec.NameTag, spec.SecondENIOnMaster = p.subnet, "x", true
	cl, err := p.Cloud.LaunchCluster(spec)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, cn := range cl.Nodes {
		nodes = append(nodes, p.newNode(cn, p.config(pools), cloud.FilesFull))
	}
	return cl.ID, nodes
}

func (p *policed) config(pools agent.Pools) agent.Config {
	cfg := agent.DefaultConfig()
	cfg.Pools, cfg.Prefix = pools, p.prefix
	return cfg
}

// add adds a node to a cluster.
func (p *policed) add(clusterID, role string, pools agent.Pools) *Node {
	p.t.Helper()
	cn, err := p.Cloud.AddNode(clusterID, role)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.newNode(cn, p.config(pools), cloud.FilesFull)
}

// stale writes records of an instance that no longer exists.
func (p *policed) stale(list ...string) {
	p.t.Helper()
	for _, a := range addrs(list...) {
		if err := p.PutRecord(p.t.Context(), Parameter(p.prefix, p.subnet, a), deadRecord); err != nil {
			p.t.Fatal(err)
		}
	}
	time.Sleep(unseenGrace)
}

// underPolicy plays a scenario under the policies that the function policies returns for the place.
// It returns the output of the runs and the denied calls.
func underPolicy(t *testing.T, name string, play func(*policed), policies func(iam.Place) cloudiam.Policies) (all []said, denied []string) {
	t.Helper()
	var p *policed
	var current cloudiam.Policies
	o := cloud.Options{Authorize: func(r cloud.AccessRequest) error {
		if current == nil {
			current = policies(p.place())
		}
		return current.OnInstances(r)
	}}
	if strings.Contains(name, "bad day") {
		o.Quotas = cloud.DefaultQuotas()
		o.RemapDelay = cloud.Range{Max: 4 * time.Second}
		o.StaleEC2 = cloud.Staleness{Probability: 0.3, MaxAge: 4 * time.Second}
		o.StaleSSM = cloud.Staleness{Probability: 0.3, MaxAge: 2 * time.Second}
		o.AssignSameENI = cloud.OutcomeError
	}
	inBubble(t, o, func(t *testing.T, c *cluster) {
		p = &policed{cluster: c, prefix: agent.DefaultPrefix}
		play(p)
		all = p.said
		for _, call := range c.Cloud.Calls() {
			if call.Code == "AccessDeniedException" || call.Code == "UnauthorizedOperation" {
				denied = append(denied, call.String())
			}
		}
	})
	return all, denied
}

// shipped returns the policy of the instance profile, without an action if without is not empty.
func shipped(t *testing.T, place iam.Place, without string) *cloudiam.Policy {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(place.Policy(iam.InstanceProfile)), &doc); err != nil {
		t.Fatal(err)
	}
	var kept []any
	for _, s := range doc["Statement"].([]any) {
		statement := s.(map[string]any)
		actions := slices.DeleteFunc(listOf(statement["Action"]), func(a any) bool { return a == without })
		if statement["Action"] = actions; len(actions) > 0 {
			kept = append(kept, statement)
		}
	}
	doc["Statement"] = kept
	return policyOf(t, doc)
}

func listOf(v any) []any {
	if list, ok := v.([]any); ok {
		return slices.Clone(list)
	}
	return []any{v}
}

func policyOf(t *testing.T, doc any) *cloudiam.Policy {
	t.Helper()
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	p, err := cloudiam.ParsePolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// policyActions returns the actions that the policy of the instance profile allows.
func policyActions(t *testing.T) (actions []string) {
	t.Helper()
	var doc struct{ Statement []struct{ Action any } }
	if err := json.Unmarshal([]byte(iam.Place{}.Policy(iam.InstanceProfile)), &doc); err != nil {
		t.Fatal(err)
	}
	for _, s := range doc.Statement {
		for _, a := range listOf(s.Action) {
			actions = append(actions, a.(string))
		}
	}
	if len(actions) < 9 {
		t.Fatalf("found only %q", actions)
	}
	return actions
}

// TestShippedPolicyIsEnough checks that the shipped policy allows everything that the agent does.
func TestShippedPolicyIsEnough(t *testing.T) {
	for _, s := range policyScenarios() {
		t.Run(s.name, func(t *testing.T) {
			all, denied := underPolicy(t, s.name, s.play, func(at iam.Place) cloudiam.Policies { return cloudiam.Policies{shipped(t, at, "")} })
			for _, x := range all {
				if x.err != nil || strings.Contains(strings.Join(x.warnings, "\n"), "not authorized") {
					t.Errorf("%s: %v, warnings %q", x.run, x.err, x.warnings)
				}
			}
			for _, call := range denied {
				t.Errorf("denied: %s", call)
			}
			if len(all) == 0 {
				t.Error("nothing was run")
			}
		})
	}
}

// warningOnly are the actions whose denial does not make a run fail.
var warningOnly = []string{"ec2:CreateTags", "ec2:DeleteTags", "ec2:DescribePrefixLists"}

// TestEachActionOfThePolicyIsNeeded removes each action from the policy. Then some run must fail
// with exit code 4, or for the tags warn. The output must name the action and give the removed
// statement. With that statement everything must be allowed again.
func TestEachActionOfThePolicyIsNeeded(t *testing.T) {
	for _, action := range policyActions(t) {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			failed, warned, sample := 0, 0, ""
			for _, s := range policyScenarios() {
				var place iam.Place
				all, lacking := underPolicy(t, s.name, s.play, func(at iam.Place) cloudiam.Policies {
					place = at
					return cloudiam.Policies{shipped(t, at, action)}
				})
				want := place.Statement(iam.InstanceProfile, action)
				for _, x := range all {
					warnings := strings.Join(x.warnings, "\n")
					switch {
					case x.err != nil && (exitCode(x.err) != agent.ExitPermission || !strings.Contains(remedy(x.err), want) || !strings.Contains(x.err.Error(), action)):
						t.Errorf("%s: %s: code %d, %v; remedy %q, want %q", s.name, x.run, exitCode(x.err), x.err, remedy(x.err), want)
					case x.err != nil:
						failed++
						sample = x.err.Error()
					case strings.Contains(warnings, action):
						warned++
						if !strings.Contains(x.run, "status") && !strings.Contains(warnings, want) {
							t.Errorf("%s: %s: warnings %q, want %q", s.name, x.run, x.warnings, want)
						}
					}
				}
				if len(lacking) == 0 {
					continue // the scenario does not use the action
				}
				_, denied := underPolicy(t, s.name, s.play, func(at iam.Place) cloudiam.Policies {
					remedied, err := cloudiam.ParsePolicy([]byte(`{"Version": "2012-10-17", "Statement": ` + at.Statement(iam.InstanceProfile, action) + `}`))
					if err != nil {
						t.Error(err)
						return cloudiam.Policies{}
					}
					return cloudiam.Policies{shipped(t, at, action), remedied}
				})
				for _, call := range denied {
					t.Errorf("%s: with the statement of the remedy: %s", s.name, call)
				}
			}
			if fails := !slices.Contains(warningOnly, action); fails && failed == 0 || !fails && (failed > 0 || warned == 0) {
				t.Errorf("without the action %d runs failed and %d warned", failed, warned)
			}
			t.Logf("%d runs failed, %d warned: %s", failed, warned, sample)
		})
	}
}
