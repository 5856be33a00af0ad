package certify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/facts"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/mototest"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

const recordings = "../cloud/recordings/"

func TestMain(m *testing.M) {
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			os.Unsetenv(name)
		}
	}
	os.Exit(m.Run())
}

// theModel is the recording of the model as it is now.
var theModel = sync.OnceValues(func() (Recording, error) { return RunModel(context.Background()) })

func model(t *testing.T) Recording {
	t.Helper()
	rec, err := theModel()
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// inProcess returns a judge that is a model in this process, and does not wait.
func inProcess(o cloud.Options) (*cloud.Cloud, Judge) {
	account, j := newAccount(o)
	j.Pause, j.Lag = 0, 50*time.Millisecond
	return account, j
}

// left returns what a run has left in an account.
func left(account *cloud.Cloud) (list []string) {
	for _, e := range account.ENIs() {
		list = append(list, e.ID)
	}
	for _, p := range account.Parameters() {
		list = append(list, p.Name)
	}
	return list
}

// TestRecordings compares the model with every recording that there is.
func TestRecordings(t *testing.T) {
	files, err := filepath.Glob(recordings + "*.json")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, file := range files {
		if strings.HasSuffix(file, ".judged.json") {
			continue
		}
		count++
		t.Run(filepath.Base(file), func(t *testing.T) {
			rec, err := Read(file)
			if err != nil {
				t.Fatal(err)
			}
			known, err := ReadJudgements(strings.TrimSuffix(file, ".json") + ".judged.json")
			if err != nil {
				t.Fatal(err)
			}
			check(t, model(t), rec, known)
		})
	}
	if count < 2 {
		t.Errorf("found only %d recordings", count)
	}
}

// check reports differences that nobody has judged, and judgements without a difference.
func check(t *testing.T, model, rec Recording, known []Judgement) {
	t.Helper()
	c := Compare(model, rec, known)
	for _, d := range c.Differences {
		if d.Known == nil {
			t.Errorf("%s:\n  model %s\n  %s %s", d.Step, d.Model, rec.Judge, d.Other)
		}
	}
	for _, j := range c.Stale {
		t.Errorf("the judgement of %q is of a difference that does not exist", j.Step)
	}
	if c.Same < 30 {
		t.Errorf("only %d steps have the same outcome", c.Same)
	}
}

// TestModelConfirmsItself checks that each step about a fact is made so that the model confirms the
// fact, and that each setting that contradicts one is found.
func TestModelConfirmsItself(t *testing.T) {
	for _, v := range Verdicts(model(t)) {
		if !v.Confirmed {
			t.Errorf("the model contradicts %s: %s", v.Fact.ID, v.Evidence)
		}
	}
	held := map[cloud.Refusal]cloud.Error{cloud.RefusedHeld: {Code: "InvalidIPAddress.InUse", Message: "in use", Status: 400}}
	primary := map[cloud.Refusal]cloud.Error{cloud.RefusedPrimary: held[cloud.RefusedHeld]}
	outside := map[cloud.Refusal]cloud.Error{cloud.RefusedOutside: held[cloud.RefusedHeld]}
	for fact, o := range map[string]cloud.Options{
		"assign-again":           {AssignSameENI: cloud.OutcomeError},
		"assign-held-words":      {Unverified: cloud.Unverified{Refusals: held}},
		"assign-primary-words":   {Unverified: cloud.Unverified{Refusals: primary}},
		"assign-outside-words":   {Unverified: cloud.Unverified{Refusals: outside}},
		"assign-after-unassign":  {Unverified: cloud.Unverified{FreeDelay: cloud.Exactly(time.Minute)}},
		"assign-one-holder":      {NoArbiter: true},
		"unassign-absent":        {Unverified: cloud.Unverified{UnassignAbsent: true}},
		"describe-late":          {RemapDelay: cloud.Exactly(time.Minute)},
		"ssm-recreate":           {Recreate: cloud.Recreate{Lose: 1}},
		"ssm-read-lag":           {StaleSSM: cloud.Staleness{Probability: 1, MaxAge: 300 * time.Millisecond}},
		"ssm-burst":              {Quotas: map[string]cloud.Quota{"ssm:PutParameter": {Rate: 1000, Burst: 1000}}},
		"ssm-concurrent-creates": {Seed: 1, ConcurrentUpdates: cloud.Race{Probability: 1, Window: time.Hour}, Latency: nil},
	} {
		if fact == "ssm-concurrent-creates" {
			continue // one caller's changes are never concurrent in the model
		}
		account, j := inProcess(o)
		rec, err := Run(t.Context(), j)
		if err != nil && fact != "describe-late" { // what is shown late is removed late
			t.Errorf("%s: %v", fact, err)
		}
		f, _ := facts.Find(fact)
		if v, asked := verdictOf(f, rec); !asked || v.Confirmed {
			t.Errorf("%s: asked %t, confirmed %t: %s", fact, asked, v.Confirmed, v.Evidence)
		}
		if l := left(account); len(l) != 0 {
			t.Errorf("%s: left: %v", fact, l)
		}
	}
}

// TestStepsAreAboutFacts checks that steps name facts of the table, and have names of their own.
func TestStepsAreAboutFacts(t *testing.T) {
	seen := map[string]bool{}
	for _, st := range steps() {
		if seen[st.name] {
			t.Errorf("two steps have the name %q", st.name)
		}
		seen[st.name] = true
		for _, s := range st.says {
			if _, ok := facts.Find(s.fact); !ok || len(s.confirm) == 0 {
				t.Errorf("%s: the fact %s does not exist, or nothing confirms it", st.name, s.fact)
			}
		}
	}
}

// TestServed makes a run against the model over HTTP: nothing differs from the run in this process.
func TestServed(t *testing.T) {
	o := ModelOptions()
	o.Quotas = nil
	j, stop, err := Serve(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	j.Pause, j.Gentle = 0, true
	rec, err := Run(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	check(t, model(t), rec, nil)
	for _, d := range Compare(model(t), rec, nil).Measured {
		if d.Model != d.Other {
			t.Errorf("%+v", d)
		}
	}
	if again, err := Cleanup(t.Context(), j); err != nil || len(again.Interfaces)+len(again.Parameters) != 0 {
		t.Errorf("the run has left %v: %v", again, err)
	}
}

// A judge whose describe calls are late says the same as one that answers at once, but for the lags
// that are measured.
func TestLateDescribe(t *testing.T) {
	o := ModelOptions()
	o.Quotas, o.RemapDelay = nil, cloud.Range{Min: 100 * time.Millisecond, Max: 900 * time.Millisecond}
	account, j := inProcess(o)
	j.Lag, j.Gentle = 10*time.Second, true
	rec, err := Run(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	check(t, model(t), rec, nil)
	for _, v := range Verdicts(rec) {
		if !v.Confirmed {
			t.Errorf("%s: %s", v.Fact.ID, v.Evidence)
		}
	}
	if l := left(account); len(l) != 0 {
		t.Errorf("left: %v", l)
	}
}

// TestReport compares the report about the recording of moto.
func TestReport(t *testing.T) {
	moto, err := Read(recordings + "moto.json")
	if err != nil {
		t.Fatal(err)
	}
	own, err := Read(recordings + "model.json")
	if err != nil {
		t.Fatal(err)
	}
	known, err := ReadJudgements(recordings + "moto.judged.json")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if !Report(&b, own, moto, known) {
		t.Error("there are differences that nobody has judged")
	}
	text, open, _ := strings.Cut(b.String(), "\nFacts without a source that were not asked (")
	golden.Is(t, "report.txt", text)
	for _, f := range Open(moto) {
		if !strings.Contains(open, f.ID) {
			t.Errorf("the report does not say that %s was not asked", f.ID)
		}
	}
	b.Reset()
	if Report(&b, own, moto, known[1:]) || Report(&b, own, own, known[:1]) {
		t.Error("a missing judgement, or one of no difference, is not reported")
	}
}

// ending is a connection that ends at a call: before it, or after its effect.
type ending struct {
	next   http.RoundTripper
	at     int
	after  bool
	killed bool // all later calls fail, too: the process is gone
	end    context.CancelCauseFunc

	mu    sync.Mutex
	calls int
}

var errEnded = errors.New("ended by the test")

func (e *ending) RoundTrip(req *http.Request) (*http.Response, error) {
	e.mu.Lock()
	e.calls++
	n := e.calls
	e.mu.Unlock()
	switch {
	case n == e.at && !e.after:
		e.end(errEnded)
		return nil, errEnded
	case n == e.at:
		res, err := e.next.RoundTrip(req)
		if err == nil {
			res.Body.Close() // the answer is lost
		}
		e.end(errEnded)
		return nil, errEnded
	case n > e.at && e.killed:
		return nil, errEnded
	}
	return e.next.RoundTrip(req)
}

// TestInterrupted ends a run by a signal before and after each of its calls: the run removes
// everything by itself. And it kills the run after each call, which is as before the next one:
// --cleanup removes everything then.
func TestInterrupted(t *testing.T) {
	account, j := inProcess(cloud.Options{})
	j.unrecorded = true
	whole := &ending{next: j.Transport, end: func(error) {}}
	j.Transport = whole
	if _, err := Run(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	if l := left(account); len(l) != 0 {
		t.Fatalf("a whole run leaves %v", l)
	}
	stride := 1
	if testing.Short() {
		stride = 13
	}
	for _, kind := range []struct{ killed, after bool }{{}, {after: true}, {killed: true, after: true}} {
		t.Run(fmt.Sprintf("killed %t, after the effect %t", kind.killed, kind.after), func(t *testing.T) {
			t.Parallel()
			for at := 1; at <= whole.calls; at += stride {
				ended(t, at, kind.killed, kind.after)
			}
		})
	}
}

func ended(t *testing.T, at int, killed, after bool) {
	t.Helper()
	account, j := inProcess(cloud.Options{})
	stranger := account.CreateSubnet(account.CreateVPC(netipPrefix("10.9.0.0/16")), netipPrefix("10.9.1.0/24"))
	node, err := account.RunInstance(cloud.InstanceSpec{Subnet: stranger})
	if err != nil {
		t.Fatal(err)
	}
	if err := account.SetParameter("/certify/other", "v"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	through := j.Transport
	j.unrecorded = true
	j.Transport = &ending{next: through, at: at, killed: killed, after: after, end: cancel}
	if killed {
		j.Lag = time.Millisecond
	}
	_, err = Run(ctx, j)
	lost := (*LeftError)(nil)
	if !killed && errors.As(err, &lost) {
		t.Errorf("call %d: %v", at, err)
	}
	j.Transport, j.Lag = through, 50*time.Millisecond
	if killed {
		j.Run = "other"
		if _, err := Cleanup(t.Context(), j); err != nil {
			t.Errorf("call %d: the cleanup: %v", at, err)
		}
		if again, err := Cleanup(t.Context(), j); err != nil || len(again.Interfaces)+len(again.Parameters) != 0 {
			t.Errorf("call %d: a second cleanup: %v, %v", at, again, err)
		}
	}
	if l := left(account); !slices.Equal(l, []string{node.ENI, "/certify/other"}) {
		t.Errorf("call %d: left %v, want only what was there before", at, l)
	}
}

// lateAnswers loses the answer to the first call that makes an interface, and does not show that
// interface in the next looks.
type lateAnswers struct {
	next  http.RoundTripper
	end   context.CancelCauseFunc
	looks int // that do not show it
	lost  bool
}

func (l *lateAnswers) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	res, err := l.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	switch form, _ := url.ParseQuery(string(body)); {
	case form.Get("Action") == "CreateNetworkInterface" && !l.lost:
		res.Body.Close()
		l.lost = true
		l.end(errEnded)
		return nil, errEnded
	case form.Get("Action") == "DescribeNetworkInterfaces" && l.lost && l.looks > 0:
		res.Body.Close()
		l.looks--
		res.Body = io.NopCloser(strings.NewReader(`<DescribeNetworkInterfacesResponse><networkInterfaceSet/></DescribeNetworkInterfacesResponse>`))
	}
	return res, nil
}

// TestInterruptedWhileLate interrupts a run while it makes an interface, which describe calls show
// late: the run removes it all the same.
func TestInterruptedWhileLate(t *testing.T) {
	account, j := inProcess(cloud.Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	j.unrecorded, j.Lag = true, 10*time.Second
	j.sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	late := &lateAnswers{next: j.Transport, end: cancel, looks: 3}
	j.Transport = late
	if _, err := Run(ctx, j); err == nil || !late.lost {
		t.Fatalf("%v; lost %t", err, late.lost)
	}
	if l := left(account); len(l) != 0 {
		t.Errorf("left %v", l)
	}
}

// TestPolicy checks that the policy allows everything that a run and a cleanup do, and that each of
// its actions is needed.
func TestPolicy(t *testing.T) {
	var actions []string
	var doc struct{ Statement []struct{ Action []string } }
	if err := json.Unmarshal([]byte(Policy("aws", "us-east-1", "*", "/certify")), &doc); err != nil {
		t.Fatal(err)
	}
	for _, s := range doc.Statement {
		actions = append(actions, s.Action...)
	}
	slices.Sort(actions)
	if denied := underPolicy(t, ""); len(denied) != 0 {
		t.Errorf("the policy does not allow %q", denied)
	}
	for _, a := range slices.Compact(actions) {
		if denied := underPolicy(t, a); !slices.Contains(denied, a) {
			t.Errorf("without %s only %q was denied: the action is not needed", a, denied)
		}
	}
}

// underPolicy makes a run and a cleanup with the policy, without an action, and returns the denied
// calls.
func underPolicy(t *testing.T, without string) (denied []string) {
	t.Helper()
	var policies iam.Policies
	var mu sync.Mutex
	account, j := inProcess(cloud.Options{Authorize: func(r cloud.AccessRequest) error {
		err := policies.Authorize(r)
		if err != nil {
			mu.Lock()
			denied = append(denied, r.Action)
			mu.Unlock()
		}
		return err
	}})
	j.Emulator = false // AWS refuses what only emulators are asked
	text := Policy("aws", "us-east-1", j.Subnet, j.Prefix)
	if without != "" {
		text = strings.ReplaceAll(text, `"`+without+`"`, `"none:None"`)
	}
	p, err := iam.ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	policies = iam.Policies{p}
	_, err = Run(t.Context(), j)
	_, cerr := Cleanup(t.Context(), j)
	if err := errors.Join(err, cerr); err != nil && without == "" {
		t.Error(err)
	}
	if l := left(account); without == "" && len(l) != 0 {
		t.Errorf("left: %v", l)
	}
	slices.Sort(denied)
	return slices.Compact(denied)
}

// TestMoto runs against moto: its known differences are those of the recording, and nothing is
// left.
func TestMoto(t *testing.T) {
	address := mototest.Start(t)
	j := Judge{Name: "moto", Prefix: "/certify", Run: "test", Emulator: true, Lag: 5 * time.Second, Config: aws.Config{
		Region: "us-east-1", BaseEndpoint: &address,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
	}}
	rec, err := Run(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	known, err := ReadJudgements(recordings + "moto.judged.json")
	if err != nil {
		t.Fatal(err)
	}
	check(t, model(t), rec, known)
	if again, err := Cleanup(t.Context(), j); err != nil || len(again.Interfaces)+len(again.Parameters) != 0 {
		t.Errorf("the run has left %v: %v", again, err)
	}
	// What a killed run leaves there is found, too.
	ctx, cancel := context.WithCancelCause(t.Context())
	j.Transport = &ending{next: http.DefaultTransport, at: 40, killed: true, end: cancel}
	if _, err := Run(ctx, j); err == nil {
		t.Fatal("the run was not ended")
	}
	j.Transport = nil
	if done, err := Cleanup(t.Context(), j); err != nil || len(done.Interfaces) != 2 || len(done.Parameters) == 0 {
		t.Errorf("the cleanup removed %v: %v", done, err)
	}
	if again, err := Cleanup(t.Context(), j); err != nil || len(again.Interfaces)+len(again.Parameters) != 0 {
		t.Errorf("a second cleanup removed %v: %v", again, err)
	}
}

// TestSubnet checks what furnish says about subnets that do not do.
func TestSubnet(t *testing.T) {
	account, j := inProcess(cloud.Options{})
	j.Subnet = noSubnet
	if _, err := Run(t.Context(), j); code(err) != "InvalidSubnetID.NotFound" {
		t.Errorf("an unknown subnet: %v", err)
	}
	account.Fault(func(cloud.Call) cloud.FaultAction {
		return cloud.FaultAction{Kind: cloud.FaultFail, Code: "AuthFailure", Status: 401}
	})
	if _, err := Run(t.Context(), j); code(err) != "AuthFailure" || errors.As(err, new(*LeftError)) {
		t.Errorf("wrong credentials: %v", err)
	}
	account.Fault(nil)
	vpc := account.CreateVPC(netipPrefix("10.9.0.0/16"))
	j.Subnet = account.CreateSubnet(vpc, netipPrefix("10.9.1.0/28"))
	account.ReserveCIDR(j.Subnet, netipPrefix("10.9.1.8/29"), "explicit")
	if _, err := Run(t.Context(), j); err == nil || len(left(account)) != 0 {
		t.Errorf("a subnet without room: %v; left %v", err, left(account))
	}
	j.Subnet = account.CreateSubnet(vpc, netipPrefix("10.9.2.0/27"))
	rec, err := Run(t.Context(), j)
	if outcome, _ := rec.outcome("assign many"); err != nil || !strings.HasPrefix(outcome, notAsked) {
		t.Errorf("a small subnet: %v; %s", err, outcome)
	}
	if l := left(account); len(l) != 0 {
		t.Errorf("left: %v", l)
	}
}
