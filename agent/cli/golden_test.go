package cli

import (
	"fmt"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// TestProblems compares what is said of wrong command lines. Each is refused before anything is
// done, and every problem of a command line is reported.
func TestProblems(t *testing.T) {
	var all strings.Builder
	_, _, stderr, _ := runMain(t, t.Context(), []string{"--bogus"}, nil, agent.Report{}, nil)
	titles, _ := outline(stderr) // the same for all
	for _, test := range []struct {
		args []string
		env  map[string]string
	}{
		{strings.Fields("--bogus 10.0.1.300 --also=x -x --role chief --timeout ten --snat-scope some --ssm-put-rate NaN --prefix aws --state-dir here --nat-backend"), nil},
		{strings.Fields("--bogus=1 10.0.1.10 10.0.1.300"), nil},
		{strings.Fields("--bogus 10.0.1.10 10.0.1.10"), nil},
		{strings.Fields("-role CORE"), nil},
		{strings.Fields("--role --verbose"), nil},
		{nil, map[string]string{"EMR_STATIC_IP_TIMEOUT": "600", "EMR_STATIC_IP_CORE_IPS": "x", "EMR_STATIC_IP_VERBOSE": "perhaps"}},
		{strings.Fields("10.0.1.10 --core-ips 10.0.1.11"), nil},
		{strings.Fields("release 10.0.1.10 --role CORE --lock-wait 0s"), nil},
		{strings.Fields("relase"), nil},
		{strings.Fields("version x"), nil},
		{[]string{"--\x1b[2J", "--role", "\u202e", "--prefix", "/a\x00", "--state-dir", "/\x00"}, nil},
		{[]string{"--master-ips", "10.0.1.10", "--core-ip", "10.0.1.11"}, nil},
		{[]string{"--core=10.0.1.11"}, nil},
		{[]string{"--dryrun", "10.0.1.10"}, nil},
		{[]string{"--snat_scope", "all"}, nil},
		{[]string{"-role=core"}, nil},
		{[]string{"--rloe", "core"}, nil},
		{[]string{"release", "--timout", "5m"}, nil},
		{[]string{"release", "--no-unit"}, nil},
		{[]string{"--zzz"}, nil},
		{[]string{"\u2013\u2013role", "\u2014core-ip=10.0.1.11"}, nil},
		{[]string{"--master-ips", "10.0.1.10,", "10.0.1.11"}, nil},
		{[]string{"--core-ips=10.0.1.10", ",10.0.1.11,", "10.0.1.12"}, nil},
		{[]string{"10.0.1.10,", "10.0.1.11"}, nil},
		{[]string{"MASTER", "10.0.1.10"}, nil},
		{[]string{"10.0.1.10", "10.0.1.11", "task"}, nil},
		{[]string{"Args=[10.0.1.10,10.0.1.11]"}, nil},
		{[]string{`["10.0.1.10",`, `"10.0.1.11"]`}, nil},
		{[]string{"--core-ips", `["10.0.1.10", "10.0.1.11"]`}, nil},
		{[]string{"10.0.1.10", "release"}, nil},
		{[]string{"statsu"}, nil},
		{[]string{"plam", "10.0.1.3"}, nil},
		{[]string{"--role", "CORE", "Plan", "10.0.1.3"}, nil},
		{[]string{"10.0.1.3", "plam"}, nil},
		{[]string{"frobnicate", "10.0.1.3"}, nil},
		{[]string{"--", "plan", "10.0.1.3"}, nil},
		{[]string{"--only-cidr", "10/8,172.16/12,10.1", "--exclude-cidr", "192.168.0/16,10.0.1/16,1.2.3.4.5/8,10.0.0/33,10./8,10/40"}, nil},
		{[]string{"10.0.1/28", "10.0.1.300/28"}, nil},
		{[]string{"--help=maybe"}, nil},
		{[]string{"plan", "-h=perhaps", "--help="}, nil},
		{[]string{"--version=maybe"}, nil},
		{[]string{"--verbose=maybe"}, nil},
		{[]string{"10.0.1.10", "us-east-1a"}, nil},
		{[]string{"10.0.1.10", "10.0.1.11", "eu-west-1"}, nil},
		{[]string{"10.0.1.10-11", "eu-west-1"}, nil},
		{[]string{"--snat-scope", "All", "--nat-backend", "nftable", "--on-error=Continue"}, nil},
		{strings.Fields("apply --subnet subnet-1"), nil},
		{strings.Fields("--yes"), nil},
		{strings.Fields("ledger list --yes"), nil},
		{strings.Fields("ledger --yes gc"), nil},
		{strings.Fields("ledger --region us-east-1"), nil},
		{strings.Fields("status --sub x"), nil},
		{strings.Fields("status --version"), nil},
		{strings.Fields("completion --role CORE bash"), nil},
		{strings.Fields("restore --no-unit"), nil},
		{strings.Fields("-only-cidr 10.0.0.0/8 10.0.1.10"), nil},
		{strings.Fields("status --outptu json"), nil},
		{strings.Fields("ledger lst"), nil},
		{strings.Fields("ledger rapair --region eu-central-1"), nil},
		{strings.Fields("ledger show"), nil},
		{strings.Fields("status -o"), nil},
		{strings.Fields("plan -o xml -x"), nil},
		{strings.Fields("plan -output json"), nil},
		{strings.Fields("completion -o json bash"), nil},
		{strings.Fields("ledger list --state-dir /x"), nil},
		{strings.Fields("--claim-tag team --claim-tag aws:x=y --claim-tag a=1,a=2"), nil},
		{strings.Fields("ledger gc --claim-tag a=b"), nil},
		{strings.Fields("status foo"), nil},
		{strings.Fields("version -x y z"), nil},
		{strings.Fields("list"), nil},
		{strings.Fields("uninstall"), nil},
		{strings.Fields("10.0.1.10 uninstall"), nil},
		{strings.Fields("-v"), nil},
		{strings.Fields("ledger rm 10.0.1.10"), nil},
		{strings.Fields("help uninstall"), nil},
		{strings.Fields("help ledger rm"), nil},
		{strings.Fields("doctor --region us-east-1"), nil},
		{strings.Fields("doctor --cluster j-1K48XXXXXXHCB --role-name EMR_EC2_DefaultRole --region us-east-1 10.0.1.10"), nil},
		{strings.Fields("doctor --subnet subnet-0a1b --bundle /tmp/x.tar.gz"), nil},
	} {
		code, stdout, stderr, got := runMain(t, t.Context(), test.args, test.env, agent.Report{}, nil)
		if code != exit.Usage || got.what != "" || got.root != nil || stdout != "" {
			t.Errorf("%q: code %d, called %+v, stdout %q", test.args, code, got, stdout)
		}
		its, lists := outline(stderr)
		if its != titles || len(lists) != 2 {
			t.Fatalf("%q:\n%s", test.args, stderr)
		}
		all.WriteString("emr-static-ip")
		for _, arg := range test.args {
			fmt.Fprintf(&all, " %+q", arg)
		}
		if len(test.env) > 0 {
			fmt.Fprintf(&all, " with %q", test.env)
		}
		all.WriteString("\n" + lists[0] + lists[1] + "\n")
	}
	golden.Is(t, "problems.txt", all.String())
}

// outline returns the lines of the end of a failed run that are not indented, and the lists between
// them.
func outline(stderr string) (titles string, lists []string) {
	inList := false
	for line := range strings.Lines(stderr) {
		switch indented := strings.HasPrefix(line, "  "); {
		case !indented:
			titles += line
		case inList:
			lists[len(lists)-1] += line
		default:
			lists = append(lists, line)
		}
		inList = strings.HasPrefix(line, "  ")
	}
	return titles, lists
}

// TestHelp compares the help texts of all commands.
func TestHelp(t *testing.T) {
	root := (&commandLine{}).tree()
	for _, cmd := range append(shown(root), root) {
		args := append(strings.Fields(cmd.CommandPath())[1:], "--help")
		code, stdout, stderr, got := runMain(t, t.Context(), args, nil, agent.Report{}, nil)
		if code != exit.OK || stderr != "" || got.what != "" {
			t.Errorf("%q: code %d\n%s", args, code, stderr)
		}
		if cmd != root && !cmd.HasSubCommands() && cmd.Example == "" {
			t.Errorf("%q: no example", args)
		}
		golden.Is(t, "help-"+strings.ReplaceAll(cmd.CommandPath(), " ", "-")+".txt", stdout)
	}
}
