package cli

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/verify"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
)

// What is near enough to be understood is understood.
func TestAcceptedForms(t *testing.T) {
	for _, args := range [][]string{
		{"--role=core", "10.0.1.10", "10.0.1.11"}, {"--role", "Core", "10.0.1.10 10.0.1.11"}, {"10.0.1.10, 10.0.1.11", "--role=CORE"}, {"10.0.1.10,10.0.1.11", "--role=CORE"},
	} {
		_, _, stderr, got := runMain(t, t.Context(), args, nil, agent.Report{}, nil)
		if want := (agent.Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11")}); got.cfg.Role != agent.RoleCore || !reflect.DeepEqual(got.cfg.Pools, want) {
			t.Errorf("%q: %+v\n%s", args, got.cfg, stderr)
		}
	}
}

// The older script's form has a region as AWS names them, and nothing that only looks like one.
func TestMasterOnlyForm(t *testing.T) {
	for _, region := range strings.Fields("us-east-1 us-gov-west-1 cn-north-1 ap-southeast-7 eusc-de-east-1 us-iso-east-1 us-isob-east-1 eu-isoe-west-1 me-central-1 us-west-12") {
		_, _, stderr, got := runMain(t, t.Context(), []string{"10.0.1.10", region}, nil, agent.Report{}, nil)
		if want := (agent.Pools{Master: netiptest.Addrs("10.0.1.10"), MasterOnly: true}); got.cfg.Region != region || !reflect.DeepEqual(got.cfg.Pools, want) {
			t.Errorf("%s: %+v\n%s", region, got.cfg, stderr)
		}
	}
}

// What a path or any other value may not hold is refused before anything is done.
func TestControlCharactersAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"--state-dir", "/x\rExecStart=/bin/sh"}, {"--state-dir", "/x\ny"}, {"--state-dir", "/x\x7f"}, {"--state-dir", "/x\xff"}, {"--state-dir", "/x\u0085y"}, {"--role", "CORE\r"}, {"--timeout", "5m\r"},
		{"--prefix", "/x\r"}, {"--nat-backend", "auto\r"}, {"--ssm-put-rate", "3\r"}, {"--verbose=true\r"}, {"--verify", "a\rb:80"}, {"--only-cidr", "10.0.0.0/8\x7f"},
	} {
		code, _, stderr, got := runMain(t, t.Context(), append(args, "10.0.1.10", "10.0.1.11"), nil, agent.Report{}, nil)
		if code != exit.Usage || got.what != "" || strings.ContainsAny(stderr, "\r\x7f") {
			t.Errorf("%q: exit code %d, %q", args, code, stderr)
		}
	}
}

func TestVerifyProblems(t *testing.T) {
	code, _, stderr, _ := runMain(t, t.Context(), []string{"10.0.1.10", "10.0.1.11", "--verify", "nn:80,nn:0", "--verify", "nn:80"}, nil, agent.Report{}, nil)
	if code != exit.Usage {
		t.Errorf("code %d", code)
	}
	messages := golden.Open(t, "verify.txt")
	messages.Is(t, "a wrong port, and a target twice", stderr)
	var many []string
	for i := range verify.MaxTargets + 1 {
		many = append(many, fmt.Sprintf("host%d:80", i))
	}
	if _, err := verify.ParseTargets("--verify", many); err == nil {
		t.Error("too many were accepted")
	} else {
		messages.Is(t, "too many", err.Error())
	}
}
