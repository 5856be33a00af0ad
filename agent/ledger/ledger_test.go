package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord/inventory"
)

// took matches what depends on random waits.
var took = regexp.MustCompile(`duration=\S+|AWS calls .*`)

func untimed(text string) string { return took.ReplaceAllString(text, "N") }

// furnish fills the ledger with one of everything.
func (w *ledgerWorld) furnish() {
	old := w.stranger(cloud.InstanceSpec{})
	for i, n := range w.nodes {
		addr := fmt.Sprintf("10.0.1.%d", 10+i)
		w.put(w.name(w.subnet, addr), recordOf(n))
		w.assign(n, addr)
	}
	w.put(w.name(w.subnet, "10.0.1.20"), gone("i-0dead1"))
	w.put(w.name(w.subnet, "10.0.1.21"), recordOf(old))
	w.cloud.TerminateNow(old.InstanceID)
	w.put(w.name(w.subnet, "10.0.1.22"), recordOf(w.nodes[2])) // claimed and not attached
	w.put(w.name(w.subnet, "10.0.1.23"), "\x1b[2J\u202eblank\u009b")
	w.put(w.name(w.subnet, "10.0.1.24"), `{"v":7,"owner":"i-1"}`)
	w.put(w.name(w.subnet, "10.0.1.25"), recordOf(w.nodes[1])) // a stranger's
	w.stranger(cloud.InstanceSpec{Name: "evil\u009b31m\u202ename", Secondary: []netip.Addr{netip.MustParseAddr("10.0.1.25")}})
	w.assign(w.nodes[0], "10.0.1.26") // without a record
	w.stranger(cloud.InstanceSpec{PrimaryIP: netip.MustParseAddr("10.0.1.27")})
	w.put(w.name(w.subnet, "not-an-address"), "x")
	w.put(agent.DefaultPrefix+"/probe", "x")
	w.put(w.name(w.other, "10.0.2.9"), gone("i-0dead2"))
	time.Sleep(3*time.Hour + 5*time.Minute)
}

func TestLedgerList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLedgerWorld(t, cloud.Options{EmptyPages: 0.5, Seed: 5, TerminatedVisible: 24 * time.Hour})
		w.furnish()
		w.cfg.Pools.Core = netiptest.Addrs("10.0.1.26 10.0.1.27 10.0.1.28")
		l, text := w.run(List, exit.Drifted)
		golden.Is(t, "ledger-list.txt", text)
		var b bytes.Buffer
		l.Set("v1.2.3", l.ExitCode(), nil)
		if err := l.Render(&b, "json"); err != nil {
			t.Fatal(err)
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, b.Bytes(), "", "  "); err != nil {
			t.Fatal(err)
		}
		golden.Is(t, "ledger-list.json", indented.String())
		for _, out := range []string{text, b.String()} {
			for _, bad := range []string{"\x1b", "\u009b", "\u202e"} {
				if strings.Contains(out, bad) {
					t.Errorf("prints %q", bad)
				}
			}
		}
		if slices.ContainsFunc(w.cloud.Calls(), func(c cloud.Call) bool { return c.Service == "imds" }) {
			t.Error("IMDS was asked")
		}
	})
}

// A list for several subnets may be named: each ledger shows its own addresses.
func TestLedgerOfAListForSubnets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLedgerWorld(t, cloud.Options{Seed: 7})
		texts := golden.Open(t, "list-for-subnets.txt")
		w.cfg.Pools.Master, w.cfg.Pools.Core = netiptest.Addrs("10.0.1.20"), netiptest.Addrs("10.0.2.21 10.0.1.21 10.0.2.22")
		for subnet, want := range map[string][]string{w.subnet: {"10.0.1.20", "10.0.1.21"}, w.other: {"10.0.2.21", "10.0.2.22"}} {
			w.cfg.Subnet = subnet
			l, text := w.run(List, exit.OK)
			var got []string
			for _, a := range l.Addresses {
				got = append(got, a.Address)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q, want %q\n%s", got, want, text)
			}
			texts.Is(t, want[0]+" and another", untimed(text))
		}
		w.cfg.Subnet, w.cfg.Pools.Master, w.cfg.Pools.Core = w.other, nil, netiptest.Addrs("10.0.1.21")
		if _, err := Run(t.Context(), List, w.cfg, w.env); exit.CodeOf(err) != exit.Usage || !strings.Contains(err.Error(), w.other) {
			t.Error(err)
		}
	})
}

// TestLedgerListOfAllSubnets lists all subnets that have a record, over several pages, some of them
// empty.
func TestLedgerListOfAllSubnets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLedgerWorld(t, cloud.Options{EmptyPages: 0.5, Seed: 6})
		for i := range 23 {
			w.put(w.name(w.subnet, fmt.Sprintf("10.0.1.%d", 10+i)), gone("i-0dead1"))
		}
		for i := range 14 {
			w.put(w.name(w.other, fmt.Sprintf("10.0.2.%d", 10+i)), gone("i-0dead2"))
		}
		w.put("/other-prefix/"+w.other+"/10.0.2.99", gone("i-0dead2"))
		time.Sleep(time.Hour)
		w.cfg.Subnet = ""
		l, text := w.run(List, exit.OK)
		if len(l.Addresses) != 37 || l.Counts["stale"] != 37 || strings.Count(text, "\nsubnet-")+1 != 2 {
			t.Errorf("%d addresses, %v\n%s", len(l.Addresses), l.Counts, text)
		}
		w.cfg.Subnet = w.other
		if l, _ := w.run(List, exit.OK); len(l.Addresses) != 14 {
			t.Errorf("%d addresses of one subnet", len(l.Addresses))
		}
		w.cfg.Prefix = "/nothing"
		l, text = w.run(List, exit.OK)
		if len(l.Addresses) != 0 || l.Addresses == nil {
			t.Errorf("%+v", l)
		}
		golden.Is(t, "empty-ledger.txt", untimed(text))
	})
}

func TestLedgerGC(t *testing.T) {
	messages := golden.Open(t, "gc.txt")
	synctest.Test(t, func(t *testing.T) {
		w := newLedgerWorld(t, cloud.Options{Seed: 7, Quotas: cloud.WithSSMBurst(cloud.DefaultQuotas(), 0)})
		w.furnish()
		before := len(w.cloud.Parameters())
		l, text := w.run(GC, exit.OK)
		if got := len(w.cloud.Parameters()); got != before || l.Changed != 0 || len(l.Steps) != 2 || l.Steps[0].Outcome != outcomeToDo {
			t.Fatalf("%d of %d records are left, %+v", got, before, l.Steps)
		}
		messages.Is(t, "without --yes", untimed(text))
		w.cloud.ForgetCalls()
		l, text = w.yes(GC, exit.OK)
		if got := len(w.cloud.Parameters()); got != before-2 || l.Changed != 2 {
			t.Errorf("%d of %d records are left, %+v", got, before, l.Steps)
		}
		w.expectRecord("10.0.1.20", nil)
		w.expectRecord("10.0.1.21", nil)
		if w.parameter(w.name(w.other, "10.0.2.9")) == "" {
			t.Error("another subnet's record is gone")
		}
		messages.Is(t, "with --yes", untimed(text))
		for _, c := range w.cloud.Calls() {
			if c.Throttled() && c.Action == "DeleteParameter" {
				t.Errorf("throttled: %s", c)
			}
		}
		w.cloud.ForgetCalls()
		if l, text = w.yes(GC, exit.OK); l.Changed != 0 {
			t.Errorf("a second run: %s", text)
		}
		messages.Is(t, "again", untimed(text))
		for _, c := range w.cloud.Calls() {
			if c.Applied {
				t.Errorf("a second run changes: %s", c)
			}
		}
	})
}

// TestLedgerGCRaces lets a node take the address over between the two looks, or before the
// deletion.
func TestLedgerGCRaces(t *testing.T) {
	const addr = "10.0.1.20"
	for _, test := range []struct {
		name    string
		action  string
		nth     int
		after   bool
		changed int
	}{
		{"before the second look at EC2", "DescribeNetworkInterfaces", 1, false, 0},
		{"after the second look at EC2", "DescribeNetworkInterfaces", 1, true, 0},
		{"after the second look at the record", "GetParameters", 1, true, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newLedgerWorld(t, cloud.Options{Seed: 8})
				w.put(w.name(w.subnet, addr), gone("i-0dead1"))
				time.Sleep(time.Hour)
				w.onCall(test.action, addr, test.nth, test.after, func() {
					w.assign(w.nodes[1], addr)
					w.put(w.name(w.subnet, addr), recordOf(w.nodes[1]))
				})
				l, _ := w.yes(GC, exit.OK)
				w.cloud.Fault(nil)
				if l.Changed != test.changed {
					t.Errorf("changed %d: %+v", l.Changed, l.Steps)
				}
				if test.changed == 0 {
					w.expectRecord(addr, w.nodes[1])
					if !strings.Contains(l.Steps[0].Detail, "meanwhile") {
						t.Errorf("%+v", l.Steps)
					}
					return
				}
				// The race that remains: EC2 gives the address to the node, and its record is
				// missing until it is written again.
				w.cfg.Pools.Core = netiptest.Addrs(addr)
				if l, _ := w.run(List, exit.Drifted); l.Counts["unrecorded"] != 1 {
					t.Errorf("%v", l.Counts)
				}
				w.yes(Repair, exit.OK)
				w.expectRecord(addr, w.nodes[1])
			})
		})
	}
}

func TestLedgerRepair(t *testing.T) {
	messages := golden.Open(t, "repair.txt")
	synctest.Test(t, func(t *testing.T) {
		w := newLedgerWorld(t, cloud.Options{Seed: 9, StaleEC2: cloud.Staleness{Probability: 0.5, MaxAge: 3 * time.Second}})
		w.furnish()
		w.put(w.name(w.subnet, "10.0.1.10"), "{")                  // the master's, unreadable; it has 10.0.1.26 too
		w.put(w.name(w.subnet, "10.0.1.11"), "blank")              // a core node's
		w.put(w.name(w.subnet, "10.0.1.12"), recordOf(w.nodes[0])) // the other core node's, in another's name
		time.Sleep(time.Hour)
		before := fmt.Sprint(w.cloud.Parameters())
		l, text := w.run(Repair, exit.Drifted)
		if got := fmt.Sprint(w.cloud.Parameters()); got != before || l.Changed != 0 {
			t.Error("a dry run changes the ledger")
		}
		messages.Is(t, "without --yes", untimed(text))
		l, text = w.yes(Repair, exit.Drifted) // the record of the newer version is left
		if l.Changed != 5 || len(l.Steps) != 6 {
			t.Errorf("changed %d: %+v\n%s", l.Changed, l.Steps, text)
		}
		for i, addr := range []string{"10.0.1.10", "10.0.1.11", "10.0.1.12"} {
			w.expectRecord(addr, w.nodes[i])
		}
		w.expectRecord("10.0.1.23", nil)
		w.expectRecord("10.0.1.25", nil)
		if w.parameter(w.name(w.subnet, "10.0.1.24")) != `{"v":7,"owner":"i-1"}` {
			t.Error("touched a newer record")
		}
		w.cloud.ForgetCalls()
		w.yes(Repair, exit.Drifted)
		for _, c := range w.cloud.Calls() {
			if c.Applied {
				t.Errorf("a second run changes: %s", c)
			}
		}
		w.cfg.Pools.Core = netiptest.Addrs("10.0.1.11 10.0.1.12")
		_, text = w.yes(Repair, exit.OK)
		messages.Is(t, "of two addresses", untimed(text))
	})
}

// TestLedgerRepairRaces lets the holder give the address away around the write of its record. A
// record that stays must not keep others from the address.
func TestLedgerRepairRaces(t *testing.T) {
	const addr = "10.0.1.20"
	for _, test := range []struct {
		name    string
		action  string
		after   bool
		outcome inventory.Outcome
	}{
		{"before the second look", "DescribeNetworkInterfaces", false, inventory.Passed},
		{"before the write", "PutParameter", false, inventory.TakenBack},
		{"after the write", "PutParameter", true, inventory.TakenBack},
	} {
		for seed := range uint64(8) {
			t.Run(fmt.Sprint(test.name, ", seed ", seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newLedgerWorld(t, cloud.Options{Seed: seed, StaleSSM: cloud.Staleness{Probability: 1, MaxAge: 14 * time.Second}})
					w.put(w.name(w.subnet, addr), "blank")
					w.assign(w.nodes[1], addr)
					time.Sleep(time.Hour)
					w.onCall(test.action, addr, 1, test.after, func() { w.unassign(w.nodes[1], addr) })
					l, _ := w.yes(Repair, exit.Drifted)
					w.cloud.Fault(nil)
					if len(l.Steps) != 1 || l.Steps[0].Outcome != string(test.outcome) {
						t.Errorf("%+v", l.Steps)
					}
					if test.outcome == inventory.TakenBack {
						w.expectRecord(addr, nil)
					}
				})
			})
		}
	}
}

// TestOnANode checks that IMDS gives region, subnet and credentials on a node.
func TestOnANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLedgerWorld(t, cloud.Options{Seed: 11})
		n := w.nodes[1]
		w.put(w.name(w.subnet, "10.0.1.11"), recordOf(n))
		w.assign(n, "10.0.1.11")
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "")
		w.env.HTTP = onNode{w.cloud.Transport(n.InstanceID)}
		l, err := Run(t.Context(), List, agent.DefaultConfig(), w.env)
		if err != nil || l.Subnet != n.SubnetID || l.Region != "us-east-1" || l.Counts[string(inventory.InUse)] != 1 || l.ExitCode() != exit.OK {
			t.Errorf("%+v, %v", l, err)
		}
	})
}

// onNode makes the calls of a node.
type onNode struct{ http.RoundTripper }

func TestLedgerFailures(t *testing.T) {
	messages := golden.Open(t, "failures.txt")
	for _, test := range []struct {
		name    string
		command string
		denied  string
		setup   func(w *ledgerWorld)
		code    exit.Code
	}{
		{"list the ledger", List, "ssm:GetParametersByPath", nil, exit.Permission},
		{"list all subnets", List, "ssm:GetParametersByPath", func(w *ledgerWorld) { w.cfg.Subnet = "" }, exit.Permission},
		{"interfaces", List, "ec2:DescribeNetworkInterfaces", nil, exit.Permission},
		{"instances", List, "ec2:DescribeInstances", nil, exit.Permission},
		{"read a record", GC, "ssm:GetParameters", nil, exit.Permission},
		{"delete a record", GC, "ssm:DeleteParameter", nil, exit.Permission},
		{"write a record", Repair, "ssm:PutParameter", nil, exit.Permission},
		{"addresses without a subnet", Repair, "", func(w *ledgerWorld) { w.cfg.Subnet, w.cfg.Pools.Core = "", netiptest.Addrs("10.0.1.10") }, exit.Usage},
		{"no credentials", List, "", func(w *ledgerWorld) {
			w.t.Setenv("AWS_ACCESS_KEY_ID", "")
			w.t.Setenv("AWS_SECRET_ACCESS_KEY", "")
			w.env.HTTP = w.cloud.Transport("i-0none")
		}, exit.Permission},
		{"no AWS CLI", List, "", func(w *ledgerWorld) {
			config := filepath.Join(w.t.TempDir(), "config")
			if err := os.WriteFile(config, []byte("[default]\nsso_session = corp\n"), 0o600); err != nil {
				w.t.Fatal(err)
			}
			w.t.Setenv("AWS_ACCESS_KEY_ID", "")
			w.t.Setenv("AWS_SECRET_ACCESS_KEY", "")
			w.t.Setenv("AWS_CONFIG_FILE", config)
			w.t.Setenv("PATH", "/nowhere")
		}, exit.Permission},
		{"a zone in place of the region", List, "", func(w *ledgerWorld) {
			w.cfg.Region = ""
			w.t.Setenv("AWS_REGION", "us-east-1a")
		}, exit.Usage},
		{"no region", List, "", func(w *ledgerWorld) {
			w.cfg.Region = ""
			w.env.HTTP = w.cloud.Transport("i-0none")
		}, exit.Usage},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newLedgerWorld(t, cloud.Options{Seed: 12, Authorize: func(r cloud.AccessRequest) error {
					if r.Action == test.denied {
						return fmt.Errorf("by the test")
					}
					return nil
				}})
				if test.denied != "ssm:PutParameter" {
					w.put(w.name(w.subnet, "10.0.1.20"), gone("i-0dead1"))
				}
				if test.command == Repair && test.denied != "" { // no record yet, as none can be written
					w.assign(w.nodes[1], "10.0.1.21")
					w.cfg.Pools.Core = netiptest.Addrs("10.0.1.21")
				}
				time.Sleep(time.Hour)
				if test.setup != nil {
					test.setup(w)
				}
				w.cfg.Yes = true
				began := time.Now()
				_, err := Run(t.Context(), test.command, w.cfg, w.env)
				if err == nil || exit.CodeOf(err) != test.code {
					t.Fatalf("code %d, %v, want code %d", exit.CodeOf(err), err, test.code)
				}
				messages.Is(t, test.name, err.Error()+"\n"+strings.Join(exit.Remedies(err), "\n"))
				if d := time.Since(began); d > time.Minute {
					t.Errorf("took %s", d)
				}
			})
		})
	}
}
