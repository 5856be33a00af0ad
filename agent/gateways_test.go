package agent

import (
	"bytes"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// An apply asks EC2 for the networks of S3 and DynamoDB again when its list is a week old. Without
// an answer the old list stays in use.
func TestGatewaysAreRefreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.apply()
		asked := func() int {
			n.t.Helper()
			return n.apply().Calls["ec2:DescribePrefixLists"]
		}
		time.Sleep(6 * 24 * time.Hour)
		if got := asked(); got != 0 {
			t.Errorf("%d calls after six days", got)
		}
		time.Sleep(2 * 24 * time.Hour)
		old := n.state()
		n.deny("ec2:DescribePrefixLists")
		rep := n.apply()
		if kept := n.state(); !kept.GatewaysAt.Equal(old.GatewaysAt) || len(kept.Gateways) != len(old.Gateways) || len(old.Gateways) == 0 || len(rep.Changes) > 0 {
			t.Errorf("denied: %v at %s, before %v at %s; changes %q", kept.Gateways, kept.GatewaysAt, old.Gateways, old.GatewaysAt, rep.Changes)
		}
		golden.Is(t, "gateways-denied.txt", ending(rep, nil)+"\n")
		// A list that AWS has extended since.
		n.editState(func(s map[string]any) { s["gateways"] = []string{"198.51.100.0/24"} })
		n.cloud.Fault(nil)
		if got := asked(); got != 1 {
			t.Errorf("%d calls after eight days", got)
		}
		if s := n.state(); len(s.Gateways) != len(old.Gateways) || s.Gateways[0] == netip.MustParsePrefix("198.51.100.0/24") || time.Since(s.GatewaysAt) > time.Minute {
			t.Errorf("then %v of %s", s.Gateways, s.GatewaysAt)
		}
		if got := asked(); got != 0 {
			t.Errorf("%d calls after that", got)
		}
	})
}

// An answer without networks is no answer: the run warns, keeps an earlier list, and the next run
// asks again.
func TestGatewaysWithoutNetworks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		empty := roundTrip(func(req *http.Request) (*http.Response, error) {
			if req.Body == nil {
				return n.RoundTrip(req)
			}
			body, _ := io.ReadAll(req.Body)
			if req.Body = io.NopCloser(bytes.NewReader(body)); !bytes.Contains(body, []byte("Action=DescribePrefixLists")) {
				return n.RoundTrip(req)
			}
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/xml"}},
				Body: io.NopCloser(strings.NewReader("<DescribePrefixListsResponse><prefixListSet/></DescribePrefixListsResponse>"))}, nil
		})
		there := n.env.HTTP
		n.env.HTTP = empty
		golden.Is(t, "gateways-without-networks.txt", ending(n.apply(), nil)+"\n")
		n.env.HTTP = there
		time.Sleep(time.Minute)
		if rep := n.apply(); rep.Calls["ec2:DescribePrefixLists"] != 1 || len(n.state().Gateways) == 0 {
			t.Errorf("calls %v, networks %v", rep.Calls, n.state().Gateways)
		}
		n.env.HTTP = empty
		time.Sleep(8 * 24 * time.Hour)
		if rep := n.apply(); len(n.state().Gateways) == 0 || len(rep.Changes) > 0 {
			t.Errorf("later: networks %v, changes %q", n.state().Gateways, rep.Changes)
		}
	})
}

// A call that the run can do without takes no more than a part of a short run's time.
func TestOptionalCallsInAShortRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
			if c.Action == "DescribePrefixLists" || c.Action == "CreateTags" {
				return cloud.FaultAction{Kind: cloud.FaultFail, Code: "InternalError", Status: 500}
			}
			return cloud.FaultAction{}
		})
		began := time.Now()
		code, stdout, stderr := n.program(t.Context(), "10.0.1.20", "10.0.1.21", "--timeout", "45s")
		if code != ExitOK || time.Since(began) > 45*time.Second {
			t.Errorf("exit code %d after %s: %s\n%s", code, time.Since(began), stdout, stderr)
		}
		golden.Is(t, "optional-calls.txt", logWarnings(stderr, n.env.Root))
	})
}
