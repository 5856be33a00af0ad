package simulation

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/ledger"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// throttle throttles an action of an instance for a while. The returned counter has the number of
// refusals.
func (c *cluster) throttle(action, instance string, while time.Duration) (refused *int) {
	refused = new(int)
	began := time.Now()
	c.Cloud.Fault(func(x cloud.Call) cloud.FaultAction {
		if x.Action == action && x.Caller == instance && time.Since(began) < while {
			*refused++
			return cloud.FaultAction{Kind: cloud.FaultFail, Code: "ThrottlingException", Message: "Rate exceeded", Status: 400}
		}
		return cloud.FaultAction{}
	})
	return refused
}

// TestLedgerGCIsThrottled lets a node take over a stale address while ledger gc is throttled. The
// node's record must stay.
func TestLedgerGCIsThrottled(t *testing.T) {
	inBubble(t, cloud.Options{Latency: promptly}, func(t *testing.T, c *cluster) {
		c.putDeadRecord("10.0.1.20")
		bastion, err := c.Cloud.RunInstance(cloud.InstanceSpec{Subnet: c.subnet, Name: "bastion"})
		if err != nil {
			t.Fatal(err)
		}
		refused := c.throttle("DeleteParameter", bastion.InstanceID, 90*time.Second)
		done := make(chan error, 1)
		var report ledger.Report
		go func() {
			cfg := agent.DefaultConfig()
			cfg.Yes = true
			env := agent.Environment{HTTP: c.Transport(bastion.InstanceID), Rand: rand.New(rand.NewPCG(1, 2)).Float64, LookupEnv: func(string) (string, bool) { return "", false }}
			var err error
			report, err = ledger.Run(t.Context(), ledger.GC, cfg, env)
			done <- err
		}()
		time.Sleep(10 * time.Second)
		n := c.launch(1, 0, smallPools)[0]
		c.mustAll([]*Node{n})
		if err := <-done; err != nil || report.Changed != 0 || *refused == 0 {
			t.Errorf("%d records changed after %d refusals: %v", report.Changed, *refused, err)
		}
		c.CheckTruth(testPrefix, nil)
	})
}
