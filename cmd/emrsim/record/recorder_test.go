package record

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// clock is a clock that the test sets.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func (c *clock) wait(d time.Duration) { c.t = c.t.Add(d) }

var begin = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// line returns a line of an agent's log.
func line(text string) string { return "2026-11-01T12:00:00.000Z INFO " + text }

const second = time.Second

// call returns a call of core-1 to AWS, at a time after the beginning.
func call(key, params string, at time.Duration, code string, applied bool) cloud.Call {
	service, action, _ := strings.Cut(key, ":")
	return cloud.Call{
		Caller: "i-1", Service: service, Action: action, Params: params, Began: begin.Add(at), Took: second / 10, Time: begin.Add(at + second/20),
		Code: code, Applied: applied,
	}
}

// recorded returns the recording of a run of ten seconds on one node, which then ends.
func recorded() *Recording {
	c := &clock{begin}
	r := New("a launch", "emrsim launch", []string{"10.0.1.10", "10.0.1.11"}, c.now)
	r.Join(Node{Name: "core-1", Role: "CORE", Instance: "i-1"})
	r.Phase("before")
	c.wait(second)
	r.Begin("core-1", []string{"10.0.1.10", "10.0.1.11"})
	c.wait(second)
	r.Event("core-1", line(`identified the node {"instance": "i-1"}`))
	c.wait(4 * second)
	r.Event("core-1", line("assigned 10.0.1.11 to eni-1: it was free"))
	c.wait(second)
	r.Event("core-1", line("ip addr add 10.0.1.11/32 dev ens5"))
	c.wait(2 * second)
	r.Event("core-1", line("recorded 10.0.1.11: /emr-static-ip/subnet-1/10.0.1.11 names this node"))
	c.wait(second)
	r.End("core-1", 0, "changed=4 unchanged=0 duration=9.0s\n", "")
	c.wait(second)
	r.Leave("core-1")
	c.wait(second)
	lost := call("ec2:AssignPrivateIpAddresses", "eni-1 10.0.1.11", 5*second, "", true)
	lost.Lost, lost.Fault = true, cloud.FaultLose
	return r.Finish([]cloud.Call{
		call("imds:GetMetadata", "meta-data/mac", 1*second, "", false),
		call("ec2:AssignPrivateIpAddresses", "eni-1 10.0.1.12", 3*second, "RequestLimitExceeded", false),
		lost,
		call("ssm:PutParameter", "Name=/emr-static-ip/subnet-1/10.0.1.11 Overwrite=true", 8*second, "", true),
		{Service: "ssm", Action: "PutParameter", Params: "Name=/emr-static-ip/subnet-1/10.0.1.99", Time: begin, Applied: true}, // the operator's
	})
}

func TestSteps(t *testing.T) {
	var got []string
	for _, s := range recorded().Nodes[0].Steps {
		got = append(got, fmt.Sprintf("%s %g-%g", s.Kind, s.From, s.Until))
	}
	want := []string{"identify 1-2", "choose 2-3", "assign 3-6", "program 6-8", "record 8-9", "finish 9-10", "ended 11-11"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestStepsOfAKilledRun(t *testing.T) {
	c := &clock{begin}
	r := New("", "", nil, c.now)
	r.Join(Node{Name: "master"})
	r.Begin("master", nil)
	c.wait(second)
	r.End("master", 137, "", "")
	c.wait(second)
	r.Mark("master", StepRebooted, "power failure")
	r.Begin("master", nil)
	c.wait(second)
	r.Event("master", line("waiting for a free address"))
	c.wait(second)
	var got []string
	for _, s := range r.Finish(nil).Nodes[0].Steps { // the rehearsal ends first
		got = append(got, fmt.Sprintf("%s %g-%g", s.Kind, s.From, s.Until))
	}
	if want := []string{"identify 0-1", "killed 1-1", "rebooted 2-2", "identify 2-3", "wait 3-4"}; !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestCalls(t *testing.T) {
	r := recorded()
	var got []string
	for _, c := range r.Calls {
		got = append(got, fmt.Sprintf("%s %s:%s at %g for %g: %s throttled=%t fault=%q lost=%t", c.Node, c.Service, c.Action, c.From, c.Seconds, c.Result, c.Throttled, c.Fault, c.Lost))
	}
	want := []string{
		`core-1 ec2:AssignPrivateIpAddresses at 3 for 0.1: RequestLimitExceeded throttled=true fault="" lost=false`,
		`core-1 ec2:AssignPrivateIpAddresses at 5 for 0.1: ok throttled=false fault="lose" lost=true`,
		`core-1 ssm:PutParameter at 8 for 0.1: ok throttled=false fault="" lost=false`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if n := r.Nodes[0].Runs[0].Calls; n != 3 {
		t.Errorf("the run made %d calls, want 3", n)
	}
}

func TestLedger(t *testing.T) {
	r := recorded()
	a := netip.MustParseAddr("10.0.1.11")
	want := []Change{{5.05, a, "core-1", ChangeAssigned}, {8.05, a, "core-1", ChangeRecorded}, {11, a, "core-1", ChangeEnded}}
	if !slices.Equal(r.Ledger, want) {
		t.Errorf("got  %v\nwant %v", r.Ledger, want)
	}
	if h := r.Holders(); len(h) > 0 {
		t.Errorf("addresses are held after the end of the instance: %v", h)
	}
	r.Ledger = r.Ledger[:2]
	if h := r.Holders(); h[a] != "core-1" {
		t.Errorf("holders %v, want core-1", h)
	}
}

func TestProblemsAreGrouped(t *testing.T) {
	r := New("", "", nil, nil)
	for _, node := range []string{"core-1", "core-2", "core-1"} {
		r.Problem(node, "the first cause", "name more")
	}
	r.Problem("", "the lab failed", "")
	r.Problem("core-2", "assigning 10.0.1.11 to eni-0a1: no permission", "allow it")
	r.Problem("core-1", "assigning 10.0.1.12 to eni-0a2: no permission", "allow it")
	r.Problem("core-1", "assigning 10.0.1.13 to eni-0a2: no permission", "allow it")
	r.Problem("", "the lab failed", "")
	got := r.Finish(nil)
	var texts []string
	for _, p := range got.Problems {
		texts = append(texts, fmt.Sprintf("%v as %q: %s", p.Nodes, p.As, p.Cause))
	}
	want := []string{
		`[core-1 core-2] as "": the first cause`, `[core-2 core-1] as "core-2": assigning 10.0.1.11 to eni-0a1: no permission`, `[] as "": the lab failed`,
		`[core-1] as "": assigning 10.0.1.13 to eni-0a2: no permission`,
	}
	slices.Sort(texts)
	slices.Sort(want)
	if !slices.Equal(texts, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(texts, "\n"), strings.Join(want, "\n"))
	}
	if len(got.Problems) != 4 || !slices.Equal(got.Problems[0].Nodes, []string{"core-1", "core-2"}) || got.Problems[1].Nodes != nil || got.Outcome != Failed {
		t.Errorf("%s: %+v", got.Outcome, got.Problems)
	}
}

// TestNoRecorder checks that a rehearsal without a report can use a nil Recorder.
func TestNoRecorder(t *testing.T) {
	var r *Recorder
	r.Set(func(*Recording) { t.Error("called") })
	r.Join(Node{})
	r.Change("x", func(*Node) { t.Error("called") })
	r.Leave("x")
	r.Phase("x")
	r.Event("x", "y")
	r.Mark("x", StepKilled, "")
	r.Begin("x", nil)
	r.End("x", 0, "", "")
	r.See(Sighting{})
	r.Problem("x", "y", "")
	if r.Finish(nil) != nil {
		t.Error("a recording of nothing")
	}
}
