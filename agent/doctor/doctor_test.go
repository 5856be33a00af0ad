package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/agenttest"
	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
)

func (n *testNode) doctor() Diagnosis {
	n.T.Helper()
	before := n.Snapshot()
	parameters := n.Cloud.Parameters()
	held := n.Cloud.ENIs()
	d, err := Doctor(n.T.Context(), n.cfg, n.Env)
	if err != nil {
		n.T.Fatal(err)
	}
	if after := n.Snapshot(); !slices.Equal(before, after) {
		n.T.Errorf("files were changed: %q to %q", before, after)
	}
	if after := n.Cloud.Parameters(); len(after) != len(parameters) {
		n.T.Errorf("parameters: %v, before %v", after, parameters)
	}
	for i, e := range n.Cloud.ENIs() {
		if !slices.Equal(e.Addresses, held[i].Addresses) {
			n.T.Errorf("%s: %v, before %v", e.ID, e.Addresses, held[i].Addresses)
		}
	}
	return d
}

func textOf(t *testing.T, d Diagnosis) string {
	t.Helper()
	var b strings.Builder
	if err := d.Render(&b, "text"); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// expect fails the test unless the diagnosis has a finding with this check and subject, and this
// result.
func expect(t *testing.T, d Diagnosis, name, result string) {
	t.Helper()
	for _, f := range d.Findings {
		if f.name() != name {
			continue
		}
		if f.Result != result {
			t.Errorf("%s is %s, want %s: %s", name, f.Result, result, f.Detail)
		}
		return
	}
	t.Errorf("no finding %s in\n%s", name, textOf(t, d))
}

// said returns the named findings, for a golden file.
func said(d Diagnosis, names ...string) string {
	var b strings.Builder
	for _, f := range d.Findings {
		if !slices.Contains(names, f.name()) {
			continue
		}
		fmt.Fprintf(&b, "%s: %s: %s\n", f.name(), f.Result, f.Detail)
		if f.Remedy != "" {
			fmt.Fprintf(&b, "  remedy: %s\n", f.Remedy)
		}
	}
	return b.String()
}

// notOK returns the names of the findings that are not ok.
func notOK(d Diagnosis) (names []string) {
	for _, f := range d.Findings {
		if f.Result != resultOK {
			names = append(names, f.name())
		}
	}
	return names
}

// expectOnly fails the test unless the named findings are the only ones that are not ok.
func expectOnly(t *testing.T, d Diagnosis, code exit.Code, names ...string) {
	t.Helper()
	if got := notOK(d); !slices.Equal(got, names) || d.ExitCode() != code {
		t.Errorf("not ok are %q with exit code %d, want %q with %d\n%s", got, d.ExitCode(), names, code, textOf(t, d))
	}
}

func TestDoctorHealthy(t *testing.T) {
	messages := golden.Open(t, "healthy.txt")
	synctest.Test(t, func(t *testing.T) {
		n, _ := newNode(t, cloud.Options{VerifyInProcess: true})
		d := n.doctor()
		expectOnly(t, d, exit.OK)
		messages.Is(t, "a new node", said(d, "permission ec2:AssignPrivateIpAddresses", "address 10.0.1.21-10.0.1.22", "pool core", "dns ssm", "reservation"))
		n.apply()
		n.cfg = agent.DefaultConfig()
		d = n.doctor()
		expectOnly(t, d, exit.OK)
		messages.Is(t, "a node with its static IP", said(d, "static-ip", "permission ec2:AssignPrivateIpAddresses", "permission ec2:UnassignPrivateIpAddresses",
			"address 10.0.1.21", "address 10.0.1.22"))
		for _, call := range n.Cloud.Calls() {
			if call.Code == "ModelNotImplemented" {
				t.Error(call)
			}
		}
	})
}

// TestDoctorPermissions takes each action away, one at a time.
func TestDoctorPermissions(t *testing.T) {
	messages := golden.Open(t, "permissions.txt")
	for _, test := range []struct {
		action, result string
		also           []string // other findings that cannot be had then
	}{
		{"ssm:GetParameters", resultFailed, []string{"address 10.0.1.21", "address 10.0.1.22", "run"}},
		{"ssm:GetParametersByPath", resultFailed, nil},
		{"ssm:PutParameter", resultFailed, nil},
		{"ssm:DeleteParameter", resultFailed, []string{"permission ssm:PutParameter"}},
		{"ec2:DescribeInstances", resultFailed, []string{"metadata-options", "run"}},
		{"ec2:DescribeNetworkInterfaces", resultFailed, []string{"address 10.0.1.21", "address 10.0.1.22", "room", "run"}},
		{"ec2:DescribeInstanceTypes", resultFailed, []string{"room"}},
		{"ec2:AssignPrivateIpAddresses", resultFailed, nil},
		{"ec2:UnassignPrivateIpAddresses", resultFailed, nil},
		{"ec2:CreateTags", resultWarning, nil},
		{"ec2:GetSubnetCidrReservations", "", []string{"reservation"}},
	} {
		t.Run(strings.ReplaceAll(test.action, ":", "-"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, _ := newNode(t, cloud.Options{Authorize: func(a cloud.AccessRequest) error {
					if a.Action == test.action {
						return errors.New("taken out")
					}
					return nil
				}})
				d := n.doctor()
				names := slices.Clone(test.also)
				code := exit.OK
				if test.result != "" {
					expect(t, d, "permission "+test.action, test.result)
					names = append(names, "permission "+test.action)
				} else {
					expect(t, d, "reservation", resultUnknown)
				}
				if test.result == resultFailed {
					code = exit.Permission
				}
				messages.Is(t, test.action, said(d, "permission "+test.action, "reservation", "run"))
				got := notOK(d)
				slices.Sort(got)
				slices.Sort(names)
				if !slices.Equal(got, names) || d.ExitCode() != code {
					t.Errorf("not ok are %q with exit code %d, want %q with %d\n%s", got, d.ExitCode(), names, code, textOf(t, d))
				}
			})
		})
	}
}

func TestDoctorEndpoints(t *testing.T) {
	messages := golden.Open(t, "endpoints.txt")
	host := "ssm.us-east-1.amazonaws.com"
	skipped := func(services ...string) (names []string) {
		for _, s := range services {
			if s == "ec2" {
				for _, a := range []string{"DescribeInstances", "DescribeNetworkInterfaces", "DescribeInstanceTypes", "AssignPrivateIpAddresses", "UnassignPrivateIpAddresses", "CreateTags"} {
					names = append(names, "permission ec2:"+a)
				}
				continue
			}
			for _, a := range []string{"GetParameters", "GetParametersByPath", "PutParameter", "DeleteParameter"} {
				names = append(names, "permission ssm:"+a)
			}
		}
		return names
	}
	lost := append([]string{""}, append(skipped("ssm"), "address 10.0.1.21", "address 10.0.1.22", "run")...)
	for _, test := range []struct {
		name   string
		breaks func(n *testNode, w *agenttest.Network)
		not    []string // not ok

		code exit.Code
	}{
		{"no such name", func(_ *testNode, w *agenttest.Network) { delete(w.Names, host) }, append([]string{"dns ssm"}, lost[1:]...),
			exit.Unreachable},
		{"no name server answers", func(n *testNode, _ *agenttest.Network) {
			n.Env.Resolve = failing(n.Env.Resolve, host, &net.DNSError{Err: "i/o timeout", Name: host, IsTimeout: true})
		}, append([]string{"dns ssm"}, lost[1:]...), exit.Unreachable},
		{"a name server fails", func(n *testNode, _ *agenttest.Network) {
			n.Env.Resolve = failing(n.Env.Resolve, host, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true})
		}, append([]string{"dns ssm"}, lost[1:]...), exit.Unreachable},
		{"the first name server is silent", func(n *testNode, _ *agenttest.Network) {
			resolve := n.Env.Resolve
			n.Env.Resolve = func(ctx context.Context, name string) ([]netip.Addr, error) {
				if name == host {
					time.Sleep(10 * time.Second) // two silent ones
				}
				return resolve(ctx, name)
			}
		}, []string{"dns ssm"}, exit.OK},
		{"private, black hole", func(_ *testNode, w *agenttest.Network) { w.Answer = onlyFor(w.Names, host, agenttest.ErrNoAnswer) }, append([]string{"tcp ssm"}, lost[1:]...),
			exit.Unreachable},
		{"public, black hole", func(_ *testNode, w *agenttest.Network) {
			w.Answer = onlyFor(w.Names, host, agenttest.ErrNoAnswer)
			w.Names[host] = netiptest.Addrs("52.94.1.1")
			w.Answer = func(_ netip.Addr, to netip.AddrPort) error {
				if to.Addr() == netip.MustParseAddr("52.94.1.1") {
					return agenttest.ErrNoAnswer
				}
				return nil
			}
		}, append([]string{"tcp ssm"}, lost[1:]...), exit.Unreachable},
		{"refused", func(_ *testNode, w *agenttest.Network) { w.Answer = onlyFor(w.Names, host, syscall.ECONNREFUSED) }, append([]string{"tcp ssm"}, lost[1:]...),
			exit.Unreachable},
		{"no route", func(_ *testNode, w *agenttest.Network) { w.Answer = onlyFor(w.Names, host, syscall.ENETUNREACH) }, append([]string{"tcp ssm"}, lost[1:]...),
			exit.Unreachable},
		{"one of two", func(_ *testNode, w *agenttest.Network) {
			w.Answer = onlyFor(w.Names, host, agenttest.ErrNoAnswer)
			w.Names[host] = netiptest.Addrs("10.0.9.20 10.0.9.11")
		}, []string{"tcp ssm"}, exit.OK},
		{"S3 is for information", func(_ *testNode, w *agenttest.Network) {
			w.Answer = onlyFor(w.Names, "s3.us-east-1.amazonaws.com", agenttest.ErrNoAnswer)
			w.Names["s3.us-east-1.amazonaws.com"] = netiptest.Addrs("52.94.1.1")
			w.Answer = func(_ netip.Addr, to netip.AddrPort) error {
				if to.Addr() == netip.MustParseAddr("52.94.1.1") {
					return agenttest.ErrNoAnswer
				}
				return nil
			}
		}, []string{"tcp s3"}, exit.OK},
		{"it connects and says nothing", func(n *testNode, _ *agenttest.Network) {
			n.Cloud.Fault(func(c cloud.Call) cloud.FaultAction {
				if c.Key() == "endpoint:Knock" {
					return cloud.FaultAction{Kind: cloud.FaultHang}
				}
				return cloud.FaultAction{}
			})
		}, nil, exit.Unreachable},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, w := newNode(t, cloud.Options{})
				test.breaks(n, w)
				d := n.doctor()
				if test.not != nil {
					expectOnly(t, d, test.code, test.not...)
					messages.Is(t, test.name, said(d, test.not[0]))
				} else {
					expect(t, d, "tls ssm", resultFailed)
					messages.Is(t, test.name, strings.Replace(said(d, "tls ssm"), " (Client.Timeout exceeded while awaiting headers)", "", 1)) // it depends on who is first
				}
				if d.Seconds > 40 {
					t.Errorf("took %v s", d.Seconds)
				}
			})
		})
	}
}

func (d Diagnosis) result(name string) string {
	for _, f := range d.Findings {
		if f.name() == name {
			return f.Result
		}
	}
	return ""
}

// onlyFor gives a host an address of its own, at which connections end with err.
func onlyFor(names map[string][]netip.Addr, host string, err error) func(netip.Addr, netip.AddrPort) error {
	own := netip.MustParseAddr("10.0.9.20")
	names[host] = []netip.Addr{own}
	return func(_ netip.Addr, to netip.AddrPort) error {
		if to.Addr() == own {
			return err
		}
		return nil
	}
}

func TestDoctorClock(t *testing.T) {
	messages := golden.Open(t, "clock.txt")
	for _, test := range []struct {
		skew   time.Duration
		result string
	}{
		{30 * time.Second, resultOK},
		{2 * time.Minute, resultWarning},
		{-2 * time.Minute, resultWarning},
		{10 * time.Minute, resultFailed},
		{-time.Hour, resultFailed},
	} {
		synctest.Test(t, func(t *testing.T) {
			n, _ := newNode(t, cloud.Options{ClockSkew: test.skew, VerifyInProcess: true})
			d := n.doctor()
			expect(t, d, "clock", test.result)
			messages.Is(t, test.skew.String(), said(d, "clock", "permission ec2:DescribeInstances"))
			if test.result == resultFailed {
				if d.ExitCode() != exit.Permission || d.result("permission ssm:PutParameter") != resultOK { // there the SDK corrects itself
					t.Errorf("exit code %d\n%s", d.ExitCode(), textOf(t, d))
				}
				expect(t, d, "permission ec2:DescribeInstances", resultFailed)
			}
		})
	}
}

// TestDoctorClockByS3: where neither EC2 nor Parameter Store answers, S3 tells the time.
func TestDoctorClockByS3(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, w := newNode(t, cloud.Options{ClockSkew: 10 * time.Minute, VerifyInProcess: true})
		delete(w.Names, "ssm.us-east-1.amazonaws.com")
		delete(w.Names, "ec2.us-east-1.amazonaws.com")
		expect(t, n.doctor(), "clock", resultFailed)
	})
}

// TestWrongClock checks that the error of a run names the clock, whether EC2 or SSM refused the
// signature. The SDK is kept from correcting the clock itself.
func TestWrongClock(t *testing.T) {
	messages := golden.Open(t, "wrong-clock.txt")
	synctest.Test(t, func(t *testing.T) {
		n, _ := newNode(t, cloud.Options{ClockSkew: 20 * time.Minute})
		n.cfg.Scope, n.cfg.Given.Scope = "all", true // one call to EC2 at a time: a second one would profit from what the SDK learns of the first
		_, err := agent.Apply(t.Context(), n.cfg, n.Env)
		messages.Is(t, "a run", err.Error())
		if exit.CodeOf(err) != exit.Permission || !slices.Contains(exit.Remedies(err), ec2.ClockRemedy) {
			t.Errorf("%v (code %d), remedies %q", err, exit.CodeOf(err), exit.Remedies(err))
		}
	})
	t.Setenv("AWS_DISABLE_CLOCK_SKEW_CORRECTION", "true")
	for _, skew := range []time.Duration{20 * time.Minute, -20 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			n, _ := newNode(t, cloud.Options{ClockSkew: skew})
			n.cfg.Scope, n.cfg.Given.Scope = "all", true
			_, err := agent.Apply(t.Context(), n.cfg, n.Env)
			if exit.CodeOf(err) != exit.Permission || !slices.Contains(exit.Remedies(err), ec2.ClockRemedy) {
				t.Errorf("skew %v: %v (code %d), remedies %q", skew, err, exit.CodeOf(err), exit.Remedies(err))
			}
			d := n.doctor()
			expect(t, d, "clock", resultFailed)
			expect(t, d, "permission ssm:PutParameter", resultUnknown)
			expect(t, d, "permission ssm:GetParameters", resultFailed)
			expect(t, d, "permission ec2:DescribeInstances", resultFailed)
			messages.Is(t, "not corrected, skew "+skew.String(), err.Error()+"\n"+said(d, "clock", "permission ssm:GetParameters", "permission ec2:DescribeInstances"))
		})
	}
}

// TestDoctorCutShort checks that a signal ends doctor, which then shows its findings and removes
// its probe.
func TestDoctorCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := newNode(t, cloud.Options{})
		ctx, cancel := context.WithCancelCause(t.Context())
		n.Cloud.Fault(func(c cloud.Call) cloud.FaultAction {
			if c.Key() == "ssm:PutParameter" {
				return cloud.FaultAction{Then: func() { cancel(&exit.SignalError{Signal: syscall.SIGINT}) }}
			}
			return cloud.FaultAction{}
		})
		d, err := Doctor(ctx, n.cfg, n.Env)
		if signal := (*exit.SignalError)(nil); !errors.As(err, &signal) || len(d.Findings) < 10 {
			t.Errorf("%v\n%s", err, textOf(t, d))
		}
		if left := n.Cloud.Parameters(); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		put := slices.ContainsFunc(n.Cloud.Calls(), func(c cloud.Call) bool { return c.Key() == "ssm:PutParameter" && c.Applied })
		if !put {
			t.Error("the probe was never written")
		}
	})
}

// TestDoctorOutOfTime: --timeout ends it with what it knows.
func TestDoctorOutOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := newNode(t, cloud.Options{})
		n.cfg.Timeout = 20 * time.Second
		n.Cloud.Fault(func(c cloud.Call) cloud.FaultAction {
			if c.Service == "ec2" {
				return cloud.FaultAction{Kind: cloud.FaultHang}
			}
			return cloud.FaultAction{}
		})
		d := n.doctor()
		expect(t, d, "time", resultFailed)
		golden.Is(t, "out-of-time.txt", said(d, "time"))
		expect(t, d, "permission ssm:PutParameter", resultOK)
		if d.Seconds > 21 {
			t.Errorf("took %v s", d.Seconds)
		}
	})
}

// On EMR 8 doctor names the endpoint by which EMR reaches the cluster.
func TestDoctorEMR8(t *testing.T) {
	for release, want := range map[string]bool{"emr-spark-8.1.0": true, "emr-7.13.0": false} {
		synctest.Test(t, func(t *testing.T) {
			n, _ := newNode(t, cloud.Options{})
			for path, content := range n.EMRFiles(cloud.FilesFull) {
				n.Write(filepath.Join(n.Env.Root, path), strings.ReplaceAll(string(content), cloud.DefaultRelease, release))
			}
			d := n.doctor()
			expectOnly(t, d, exit.OK)
			if !strings.Contains(said(d, "emr-files"), release) {
				t.Errorf("the release is not named: %s", said(d, "emr-files"))
			}
			if got := strings.Contains(textOf(t, d), "aws.api.us-east-1.emr-service-cell01"); got != want {
				t.Errorf("%s: the endpoint is named: %t", release, got)
			}
		})
	}
}

// failing returns a resolver that fails for one name.
func failing(resolve func(context.Context, string) ([]netip.Addr, error), host string, err error) func(context.Context, string) ([]netip.Addr, error) {
	return func(ctx context.Context, name string) ([]netip.Addr, error) {
		if name == host {
			return nil, err
		}
		return resolve(ctx, name)
	}
}
