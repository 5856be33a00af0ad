package ledger

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	cloudiam "github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
)

// ledgerActions are what the ledger commands call. The policy has actions of other commands too.
var ledgerActions = []string{
	"ssm:GetParametersByPath", "ssm:GetParameters", "ssm:PutParameter", "ssm:DeleteParameter",
	"ec2:DescribeInstances", "ec2:DescribeNetworkInterfaces", "ec2:DescribeRegions", "ec2:DescribeSubnets",
}

// operatorPolicy returns the shipped policy of people, as it is or without an action.
func operatorPolicy(t *testing.T, without string) (policy *cloudiam.Policy, actions []string) {
	t.Helper()
	type object = map[string]any
	var doc object
	place := iam.Place{Region: "us-east-1", Account: "123456789012"}
	if err := json.Unmarshal([]byte(place.Policy(iam.Operator)), &doc); err != nil {
		t.Fatal(err)
	}
	var kept []any
	for _, s := range doc["Statement"].([]any) {
		list, ok := s.(object)["Action"].([]any)
		if !ok {
			list = []any{s.(object)["Action"]}
		}
		for _, a := range list {
			if slices.Contains(ledgerActions, a.(string)) {
				actions = append(actions, a.(string))
			}
		}
		list = slices.DeleteFunc(list, func(a any) bool { return a == without })
		if s.(object)["Action"] = list; len(list) > 0 {
			kept = append(kept, s)
		}
	}
	doc["Statement"] = kept
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	if policy, err = cloudiam.ParsePolicy(text); err != nil {
		t.Fatal(err)
	}
	return policy, actions
}

// ledgerUnder runs all ledger commands as an operator with this policy, on stale and unreadable
// records. It returns the errors and the denied calls.
func ledgerUnder(t *testing.T, policy func() *cloudiam.Policy) (errs []error, denied []string) {
	synctest.Test(t, func(t *testing.T) {
		active := false
		w := newLedgerWorld(t, cloud.Options{Authorize: func(r cloud.AccessRequest) error {
			if !active || r.Caller.InstanceID != "" {
				return nil
			}
			return cloudiam.Policies{policy()}.Authorize(r)
		}})
		w.put(w.name(w.subnet, "10.0.1.10"), strings.ReplaceAll(recordOf(w.nodes[0]), w.nodes[0].InstanceID, "i-0123456789abcdef0"))
		w.put(w.name(w.subnet, "10.0.1.11"), "blank")
		w.put(w.name(w.subnet, "10.0.1.12"), "blank")
		w.assign(w.nodes[1], "10.0.1.12") // so that its record can be mended
		time.Sleep(2 * 2 * time.Minute)
		active = true
		for _, subnet := range []string{"", w.subnet} {
			for _, command := range []string{List, GC, Repair} {
				w.cfg.Subnet, w.cfg.Yes = subnet, subnet != ""
				_, err := Run(t.Context(), command, w.cfg, w.env)
				errs = append(errs, err)
				if subnet != "" { // named addresses need the subnet's network
					w.cfg.Pools.Core = netiptest.Addrs("10.0.1.10 10.0.2.10")
					_, err = Run(t.Context(), command, w.cfg, w.env)
					errs = append(errs, err)
					w.cfg.Pools.Core = nil
				}
			}
		}
		w.cfg.Subnet, w.cfg.Yes, w.cfg.AllRegions = "", false, true
		_, err := Run(t.Context(), List, w.cfg, w.env)
		errs = append(errs, err)
		for _, c := range w.cloud.Calls() {
			if c.Code == "AccessDeniedException" || c.Code == "UnauthorizedOperation" {
				denied = append(denied, c.String())
			}
		}
	})
	return errs, denied
}

// TestLedgerUnderOperatorPolicy checks that the shipped policy is enough for the ledger commands.
// If one of its actions is missing, the message has the action and the statement.
func TestLedgerUnderOperatorPolicy(t *testing.T) {
	whole, actions := operatorPolicy(t, "")
	errs, denied := ledgerUnder(t, func() *cloudiam.Policy { return whole })
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	for _, call := range denied {
		t.Errorf("denied: %s", call)
	}
	if len(actions) != len(ledgerActions) {
		t.Errorf("the policy has %q of %q", actions, ledgerActions)
	}
	for _, action := range actions {
		part, _ := operatorPolicy(t, action)
		errs, _ := ledgerUnder(t, func() *cloudiam.Policy { return part })
		failed := 0
		for _, err := range errs {
			if err == nil {
				continue
			}
			failed++
			want := iam.Place{Region: "us-east-1", Account: "123456789012"}.Statement(iam.Operator, action)
			if text := strings.Join(exit.Remedies(err), "\n"); exit.CodeOf(err) != exit.Permission || !strings.Contains(text, want) {
				t.Errorf("without %s: code %d, %v; remedy %q, want %q", action, exit.CodeOf(err), err, text, want)
			}
		}
		if failed == 0 {
			t.Errorf("without %s nothing fails", action)
		}
	}
}
