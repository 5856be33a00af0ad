package ec2

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// EC2 refuses an address, and shows nobody who has it. What is about this address leads to the next
// one, whatever its code. What would meet every address ends the run.
func TestRefusedAddress(t *testing.T) {
	addr := netip.MustParseAddr("10.0.1.21")
	texts := golden.Open(t, "refused-address.txt")
	for _, test := range []struct {
		code, message string
		next          bool
	}{
		{"InvalidIPAddress.InUse", "", true},
		{"PrivateIpAddressInPrefix", "The address 10.0.1.21 is part of a prefix.", true},
		{"Address.Taken", "[10.0.1.21]", true},
		{"InvalidParameterValue", "Address 10.0.1.21 is reserved by a prefix delegation", true},
		{"InvalidParameterValue", "Address 10.0.1.21 is in subnet's reserved range.", false},
		{"Address.Taken", "110.0.1.21 and 10.0.1.210", true},
		{"SomethingNew", "", true},
		{"PrivateIpAddressLimitExceeded", "10.0.1.21 is one too many", false},
		{"OperationNotPermitted", "10.0.1.21: the interface is managed", false},
		{"IncorrectState", "10.0.1.21 cannot be assigned now", false},
		{"AuthFailure", "10.0.1.21 is not yours", false},
	} {
		body := strings.Replace(ec2Error(test.code, test.message), "<Message></Message>", "", 1)
		err := nodeThatRefuses(body).Assign(t.Context(), addr, false)
		refused := (*ssmcoord.RefusedError)(nil)
		if next := errors.As(err, &refused); next != test.next {
			t.Errorf("%s %q: next address %t: %v", test.code, test.message, next, err)
		}
		texts.Is(t, test.code+" "+test.message, Plain(ExplainAt(err, iam.Place{Region: "eu-west-1", Prefix: "/x"})).Error())
	}
}

// nodeThatRefuses returns a node with an EC2 that answers an assignment with body, and shows no
// network interface.
func nodeThatRefuses(body string) *Node {
	calls := 0
	refusal := httpAnswer{status: 400, body: body, calls: &calls}
	nobody := httpAnswer{status: 200, body: "<DescribeNetworkInterfacesResponse><networkInterfaceSet/></DescribeNetworkInterfacesResponse>", calls: &calls}
	config := refusal.config()
	config.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		asked, err := io.ReadAll(r.Body)
		if err != nil || strings.Contains(string(asked), "AssignPrivateIpAddresses") {
			return refusal.RoundTrip(r)
		}
		return nobody.RoundTrip(r)
	})}
	return NewNode(config, anIdentity(), "", host.Environment{})
}
