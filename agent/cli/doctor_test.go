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
