package cli

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/verify"
)

// What is nearly right gets the right form, and nothing else is said about it.
func TestNearestForm(t *testing.T) {
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"--master-ips", "10.0.1.10", "--core-ip", "10.0.1.11"}, []string{`unknown flag "--core-ip": did you mean --core-ips?`}},
		{[]string{"--core=10.0.1.11"}, []string{`unknown flag "--core=10.0.1.11": did you mean --core-ips?`}},
		{[]string{"--dryrun", "10.0.1.10"}, []string{`unknown flag "--dryrun": did you mean --dry-run?`}},
		{[]string{"--snat_scope", "all"}, []string{`unknown flag "--snat_scope": did you mean --snat-scope?`}},
		{[]string{"-role=core"}, []string{`unknown flag "-role=core": did you mean --role? Flags begin with two dashes`}},
		{[]string{"--rloe", "core"}, []string{`unknown flag "--rloe": did you mean --role?`}},
		{[]string{"release", "--timout", "5m"}, []string{`unknown flag "--timout" of the command release: did you mean --timeout?`}},
		{[]string{"release", "--no-unit"}, []string{`unknown flag "--no-unit" of the command release: did you mean --no-units?; it belongs to apply`}},
		{[]string{"--zzz"}, []string{`unknown flag "--zzz"`}},
		{[]string{"\u2013\u2013role", "\u2014core-ip=10.0.1.11"}, []string{
			`"––role" begins with a dash of another kind, as word processors make them: did you mean --role?`,
			`"—core-ip=10.0.1.11" begins with a dash of another kind, as word processors make them: did you mean --core-ips?`}},
		{[]string{"--master-ips", "10.0.1.10,", "10.0.1.11"}, []string{`--master-ips "10.0.1.10," goes on after a blank: write it without blanks, --master-ips 10.0.1.10,10.0.1.11`}},
		{[]string{"--core-ips=10.0.1.10", ",10.0.1.11,", "10.0.1.12"}, []string{`--core-ips "10.0.1.10" goes on after a blank: write it without blanks, --core-ips 10.0.1.10,10.0.1.11,10.0.1.12`}},
		{[]string{"10.0.1.10,", "10.0.1.11"}, []string{`argument 1 "10.0.1.10," ends with a comma: separate addresses by commas or by blanks, not by both`}},
		{[]string{"MASTER", "10.0.1.10"}, []string{`argument 1 "MASTER" is a role: the node's role is found out, or given by --role MASTER; addresses for it are given by --master-ips`}},
		{[]string{"10.0.1.10", "10.0.1.11", "task"}, []string{`argument 3 "task" is a role: the node's role is found out, or given by --role TASK; addresses for it are given by --task-ips`}},
		{[]string{"Args=[10.0.1.10,10.0.1.11]"}, []string{`argument 1 "Args=[10.0.1.10,10.0.1.11]": write it without brackets, quotation marks and Args=: 10.0.1.10,10.0.1.11`}},
		{[]string{`["10.0.1.10",`, `"10.0.1.11"]`}, []string{
			`argument 1 "["10.0.1.10",": write it without brackets, quotation marks and Args=: 10.0.1.10`,
			`argument 2 ""10.0.1.11"]": write it without brackets, quotation marks and Args=: 10.0.1.11`}},
		{[]string{"--core-ips", `["10.0.1.10", "10.0.1.11"]`}, []string{`--core-ips "["10.0.1.10", "10.0.1.11"]": write it without brackets, quotation marks and Args=: 10.0.1.10, 10.0.1.11`}},
		{[]string{"10.0.1.10", "release"}, []string{`argument 2 "release": is the command release meant? It goes before addresses`}},
		{[]string{"statsu"}, []string{`argument 1 "statsu": is the command status meant? It goes before addresses`}},
		{[]string{"10.0.1.10", "us-east-1a"}, []string{`argument 2 "us-east-1a" is an availability zone: the form MASTER_IP REGION names a region, here perhaps us-east-1`}},
		{[]string{"10.0.1.10", "10.0.1.11", "eu-west-1"}, []string{`argument 3 "eu-west-1" is a region: only the form MASTER_IP REGION, for the master alone, has one; otherwise leave it out, the node knows its region`}},
		{[]string{"10.0.1.10-11", "eu-west-1"}, []string{`argument 1 "10.0.1.10-11" is several addresses; the form MASTER_IP REGION has one, the master's`}},
		{[]string{"--snat-scope", "All", "--nat-backend", "nftable", "--on-error=Continue"}, []string{
			`--snat-scope "All" is none of external, all: did you mean all?`, `--nat-backend "nftable" is none of auto, iptables, nftables: did you mean nftables?`,
			`--on-error "Continue" is none of fail, continue: did you mean continue?`}},
	} {
		code, _, stderr, got := runMain(t, t.Context(), test.args, nil, agent.Report{}, nil)
		_, text, _ := strings.Cut(stderr, "what failed\n")
		text, _, _ = strings.Cut(text, "\nnothing was changed")
		if want := "  " + strings.Join(test.want, "\n  "); code != exit.Usage || got.what != "" || text != want {
			t.Errorf("%q: code %d, got\n%s\nwant\n%s", test.args, code, text, want)
		}
	}
}

// What is near enough to be understood is understood.
func TestAcceptedForms(t *testing.T) {
	for _, args := range [][]string{
		{"--role=core", "10.0.1.10", "10.0.1.11"}, {"--role", "Core", "10.0.1.10 10.0.1.11"}, {"10.0.1.10, 10.0.1.11", "--role=CORE"}, {"10.0.1.10,10.0.1.11", "--role=CORE"},
	} {
		_, _, stderr, got := runMain(t, t.Context(), args, nil, agent.Report{}, nil)
		if want := (agent.Pools{Master: addrList("10.0.1.10"), Core: addrList("10.0.1.11")}); got.cfg.Role != agent.RoleCore || !reflect.DeepEqual(got.cfg.Pools, want) {
			t.Errorf("%q: %+v\n%s", args, got.cfg, stderr)
		}
	}
}

// The older script's form has a region as AWS names them, and nothing that only looks like one.
func TestMasterOnlyForm(t *testing.T) {
	for _, region := range strings.Fields("us-east-1 us-gov-west-1 cn-north-1 ap-southeast-7 eusc-de-east-1 us-iso-east-1 us-isob-east-1 eu-isoe-west-1 me-central-1 us-west-12") {
		_, _, stderr, got := runMain(t, t.Context(), []string{"10.0.1.10", region}, nil, agent.Report{}, nil)
		if want := (agent.Pools{Master: addrList("10.0.1.10"), MasterOnly: true}); got.cfg.Region != region || !reflect.DeepEqual(got.cfg.Pools, want) {
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
	for _, want := range []string{`--verify "nn:0" has the port "0"; expected a number from 1 to 65535`, "--verify names nn:80 twice"} {
		if code != exit.Usage || !strings.Contains(stderr, want) {
			t.Errorf("code %d\n%s\nlacks %s", code, stderr, want)
		}
	}
	var many []string
	for i := range verify.MaxTargets + 1 {
		many = append(many, fmt.Sprintf("host%d:80", i))
	}
	if _, err := verify.ParseTargets("--verify", many); err == nil || !strings.Contains(err.Error(), "names 17 services; at most 16 are tried") {
		t.Errorf("%v", err)
	}
}
