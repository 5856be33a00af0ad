package ec2

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

func anIdentity() Identity {
	return Identity{
		InstanceID: "i-0a1", InstanceType: "m5.xlarge", ENI: "eni-0a1", SubnetID: "subnet-0a1",
		Subnet: netip.MustParsePrefix("10.0.1.0/24"), PrimaryIP: netip.MustParseAddr("10.0.1.99"),
	}
}

// checkShown fails the test if an operator would see too much of an error and its remedies.
func checkShown(t *testing.T, err error) {
	t.Helper()
	const most = 20000
	shown := strings.Join(text.Lines(err.Error()+"\n"+strings.Join(exit.Remedies(err), "\n")), "\n")
	if len(shown) > most {
		t.Fatalf("%d bytes:\n%.2000s", len(shown), shown)
	}
}
