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

// A list without roles, for instances outside EMR, stands alone. The command line goes before the
// environment, also where they have lists of different kinds.
func TestListWithoutRoles(t *testing.T) {
	plain := agent.Pools{Any: netiptest.Addrs("10.0.1.20 10.0.1.21")}
	byRole := agent.Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11")}
	const ips, cores = "EMR_STATIC_IP_IPS", "EMR_STATIC_IP_CORE_IPS"
	for _, test := range []struct {
		args string
		env  map[string]string
		want agent.Pools
	}{
		{"--ips 10.0.1.20-21", nil, plain},
		{"--ips 10.0.1.20 --ips 10.0.1.21", nil, plain},
		{"", map[string]string{ips: "10.0.1.20,10.0.1.21"}, plain},
		{"--ips 10.0.1.20-21", map[string]string{cores: "10.0.1.11"}, plain},
		{"10.0.1.10 10.0.1.11", map[string]string{ips: "10.0.1.20"}, byRole},
		{"--master-ips 10.0.1.10 --core-ips 10.0.1.11", map[string]string{ips: "10.0.1.20"}, byRole},
	} {
		_, _, stderr, got := runMain(t, t.Context(), strings.Fields(test.args), test.env, agent.Report{}, nil)
		if !reflect.DeepEqual(got.cfg.Pools, test.want) {
			t.Errorf("%q with %v: %+v\n%s", test.args, test.env, got.cfg.Pools, stderr)
		}
	}
	messages := golden.Open(t, "ips.txt")
	for _, args := range []string{"--ips 10.0.1.20 10.0.1.10 10.0.1.11", "--ips 10.0.1.20 --core-ips 10.0.1.11 --task-ips 10.0.1.12", "--ips 10.0.1.20 --role CORE", "--ips 10.0.1.20,10.0.1.20-21"} {
		code, _, stderr, got := runMain(t, t.Context(), strings.Fields(args), nil, agent.Report{}, nil)
		if code != exit.Usage || got.what != "" {
			t.Errorf("%s: exit code %d", args, code)
		}
		messages.Is(t, args, stderr)
	}
	code, _, stderr, _ := runMain(t, t.Context(), nil, map[string]string{ips: "10.0.1.20", cores: "10.0.1.11"}, agent.Report{}, nil)
	if code != exit.Usage {
		t.Errorf("exit code %d", code)
	}
	messages.Is(t, "both in the environment", stderr)
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
