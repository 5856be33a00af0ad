package agent

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
)

// A release that EC2 refuses fails. The address is still assigned, so that no other node gets it.
// No restore puts it back into the kernel meanwhile, and the next release goes on.
func TestReleaseThatEC2Refuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		static := n.apply().Static
		n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
			if c.Action == "UnassignPrivateIpAddresses" {
				return cloud.FaultAction{Kind: cloud.FaultFail, Code: "OperationNotPermitted", Message: "not now", Status: 400}
			}
			return cloud.FaultAction{}
		})
		if rep, err := Release(t.Context(), n.cfg, n.env); err == nil || !strings.Contains(err.Error(), "unassigning "+static.String()) {
			t.Errorf("%v, %q", err, rep.Changes)
		}
		n.cloud.Fault(nil)
		if got := n.cloud.Parameters(); len(got) != 0 || len(n.cloud.Holders(n.SubnetID, static)) != 1 {
			t.Errorf("on %v, claimed by %v", n.cloud.Holders(n.SubnetID, static), got)
		}
		for _, silent := range []bool{false, true} {
			n.silent.Store(silent)
			if rep := n.restore(ExitOK); len(rep.Changes) > 0 || len(n.uses()) > 0 || n.kernel.Rules() != "" {
				t.Errorf("IMDS silent %t: %q, in use %v\n%s", silent, rep.Changes, n.uses(), n.kernel.Rules())
			}
		}
		n.silent.Store(false)
		if _, err := Release(t.Context(), n.cfg, n.env); err != nil || len(n.cloud.Parameters()) > 0 || len(n.cloud.Holders(n.SubnetID, static)) > 0 {
			t.Errorf("again: %v, on %v, claimed by %v", err, n.cloud.Holders(n.SubnetID, static), n.cloud.Parameters())
		}
	})
}

// EC2 refuses one address in words that are not known here, and shows nobody who has it: the node
// takes the next one, says so, and a rerun keeps it.
func TestRefusedInUnknownWords(t *testing.T) {
	for _, code := range []string{"InvalidIPAddress.InUse", "InsufficientFreeAddressesInSubnet", "InvalidParameterValue", "CodeOfTomorrow"} {
		synctest.Test(t, func(t *testing.T) {
			n := newTestNode(t, cloud.Options{})
			n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
				if c.Action == "AssignPrivateIpAddresses" && strings.Contains(c.Params, "10.0.1.21") {
					return cloud.FaultAction{Kind: cloud.FaultFail, Code: code, Message: "words of tomorrow", Status: 400}
				}
				return cloud.FaultAction{}
			})
			_, stdout, stderr := n.program(t.Context(), "10.0.1.20", "10.0.1.21-22")
			if !slices.Equal(n.uses(), netiptest.Addrs("10.0.1.22")) || !strings.Contains(stderr, "10.0.1.21: words of tomorrow") {
				t.Errorf("%s: %s\n%s", code, stdout, stderr)
			}
			if rep := n.apply(); rep.Static.String() != "10.0.1.22" || len(rep.Changes) > 0 {
				t.Errorf("%s: then %s, %q", code, rep.Static, rep.Changes)
			}
		})
	}
}

// EC2 refuses each address in words that are not known here and that name no address: the second
// refusal ends the run at once, with EC2's words, and not the time for finding an address.
func TestRefusedForEveryAddress(t *testing.T) {
	messages := golden.Open(t, "refused-for-every-address.txt")
	for _, list := range []string{"10.0.1.21", "10.0.1.21-29"} {
		synctest.Test(t, func(t *testing.T) {
			n := newTestNode(t, cloud.Options{})
			calls := 0
			n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
				if c.Action == "AssignPrivateIpAddresses" {
					calls++
					return cloud.FaultAction{Kind: cloud.FaultFail, Code: "CodeOfTomorrow", Message: "the interface is asleep", Status: 400}
				}
				return cloud.FaultAction{}
			})
			code, _, stderr := n.program(t.Context(), "10.0.1.20", list)
			if code != ExitInternal || calls != 2 {
				t.Errorf("%s: exit code %v after %d calls: %s", list, code, calls, stderr)
			}
			messages.Is(t, list, n.told(stderr))
			if got := n.cloud.Parameters(); len(got) > 0 || len(n.uses()) > 0 {
				t.Errorf("%s: records %v, in use %v", list, got, n.uses())
			}
		})
	}
}
