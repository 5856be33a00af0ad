package doctor

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// TestDiagnosisSample writes what doctor prints on a new node whose role lacks one permission. The
// sample in cmd/emr-static-ip/README.md is lines of this file.
func TestDiagnosisSample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := newNode(t, cloud.Options{Authorize: func(a cloud.AccessRequest) error {
			if a.Action == "ec2:GetSubnetCidrReservations" {
				return errors.New("taken out")
			}
			return nil
		}})
		d := n.doctor()
		d.Seconds = 0.8 // connections take real time
		for i := range d.Findings {
			d.Findings[i].Seconds = 0
		}
		golden.Is(t, "sample-doctor.txt", strings.ReplaceAll(textOf(t, d), agent.Version(), "VERSION"))
	})
}
