package cloud

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/emr"
	emrtypes "github.com/aws/aws-sdk-go-v2/service/emr/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// TestRefused: unsigned calls, wrong credentials, and what the model does not know.
func TestRefused(t *testing.T) {
	w := newWorld(t, Options{})
	server := httptest.NewServer(w.Handler())
	defer server.Close()
	good := w.Credentials(w.cores[0].InstanceID)
	wrongSecret, wrongToken, unknown := good, good, good
	wrongSecret.SecretAccessKey = "wrong"
	wrongToken.SessionToken = "wrong"
	unknown.AccessKeyID = "ASIAUNKNOWNUNKNOWN00"
	for _, test := range []struct {
		name     string
		creds    aws.Credentials
		region   string
		ssm, ec2 string
	}{
		{"good", good, "us-east-1", "", ""},
		{"wrong secret", wrongSecret, "us-east-1", "InvalidSignatureException", "SignatureDoesNotMatch"},
		{"wrong token", wrongToken, "us-east-1", "UnrecognizedClientException", "AuthFailure"},
		{"unknown key", unknown, "us-east-1", "UnrecognizedClientException", "AuthFailure"},
		{"other region", good, "eu-west-1", "InvalidSignatureException", "SignatureDoesNotMatch"},
	} {
		c := newClients(aws.Config{Region: test.region, BaseEndpoint: &server.URL, Credentials: static(test.creds), Retryer: func() aws.Retryer { return aws.NopRetryer{} }})
		_, err := c.ssm.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{})
		if code(err) != test.ssm {
			t.Errorf("%s: SSM says %v, want %q", test.name, err, test.ssm)
		}
		_, err = c.ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
		if code(err) != test.ec2 {
			t.Errorf("%s: EC2 says %v, want %q", test.name, err, test.ec2)
		}
	}
	for _, test := range []struct {
		name, target, body string
		status             int
		want               string
	}{
		{"unsigned SSM", "AmazonSSM.GetParameter", `{"Name":"/x"}`, 400, "MissingAuthenticationTokenException"},
		{"unsigned EC2", "", "Action=DescribeVpcs&Version=2016-11-15", 403, "MissingAuthenticationToken"},
		{"unknown action", "AmazonSSM.Fly", `{}`, 501, "ModelNotImplemented"},
		{"unknown EC2 action", "", "Action=Fly&Version=2016-11-15", 501, "ModelNotImplemented"},
		{"unknown service", "DynamoDB_20120810.GetItem", `{}`, 501, "ModelNotImplemented"},
		{"unknown query service", "", "Action=ListUsers&Version=2010-05-08", 501, "ModelNotImplemented"},
	} {
		req := httptest.NewRequest("POST", "/", strings.NewReader(test.body))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if test.target != "" {
			req.Header.Set("Content-Type", contentJSON)
			req.Header.Set("X-Amz-Target", test.target)
		}
		rec := httptest.NewRecorder()
		w.Handler().ServeHTTP(rec, req)
		if rec.Code != test.status || !strings.Contains(rec.Body.String(), test.want) {
			t.Errorf("%s: %d %s, want %d %s", test.name, rec.Code, rec.Body, test.status, test.want)
		}
	}
	if calls := w.Calls(); len(calls) != 16 {
		t.Errorf("%d calls recorded, want all 16", len(calls))
	}
	_, err := w.on("").ssm.GetInventory(t.Context(), &ssm.GetInventoryInput{})
	if code(err) != "ModelNotImplemented" || !strings.Contains(message(err), "ssm:GetInventory") {
		t.Errorf("unknown action: %v", err)
	}
	in := putInput("/x", "v")
	in.Policies = aws.String("[]")
	if _, err := w.on("").ssm.PutParameter(t.Context(), in); code(err) != "ModelNotImplemented" || !strings.Contains(message(err), "Policies") {
		t.Errorf("unknown parameter: %v", err)
	}
	_, err = w.on("").ec2.AssignPrivateIpAddresses(t.Context(), &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: aws.String(w.master.ENI), SecondaryPrivateIpAddressCount: aws.Int32(1)})
	if code(err) != "ModelNotImplemented" || !strings.Contains(message(err), "SecondaryPrivateIpAddressCount") {
		t.Errorf("unknown parameter: %v", err)
	}
	if len(w.Parameters()) != 0 {
		t.Error("a refused call had an effect")
	}
}

// TestQuotas measures bursts and rates in virtual time.
func TestQuotas(t *testing.T) {
	for _, test := range []struct {
		name        string
		call        func(context.Context, clients, *world) error
		burst, rate float64
		code        string
		status      int
	}{
		{"PutParameter", func(ctx context.Context, c clients, w *world) error {
			in := putInput("/x", "v")
			in.Overwrite = aws.Bool(true)
			_, err := c.ssm.PutParameter(ctx, in)
			return err
		}, 3, 3, "ThrottlingException", 400},
		{"GetParametersByPath", func(ctx context.Context, c clients, w *world) error {
			_, err := c.ssm.GetParametersByPath(ctx, &ssm.GetParametersByPathInput{Path: aws.String("/x")})
			return err
		}, 40, 40, "ThrottlingException", 400},
		{"DescribeParameters", func(ctx context.Context, c clients, w *world) error {
			_, err := c.ssm.DescribeParameters(ctx, &ssm.DescribeParametersInput{})
			return err
		}, 3, 3, "ThrottlingException", 400},
		{"AssignPrivateIpAddresses", func(ctx context.Context, c clients, w *world) error {
			_, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(w.master.ENI, false, "10.0.1.21"))
			return err
		}, 100, 5, "RequestLimitExceeded", 503},
		{"DescribeInstances by id", func(ctx context.Context, c clients, w *world) error {
			_, err := c.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{w.master.InstanceID}})
			return err
		}, 100, 20, "RequestLimitExceeded", 503},
		{"DescribeInstances, all", func(ctx context.Context, c clients, w *world) error {
			_, err := c.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{})
			return err
		}, 50, 10, "RequestLimitExceeded", 503},
		{"CreateTags", func(ctx context.Context, c clients, w *world) error {
			_, err := c.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{w.master.InstanceID}, Tags: []ec2types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
			return err
		}, 100, 10, "RequestLimitExceeded", 503},
		{"DescribeCluster", func(ctx context.Context, c clients, w *world) error {
			_, err := c.emr.DescribeCluster(ctx, &emr.DescribeClusterInput{ClusterId: &w.cluster.ID})
			return err
		}, 10, 1, "ThrottlingException", 400},
		{"ListInstances", func(ctx context.Context, c clients, w *world) error {
			_, err := c.emr.ListInstances(ctx, &emr.ListInstancesInput{ClusterId: &w.cluster.ID})
			return err
		}, 10, 0.5, "ThrottlingException", 400},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Options{Quotas: DefaultQuotas()})
			c := w.on(w.cores[0].InstanceID)
			passed := func(d time.Duration) float64 {
				n := 0.0
				for end := time.Now().Add(d); !time.Now().After(end); time.Sleep(20 * time.Millisecond) {
					err := test.call(t.Context(), c, w)
					switch {
					case err == nil:
						n++
					case code(err) != test.code || statusOf(err) != test.status:
						t.Fatalf("%s: %v, want %d %s", test.name, err, test.status, test.code)
					}
				}
				return n
			}
			n := 0.0
			for range 200 {
				if err := test.call(t.Context(), c, w); err == nil {
					n++
				}
			}
			if n != test.burst {
				t.Errorf("%s: a burst of %v, want %v", test.name, n, test.burst)
			}
			if n := passed(10 * time.Second); n < 10*test.rate-1 || n > 10*test.rate+1 {
				t.Errorf("%s: %v in 10 s, want %v", test.name, n, 10*test.rate)
			}
		})
	}
}

func TestDrainAndExhaust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{Quotas: DefaultQuotas()})
		c := w.on("")
		passed := func() int {
			n := 0
			for range 1000 {
				if _, err := c.ssm.GetParameters(t.Context(), &ssm.GetParametersInput{Names: []string{"/x"}}); err == nil {
					n++
				}
				time.Sleep(10 * time.Millisecond)
			}
			return n
		}
		w.Exhaust(BucketSSMReads)
		if n := passed(); n < 398 || n > 401 {
			t.Errorf("%d reads in 10 s without others, want 400", n)
		}
		w.Drain(BucketSSMReads, 30)
		if n := passed(); n < 98 || n > 101 {
			t.Errorf("%d reads in 10 s beside 30 a second, want 100", n)
		}
		if got := w.Counts()["ssm:GetParameters"]; got.Calls != 2000 || got.Throttled < 1495 || got.Failed != 0 {
			t.Errorf("counts: %+v", got)
		}
	})
}

func TestFaults(t *testing.T) {
	for _, test := range []struct {
		action  FaultAction
		applied bool
		lost    bool
		check   func(error) bool
	}{
		{FaultAction{}, true, false, func(err error) bool { return err == nil }},
		{FaultAction{Kind: FaultFail}, false, false, func(err error) bool { return code(err) == "InternalServerError" && statusOf(err) == 500 }},
		{FaultAction{Kind: FaultFail, Code: "ThrottlingException", Message: "Rate exceeded", Status: 400}, false, false, func(err error) bool { return code(err) == "ThrottlingException" }},
		{FaultAction{Kind: FaultReset}, false, false, func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }},
		{FaultAction{Kind: FaultLose}, true, true, func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }},
		{FaultAction{Kind: FaultFailAfter, Status: 503}, true, true, func(err error) bool { return statusOf(err) == 503 }},
		{FaultAction{Kind: FaultHang}, false, false, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		{FaultAction{Kind: FaultHangAfter}, true, true, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		{FaultAction{Delay: 2 * time.Second}, false, false, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
	} {
		run := func(t *testing.T, w *world, c clients) {
			w.ForgetCalls()
			var asked []Call
			w.Fault(func(call Call) FaultAction {
				asked = append(asked, call)
				return test.action
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := c.ssm.PutParameter(ctx, putInput("/x", "v"))
			if !test.check(err) {
				t.Errorf("%v: %v", test.action.Kind, err)
			}
			w.Fault(nil)
			var calls []Call
			for range 100 { // over HTTP the handler may notice the caller's end a little later
				if calls = w.Calls(); len(calls) == 1 && calls[0].Lost == test.lost {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if applied := len(w.Parameters()) == 1; applied != test.applied || len(calls) != 1 || calls[0].Applied != applied || calls[0].Lost != test.lost || calls[0].Fault != test.action.Kind {
				t.Errorf("%v: applied %t, recorded %+v", test.action.Kind, applied, calls)
			}
			if len(asked) != 1 || asked[0].Key() != "ssm:PutParameter" || asked[0].Caller != w.cores[0].InstanceID || asked[0].Params != "Name=/x Overwrite=false" {
				t.Errorf("the hook was asked: %+v", asked)
			}
		}
		t.Run(fmt.Sprintf("%v/transport", test.action.Kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Options{})
				run(t, w, w.on(w.cores[0].InstanceID))
			})
		})
		t.Run(fmt.Sprintf("%v/http", test.action.Kind), func(t *testing.T) {
			w := newWorld(t, Options{})
			c := w.overHTTP(t, w.cores[0].InstanceID)
			if _, err := c.ssm.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{}); err != nil { // credentials are fetched before the fault
				t.Fatal(err)
			}
			for _, call := range w.Calls() {
				if call.Service == "imds" && call.Code != "" {
					t.Errorf("fetching credentials: %v", call)
				}
			}
			run(t, w, c)
		})
	}
}

// TestThen: the hook's Then runs between effect and response, as the place for a crash.
func TestThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{Latency: func(r *rand.Rand, _ Call) time.Duration { return time.Second }})
		ctx, crash := context.WithCancel(t.Context())
		w.Fault(func(Call) FaultAction { return FaultAction{Then: crash} })
		_, err := w.on("").ssm.PutParameter(ctx, putInput("/x", "v"))
		if !errors.Is(err, context.Canceled) || len(w.Parameters()) != 1 || !w.Calls()[0].Lost {
			t.Errorf("%v, %+v, %+v", err, w.Parameters(), w.Calls())
		}
	})
}

func TestRandomFaults(t *testing.T) {
	hook := RandomFaults(FaultRates{Fail: 0.1, Reset: 0.1, Lose: 0.1, Slow: 0.5, MaxSlow: time.Second}, func(c Call) bool { return c.Service == "ssm" })
	n := map[FaultKind]int{}
	for seed := range uint64(1000) {
		a := hook(Call{Service: "ssm", Seed: mixNumber(seed, 1)})
		n[a.Kind]++
		if b := hook(Call{Service: "ssm", Seed: mixNumber(seed, 1)}); b.Kind != a.Kind || b.Delay != a.Delay {
			t.Fatal("the same call got another fault")
		}
	}
	for _, k := range []FaultKind{FaultFail, FaultReset, FaultLose} {
		if n[k] < 60 || n[k] > 140 {
			t.Errorf("%v: %d of 1000, want about 100", k, n[k])
		}
	}
	if a := hook(Call{Service: "ec2", Seed: 1}); a.Kind != FaultNone || a.Delay != 0 {
		t.Error("a call that was to be left alone got a fault")
	}
}

func TestAuthorize(t *testing.T) {
	var asked []AccessRequest
	w := newWorld(t, Options{Authorize: func(a AccessRequest) error {
		asked = append(asked, a)
		if a.Caller.InstanceID != "" {
			return errors.New("no")
		}
		return nil
	}})
	id := w.cores[0].InstanceID
	c, ctx := w.on(id), t.Context()
	user := "User: arn:aws:sts::123456789012:assumed-role/EMR_EC2_DefaultRole/" + id + " is not authorized to perform: "
	_, err := c.ssm.PutParameter(ctx, putInput("/x", "v"))
	want := user + "ssm:PutParameter on resource: arn:aws:ssm:us-east-1:123456789012:parameter/x because no identity-based policy allows the ssm:PutParameter action"
	if code(err) != "AccessDeniedException" || statusOf(err) != 400 || message(err) != want {
		t.Errorf("SSM: %v", err)
	}
	_, err = c.ec2.AssignPrivateIpAddresses(ctx, assignInput(w.master.ENI, false, "10.0.1.21"))
	want = "You are not authorized to perform this operation. " + user + "ec2:AssignPrivateIpAddresses on resource: arn:aws:ec2:us-east-1:123456789012:network-interface/" + w.master.ENI
	if code(err) != "UnauthorizedOperation" || statusOf(err) != 403 || !strings.HasPrefix(message(err), want) {
		t.Errorf("EC2: %v", err)
	}
	_, err = c.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{DryRun: aws.Bool(true)})
	if code(err) != "UnauthorizedOperation" || asked[2].Resources[0] != "*" {
		t.Errorf("EC2 describe: %v, %+v", err, asked[2])
	}
	if _, err := w.on("").ssm.PutParameter(ctx, putInput("/x", "v")); err != nil {
		t.Errorf("operator: %v", err)
	}
}

func TestConcurrentWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{ConcurrentCreates: Race{Probability: 1, Window: time.Second}, ConcurrentUpdates: Race{Probability: 0}})
		a, b := w.on(w.cores[0].InstanceID), w.on(w.cores[1].InstanceID)
		put := func(c clients) error {
			_, err := c.ssm.PutParameter(t.Context(), putInput("/x", "v"))
			return err
		}
		if err := errors.Join(put(a), put(b)); err != nil {
			t.Errorf("two creates at once: %v", err)
		}
		if err := put(a); code(err) != "ParameterAlreadyExists" {
			t.Errorf("the creator's second create: %v", err)
		}
		time.Sleep(2 * time.Second)
		if err := put(b); code(err) != "ParameterAlreadyExists" {
			t.Errorf("a create after the window: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{ConcurrentUpdates: Race{Probability: 1, Window: time.Second}})
		a, b := w.on(w.cores[0].InstanceID), w.on(w.cores[1].InstanceID)
		in := putInput("/x", "v")
		in.Overwrite = aws.Bool(true)
		if _, err := a.ssm.PutParameter(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		if _, err := b.ssm.PutParameter(t.Context(), in); code(err) != "TooManyUpdates" {
			t.Errorf("update at once: %v", err)
		}
		if _, err := b.ssm.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: in.Name}); code(err) != "TooManyUpdates" {
			t.Errorf("delete at once: %v", err)
		}
		time.Sleep(2 * time.Second)
		if _, err := b.ssm.PutParameter(t.Context(), in); err != nil {
			t.Errorf("later: %v", err)
		}
	})
}

func TestStaleReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{StaleSSM: Staleness{Probability: 1, MaxAge: 2 * time.Second}})
		c := w.on("")
		if _, err := c.ssm.PutParameter(t.Context(), putInput("/x", "v")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		found := 0
		for range 100 {
			if _, err := c.ssm.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/x")}); err == nil {
				found++
			} else if code(err) != "ParameterNotFound" {
				t.Fatal(err)
			}
		}
		if found < 20 || found > 80 {
			t.Errorf("%d of 100 reads saw it, want about 50", found)
		}
		time.Sleep(2 * time.Second)
		if _, err := c.ssm.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/x")}); err != nil {
			t.Errorf("a read later than the greatest age: %v", err)
		}
	})
}

// trace runs a few nodes that contend for addresses and returns the record.
func trace(seed uint64, o Options) (out []string) {
	o.Seed, o.UniqueTimes, o.Quotas = seed, true, WithSSMBurst(DefaultQuotas(), 5)
	w := New(o)
	s := w.CreateSubnet(w.CreateVPC(netip.MustParsePrefix("10.0.0.0/16")), netip.MustParsePrefix("10.0.1.0/24"))
	w.ReserveCIDR(s, netip.MustParsePrefix("10.0.1.16/28"), "explicit")
	cl, err := w.LaunchCluster(ClusterSpec{Subnet: s, Cores: 7})
	if err != nil {
		panic(err)
	}
	w.Fault(RandomFaults(FaultRates{Fail: 0.05, Reset: 0.05, Lose: 0.05, Slow: 0.2, MaxSlow: time.Second}, nil))
	var wg sync.WaitGroup
	for _, n := range cl.Nodes {
		wg.Go(func() {
			c := (&world{Cloud: w}).on(n.InstanceID)
			ctx := context.Background()
			for a := 16; a < 24; {
				address := fmt.Sprintf("10.0.1.%d", a)
				_, err := c.ssm.PutParameter(ctx, putInput("/x/"+address, n.InstanceID))
				if code(err) == "ParameterAlreadyExists" {
					a++
					continue
				}
				if err == nil {
					_, err = c.ec2.AssignPrivateIpAddresses(ctx, assignInput(n.ENI, false, address))
					if err == nil {
						return
					}
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	for _, call := range w.Calls() {
		out = append(out, call.String())
	}
	return out
}

// TestDeterminism: the same seed gives the same trace, another one another.
func TestDeterminism(t *testing.T) {
	run := func(seed uint64, latency bool) (out []string) {
		o := Options{StaleSSM: Staleness{0.3, time.Second}, StaleEC2: Staleness{0.3, time.Second}, RemapDelay: Range{0, time.Second}}
		if latency {
			o.Latency = func(r *rand.Rand, _ Call) time.Duration { return time.Duration(r.IntN(100)) * time.Millisecond }
		}
		synctest.Test(t, func(t *testing.T) { out = trace(seed, o) })
		return out
	}
	for seed := range uint64(10) {
		a, b := run(seed, seed%2 == 0), run(seed, seed%2 == 0)
		if !slices.Equal(a, b) {
			for i := range min(len(a), len(b)) {
				if a[i] != b[i] {
					t.Fatalf("seed %d, call %d:\n%s\n%s", seed, i, a[i], b[i])
				}
			}
			t.Fatalf("seed %d: %d and %d calls", seed, len(a), len(b))
		}
		if slices.Equal(a, run(seed+1000, seed%2 == 0)) {
			t.Errorf("seeds %d and %d give the same trace", seed, seed+1000)
		}
	}
}

func TestEMRCalls(t *testing.T) {
	bothWays(t, Options{}, func(t *testing.T, w *world, c clients) {
		ctx := ctxFor(t)
		fleet, err := w.LaunchCluster(ClusterSpec{Subnet: w.subnet, Cores: 2, Tasks: 1, Fleets: true, ReleaseLabel: "emr-6.15.0"})
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.emr.DescribeCluster(ctx, &emr.DescribeClusterInput{ClusterId: &fleet.ID})
		if err != nil || out.Cluster.InstanceCollectionType != emrtypes.InstanceCollectionTypeInstanceFleet || *out.Cluster.ReleaseLabel != "emr-6.15.0" ||
			out.Cluster.Status.State != emrtypes.ClusterStateRunning || *out.Cluster.Ec2InstanceAttributes.Ec2SubnetId != w.subnet || out.Cluster.Status.Timeline.CreationDateTime == nil {
			t.Errorf("cluster: %+v %v", out, err)
		}
		if _, err := c.emr.DescribeCluster(ctx, &emr.DescribeClusterInput{ClusterId: aws.String("j-NONE")}); code(err) != "InvalidRequestException" {
			t.Errorf("unknown cluster: %v", err)
		}
		groups, err := c.emr.ListInstanceGroups(ctx, &emr.ListInstanceGroupsInput{ClusterId: &w.cluster.ID})
		if err != nil || len(groups.InstanceGroups) != 2 || *groups.InstanceGroups[1].RequestedInstanceCount != 2 || groups.InstanceGroups[1].InstanceGroupType != "CORE" {
			t.Errorf("groups: %+v %v", groups, err)
		}
		if _, err := c.emr.ListInstanceGroups(ctx, &emr.ListInstanceGroupsInput{ClusterId: &fleet.ID}); code(err) != "InvalidRequestException" {
			t.Errorf("groups of fleets: %v", err)
		}
		fleets, err := c.emr.ListInstanceFleets(ctx, &emr.ListInstanceFleetsInput{ClusterId: &fleet.ID})
		if err != nil || len(fleets.InstanceFleets) != 3 || *fleets.InstanceFleets[1].TargetOnDemandCapacity != 2 {
			t.Errorf("fleets: %+v %v", fleets, err)
		}
		if _, err := c.emr.ListInstanceFleets(ctx, &emr.ListInstanceFleetsInput{ClusterId: &w.cluster.ID}); code(err) != "InvalidRequestException" {
			t.Errorf("fleets of groups: %v", err)
		}
		list, err := c.emr.ListInstances(ctx, &emr.ListInstancesInput{ClusterId: &w.cluster.ID, InstanceGroupTypes: []emrtypes.InstanceGroupType{"CORE"}})
		if err != nil || len(list.Instances) != 2 || *list.Instances[0].Ec2InstanceId != w.cores[0].InstanceID {
			t.Errorf("instances: %+v %v", list, err)
		}
	})
}
