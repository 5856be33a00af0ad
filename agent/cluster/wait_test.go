package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// TestWaitEndsWithTheLastNode launches a cluster whose nodes get their addresses one after the
// other. The wait ends with the first look after the last record.
func TestWaitEndsWithTheLastNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, cloud.Options{Seed: 3, BootTime: cloud.Exactly(40 * time.Second), Quotas: cloud.DefaultQuotas()})
		c := a.launch(cloud.ClusterSpec{Cores: 4})
		if err := a.cloud.Await(c.ID, cloud.RoleCore, 1); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var last time.Duration
		go func() {
			for i, n := range c.Nodes {
				time.Sleep(20 * time.Second)
				a.cloud.BeginBootstrap(n.InstanceID)
				a.give(n, fmt.Sprintf("10.0.1.%d", 10+i))
				a.cloud.EndBootstrap(n.InstanceID)
			}
			n, err := a.cloud.AddNode(c.ID, cloud.RoleCore)
			if err != nil {
				t.Error(err)
				return
			}
			time.Sleep(2 * time.Minute)
			a.give(n, "10.0.1.18")
			last = time.Since(began)
		}()
		a.cfg.Wait = 10 * time.Minute
		r, text := a.check(exit.OK)
		took := time.Since(began)
		if took < last || took > last+lookPause+time.Second {
			t.Errorf("took %s, and the last node %s\n%s", took, last, text)
		}
		if r.Looks < 10 || len(r.Nodes) != 6 || r.Throttled != 0 {
			t.Errorf("%d looks, %d throttled\n%s", r.Looks, r.Throttled, text)
		}
		if n := r.Calls["elasticmapreduce:ListBootstrapActions"]; n != 1 {
			t.Errorf("the bootstrap actions were asked for %d times", n)
		}
		for _, call := range []string{"DescribeCluster", "ListInstances", "ListInstanceGroups"} {
			if n := r.Calls["elasticmapreduce:"+call]; n != r.Looks {
				t.Errorf("%d %s calls in %d looks", n, call, r.Looks)
			}
		}
	})
}

// TestWaitEnds ends waits that lead to nothing.
func TestWaitEnds(t *testing.T) {
	for _, test := range []struct {
		name  string
		wait  time.Duration
		setup func(a *account, c *cloud.Cluster) // beside the wait
		most  time.Duration
		least time.Duration
		code  exit.Code
	}{
		{"the time is over", 100 * time.Second, func(*account, *cloud.Cluster) {}, 101 * time.Second, 100 * time.Second, exit.Drifted},
		{"less than a pause", time.Second, func(*account, *cloud.Cluster) {}, 2 * time.Second, time.Second, exit.Drifted},
		{"a failed node is waited for, since its timer tries again", 5 * time.Minute, func(a *account, c *cloud.Cluster) {
			a.tag(c.Nodes[1], "exit code 6, every address is in use")
			time.Sleep(3 * time.Minute)
			a.give(c.Nodes[1], "10.0.1.11")
		}, 200 * time.Second, 3 * time.Minute, exit.OK},
		{"the cluster ends", time.Hour, func(a *account, c *cloud.Cluster) {
			time.Sleep(100 * time.Second)
			a.cloud.TerminateCluster(c.ID)
		}, 2 * time.Minute, 100 * time.Second, exit.Drifted},
		{"EMR becomes unreachable", 5 * time.Minute, func(a *account, c *cloud.Cluster) {
			time.Sleep(time.Minute)
			a.silent = "elasticmapreduce"
			time.Sleep(2 * time.Minute)
			a.give(c.Nodes[1], "10.0.1.11")
		}, 200 * time.Second, 3 * time.Minute, exit.OK},
		{"EMR becomes unreachable before a node has started", 5 * time.Minute, func(a *account, c *cloud.Cluster) {
			if err := a.cloud.Await(c.ID, cloud.RoleCore, 1); err != nil {
				a.t.Error(err)
			}
			time.Sleep(time.Minute)
			a.silent = "elasticmapreduce"
			a.give(c.Nodes[1], "10.0.1.11")
		}, 5*time.Minute + 10*time.Second, 5 * time.Minute, exit.Drifted},
		{"the last look is throttled for ever", 5 * time.Minute, func(a *account, _ *cloud.Cluster) {
			time.Sleep(time.Minute)
			a.cloud.Drain("elasticmapreduce:ListInstances", 1)
			a.cloud.Exhaust("elasticmapreduce:ListInstances")
		}, 5*time.Minute + grace + 5*time.Second, 5 * time.Minute, exit.Drifted},
		{"a permission is taken away", 5 * time.Minute, func(a *account, _ *cloud.Cluster) {
			time.Sleep(time.Minute)
			a.denied = "ssm:GetParametersByPath"
		}, 2 * time.Minute, time.Minute, exit.Permission},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var a *account
				a = newAccount(t, cloud.Options{Seed: 3, Quotas: cloud.DefaultQuotas(), Authorize: func(r cloud.AccessRequest) error {
					if a.denied == r.Action {
						return errors.New("by the test")
					}
					return nil
				}})
				c := a.launch(cloud.ClusterSpec{Cores: 1})
				a.finish(c.Nodes[0])
				a.cfg.Wait = test.wait
				began := time.Now()
				go test.setup(a, c)
				_, text := a.check(test.code)
				if took := time.Since(began); took < test.least || took > test.most {
					t.Errorf("took %s, want %s to %s\n%s", took, test.least, test.most, text)
				}
				synctest.Wait()
			})
		})
	}
}

// A signal ends the wait.
func TestWaitIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, cloud.Options{Seed: 3})
		a.launch(cloud.ClusterSpec{Cores: 1})
		a.cfg.Wait = time.Hour
		ctx, cancel := context.WithCancel(t.Context())
		go func() { time.Sleep(time.Minute); cancel() }()
		began := time.Now()
		r, err := Check(ctx, a.cfg, a.env, read)
		if !errors.Is(err, context.Canceled) || time.Since(began) != time.Minute || len(r.Nodes) != 2 {
			t.Errorf("%v after %s: %+v", err, time.Since(began), r)
		}
	})
}

// TestLargeCluster checks a cluster of a thousand nodes: it is read within the account's quotas, on
// several pages.
func TestLargeCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, cloud.Options{Seed: 3, Quotas: cloud.DefaultQuotas()})
		vpc := a.cloud.CreateVPC(prefix("10.8.0.0/16"))
		subnet := a.cloud.CreateSubnet(vpc, prefix("10.8.0.0/19"))
		a.cloud.ReserveCIDR(subnet, prefix("10.8.16.0/20"), "explicit")
		c := a.launch(cloud.ClusterSpec{Subnet: subnet, Cores: 999, InstancePage: 400, Args: []string{"10.8.16.1", "10.8.16.2-10.8.20.200"}})
		addr := prefix("10.8.16.0/20").Addr()
		for _, n := range c.Nodes {
			addr = addr.Next()
			a.give(n, addr.String())
		}
		began := time.Now()
		r, text := a.check(exit.OK)
		if r.Counts[OK] != 1000 || r.Calls["elasticmapreduce:ListInstances"] != 3 || strings.Count(text, "\n") != 1004 {
			t.Errorf("%v, %v", r.Counts, r.Calls)
		}
		if took := time.Since(began); took > 10*time.Second || r.Calls["ssm:GetParametersByPath"] > 150 {
			t.Errorf("took %s: %v, %d throttled", took, r.Calls, r.Throttled)
		}
	})
}
