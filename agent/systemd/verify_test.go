package systemd_test

import (
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/agenttest"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
)

func TestUnitsVerify(t *testing.T) {
	agenttest.VerifyUnits(t, append(systemd.Units(""), systemd.ReleaseUnit(""))...)
}
