package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/doctor"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
)

func TestDoctorCommand(t *testing.T) {
	var out bytes.Buffer
	p := Program{
		Doctor: func(_ context.Context, cfg agent.Config, _ agent.Environment) (doctor.Diagnosis, error) {
			if len(cfg.Pools.Core) != 1 || cfg.Output != "json" {
				t.Errorf("%+v", cfg)
			}
			return doctor.Diagnosis{Code: exit.Permission}, nil
		},
		Elevate: func(context.Context, []string) error { return notRoot(errors.New("no sudo"), "") }, // it goes on
	}
	code := p.Main(t.Context(), strings.Fields("doctor -o json 10.0.1.10 10.0.1.11"), agent.Environment{Stdout: &out, LookupEnv: func(string) (string, bool) { return "", false }})
	if code != exit.Permission || !strings.HasPrefix(out.String(), `{"version":1,`) {
		t.Errorf("code %d\n%s", code, out.String())
	}
}

// TestDoctorRegion runs doctor with a region, which it uses only with --subnet. The variable alone
// is no mistake: it may be set for ledger.
func TestDoctorRegion(t *testing.T) {
	for _, test := range []struct {
		args string
		env  map[string]string
	}{
		{"doctor --region us-east-1 --subnet subnet-0a1b", nil},
		{"doctor --region us-east-1", map[string]string{"EMR_STATIC_IP_SUBNET": "subnet-0a1b"}},
		{"doctor", map[string]string{"EMR_STATIC_IP_REGION": "us-east-1"}},
	} {
		var region string
		var stderr bytes.Buffer
		p := Program{Doctor: func(_ context.Context, cfg agent.Config, _ agent.Environment) (doctor.Diagnosis, error) {
			region = cfg.Region
			return doctor.Diagnosis{}, nil
		}}
		env := agent.Environment{Stderr: &stderr, LookupEnv: func(name string) (string, bool) { v, ok := test.env[name]; return v, ok }}
		if code := p.Main(t.Context(), strings.Fields(test.args), env); code != exit.OK || region != "us-east-1" {
			t.Errorf("%s: code %d, region %q\n%s", test.args, code, region, stderr.String())
		}
	}
}
