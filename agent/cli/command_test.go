package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/cluster"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/ledger"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
	"github.com/emr-static-ip/emr-static-ip/internal/tag"
)

// called is what a test program was asked to do.
type called struct {
	what string // apply, release, or "" for nothing
	cfg  agent.Config
	root []string // arguments that Elevate got
}

// runMain runs the command line with stand-ins for the work, which return report and err.
func runMain(t *testing.T, ctx context.Context, args []string, env map[string]string, report agent.Report, err error) (code exit.Code, stdout, stderr string, got called) {
	t.Helper()
	var out, errOut bytes.Buffer
	work := func(what string) Run {
		return func(_ context.Context, cfg agent.Config, env agent.Environment) (agent.Report, error) {
			if got.what != "" {
				t.Error("called twice")
			}
			if env.Log == nil {
				t.Error("no log")
			}
			got.what, got.cfg = what, cfg
			return report, err
		}
	}
	p := Program{Apply: work("apply"), Release: work("release"), Restore: work("restore"), Plan: work("plan"), Status: func(_ context.Context, cfg agent.Config, _ agent.Environment) (agent.Status, error) {
		got.what, got.cfg = "status", cfg
		return agent.Status{Verdict: agent.VerdictDrifted, Static: netip.MustParseAddr("10.0.1.11")}, err
	}, Ledger: func(_ context.Context, command string, cfg agent.Config, _ agent.Environment) (ledger.Report, error) {
		got.what, got.cfg = "ledger "+command, cfg
		return ledger.Report{Command: command, Region: "us-east-1", Prefix: cfg.Prefix, Problems: 1, Work: report}, err
	}, Watch: func(_ context.Context, cfg agent.Config, _ agent.Environment, print func(ledger.Report) error) (ledger.Report, error) {
		got.what, got.cfg = "ledger watch", cfg
		if werr := print(ledger.Report{Command: ledger.Watch, Changes: []ledger.Change{{Address: "10.0.1.10", Before: "free", After: "in use"}}}); werr != nil {
			t.Error(werr)
		}
		return ledger.Report{Command: ledger.Watch}, err
	}, Cluster: func(_ context.Context, cfg agent.Config, _ agent.Environment, _ cluster.ReadArguments) (cluster.Report, error) {
		got.what, got.cfg = "cluster check", cfg
		return cluster.Report{Cluster: cfg.Cluster, Region: "us-east-1", Prefix: cfg.Prefix, Nodes: []cluster.Node{{Instance: "i-0a1", State: cluster.Starting}}}, err
	}, Elevate: func(_ context.Context, args []string) error {
		got.root = args
		return nil
	}}
	code = p.Main(ctx, args, agent.Environment{Stdout: &out, Stderr: &errOut, LookupEnv: func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}})
	return code, out.String(), errOut.String(), got
}

func TestCommandLine(t *testing.T) {
	// want is the default configuration with changes.
	want := func(change func(*agent.Config)) agent.Config {
		c := agent.DefaultConfig()
		change(&c)
		return c
	}
	pools := agent.Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11")}
	tests := []struct {
		name string
		args string
		env  map[string]string
		what string
		want agent.Config
	}{
		{"the script's own form", "10.0.1.10 10.0.1.11", nil, "apply", want(func(c *agent.Config) { c.Pools = pools })},
		{"apply", "apply 10.0.1.10 10.0.1.11", nil, "apply", want(func(c *agent.Config) { c.Pools = pools })},
		{"without arguments", "", nil, "apply", want(func(*agent.Config) {})},
		{"apply without arguments", "apply", nil, "apply", want(func(*agent.Config) {})},
		{"release", "release", nil, "release", want(func(*agent.Config) {})},
		{"restore", "restore --imds-timeout 1s", nil, "restore", want(func(c *agent.Config) { c.IMDSTimeout, c.Given = time.Second, agent.Given{} })},
		{"plan", "plan 10.0.1.10 10.0.1.11", nil, "plan", want(func(c *agent.Config) { c.Pools, c.DryRun = pools, true })},
		{"dry run", "10.0.1.10 10.0.1.11 --dry-run", nil, "plan", want(func(c *agent.Config) { c.Pools, c.DryRun, c.Given = pools, true, agent.Given{} })},
		{"dry run of apply, from the environment", "apply", map[string]string{"EMR_STATIC_IP_DRY_RUN": "1"}, "plan", want(func(c *agent.Config) { c.DryRun, c.Given = true, agent.Given{} })},
		{"flags before a command", "--timeout 5m --verbose release", nil, "release", want(func(c *agent.Config) {
			c.Timeout, c.Verbose, c.Given = 5*time.Minute, true, agent.Given{}
		})},
		{"apply's flags before it", "--role core apply 10.0.1.10 10.0.1.11", nil, "apply", want(func(c *agent.Config) {
			c.Pools, c.Role, c.Given = pools, agent.RoleCore, agent.Given{Role: true}
		})},
		{"flags after and between addresses", "10.0.1.10 --snat-scope=all 10.0.1.11 --role CORE", nil, "apply", want(func(c *agent.Config) {
			c.Pools, c.Scope, c.Role, c.Given = pools, "all", agent.RoleCore, agent.Given{Role: true, Scope: true}
		})},
		{"after two dashes", "--role CORE -- 10.0.1.10 10.0.1.11", nil, "apply", want(func(c *agent.Config) {
			c.Pools, c.Role, c.Given = pools, agent.RoleCore, agent.Given{Role: true}
		})},
		{"every flag", "--master-ips 10.0.1.10 --core-ips 10.0.1.11 --task-ips 10.0.1.20-21 --task-ips 10.0.1.30 --role task --snat-scope all " +
			"--only-cidr 192.168.0.0/16,172.16.0.0/12 --only-cidr 10.9.0.1 --exclude-cidr 192.168.9.0/24 --nat-backend nftables --prefix /team/x " +
			"--no-name-tag --no-units --ssm-put-rate 10 --timeout 90s --imds-timeout 1m --lock-wait 5s --state-dir /var/tmp/x/ --log-format json --verbose --on-error continue --claim-tag=team=data --claim-tag cost=,a=b=c",
			nil, "apply", agent.Config{
				Pools: agent.Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11"), Task: netiptest.Addrs("10.0.1.20 10.0.1.21 10.0.1.30")}, Role: agent.RoleTask, Scope: "all",
				Only:    []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("10.9.0.1/32")},
				Exclude: []netip.Prefix{netip.MustParsePrefix("192.168.9.0/24")}, Backend: "nftables", Prefix: "/team/x", PutRate: 10,
				Timeout: 90 * time.Second, IMDSTimeout: time.Minute, LockWait: 5 * time.Second, StateDir: "/var/tmp/x", LogFormat: "json", Output: "text", Verbose: true, NoUnits: true, OnError: "continue",
				ClaimTags: []tag.Tag{{Key: "team", Value: "data"}, {Key: "cost"}, {Key: "a", Value: "b=c"}},
				Given:     agent.Given{Only: true, Exclude: true, Role: true, Scope: true, Backend: true, Prefix: true, PutRate: true, NoUnits: true, NameTag: true, OnError: true, ClaimTags: true},
			}},
		{"from the environment", "", map[string]string{"EMR_STATIC_IP_MASTER_IPS": "10.0.1.10", "EMR_STATIC_IP_CORE_IPS": "10.0.1.11", "EMR_STATIC_IP_VERBOSE": "1",
			"EMR_STATIC_IP_ROLE": "", "EMR_STATIC_IP_NO_NAME_TAG": "true"}, "apply",
			want(func(c *agent.Config) {
				c.Pools, c.Verbose, c.NameTag, c.Given = pools, true, false, agent.Given{NameTag: true}
			})},
		{"the command line goes before the environment", "10.0.1.10 10.0.1.11 --timeout 5m", map[string]string{"EMR_STATIC_IP_MASTER_IPS": "10.0.1.77", "EMR_STATIC_IP_TASK_IPS": "10.0.1.20",
			"EMR_STATIC_IP_TIMEOUT": "1h"}, "apply", want(func(c *agent.Config) {
			c.Pools, c.Timeout, c.Given = pools, 5*time.Minute, agent.Given{}
			c.Pools.Task = netiptest.Addrs("10.0.1.20")
		})},
		{"a switch turned off", "--no-name-tag=false --no-units=0", map[string]string{"EMR_STATIC_IP_NO_NAME_TAG": "true"}, "apply", want(func(c *agent.Config) {
			c.Given = agent.Given{NoUnits: true, NameTag: true}
		})},
		{"variables of flags that a command does not have", "release", map[string]string{"EMR_STATIC_IP_ROLE": "nonsense"}, "release", want(func(*agent.Config) {})},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			args := strings.Fields(test.args)
			code, _, stderr, got := runMain(t, t.Context(), args, test.env, agent.Report{}, nil)
			if code != exit.OK || got.what != test.what {
				t.Fatalf("code %d, called %q, want %q\n%s", code, got.what, test.what, stderr)
			}
			if !reflect.DeepEqual(got.cfg, test.want) {
				t.Errorf("got  %+v\nwant %+v", got.cfg, test.want)
			}
			if !slices.Equal(got.root, args) {
				t.Errorf("root is asked to run %q, not %q", got.root, args)
			}
		})
	}
}

func TestPrefixValues(t *testing.T) {
	for text, ok := range map[string]bool{
		"/emr-static-ip": true, "/a/b.c/d_e": true, "/teams/aws": true, "/" + strings.Repeat("a/", 12) + "a": true,
		"": false, "/": false, "x": false, "/x/": false, "/x//y": false, "/aws": false, "/AWSome": false, "/ssm/x": false, "/ä": false, "/a b": false,
		"/{{x}}": false, "/" + strings.Repeat("a/", 13) + "a": false, "/" + strings.Repeat("a", 900): false,
	} {
		var got string
		if err := parsePrefix(&got)("--prefix", text); (err == nil) != ok || ok && got != text {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"-h"}, {"help"}, {"--bogus", "--help"}} {
		code, stdout, stderr, got := runMain(t, t.Context(), args, nil, agent.Report{}, nil)
		if code != exit.OK || got.what != "" || stderr != "" {
			t.Errorf("%q: code %d, called %q, %s", args, code, got.what, stderr)
		}
		bootstrap := strings.Index(stdout, "emr-static-ip MASTER_IP CORE_IP [CORE_IP ...]")
		if other := strings.Index(stdout, "release"); bootstrap < 0 || other < bootstrap {
			t.Errorf("%q: the bootstrap form does not come first:\n%s", args, stdout)
		}
		for _, c := range []exit.Code{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 130, 134, 143} {
			if !slices.Contains(strings.Fields(stdout), fmt.Sprint(int(c))) {
				t.Errorf("%q: exit code %d is not explained", args, c)
			}
		}
		if strings.Contains(stdout, "  "+euidCommand+" ") || strings.Contains(stdout, "  "+retryCommand+" ") {
			t.Errorf("%q: shows internals\n%s", args, stdout)
		}
	}
	if _, stdout, _, _ := runMain(t, t.Context(), []string{"release", "--help"}, nil, agent.Report{}, nil); !strings.Contains(stdout, "emr-static-ip release") ||
		!strings.Contains(stdout, "--timeout") || strings.Contains(stdout, "--role") {
		t.Errorf("release --help:\n%s", stdout)
	}
	texts := golden.Open(t, "unknown-commands.txt")
	for _, words := range []string{"relase", "bananas", "ledger lst"} {
		code, stdout, stderr, _ := runMain(t, t.Context(), append([]string{"help"}, strings.Fields(words)...), nil, agent.Report{}, nil)
		if code != exit.Usage || stdout != "" {
			t.Errorf("help %s: code %d, %q, %q", words, code, stdout, stderr)
		}
		texts.Is(t, "help "+words, stderr)
	}
	for _, words := range []string{"release", "ledger gc", "completion bash", "help"} {
		if code, stdout, _, _ := runMain(t, t.Context(), append([]string{"help"}, strings.Fields(words)...), nil, agent.Report{}, nil); code != exit.OK || !strings.Contains(stdout, "Usage:") {
			t.Errorf("help %s: code %d, %q", words, code, stdout)
		}
	}
	for _, arg := range []string{"version", "--version"} {
		if code, stdout, _, got := runMain(t, t.Context(), []string{arg}, nil, agent.Report{}, nil); code != exit.OK || got.what != "" || stdout != versionText()+"\n" {
			t.Errorf("%s: code %d, %q", arg, code, stdout)
		}
	}
	if _, stdout, _, got := runMain(t, t.Context(), []string{euidCommand}, nil, agent.Report{}, nil); stdout != fmt.Sprintln(os.Geteuid()) || got.root != nil {
		t.Errorf("euid: %q", stdout)
	}
}

func TestMainReports(t *testing.T) {
	report := agent.Report{InstanceID: "i-1", Changes: []string{"claimed 10.0.1.11"}, Unchanged: 9, Duration: 1234 * time.Millisecond}
	code, stdout, stderr, _ := runMain(t, t.Context(), nil, nil, report, nil)
	if want := "version    " + agent.Version() + "\ninstance   i-1\nchanges\n  claimed 10.0.1.11\nchanged=1 unchanged=9 duration=1.2s\n"; code != exit.OK || stdout != want || stderr != "" {
		t.Errorf("code %d, stdout\n%s\nwant\n%s\nstderr %s", code, stdout, want, stderr)
	}
}

// TestStatusAndPlanCommands checks the form of the output, and the exit codes. A plan goes on
// without root.
func TestStatusAndPlanCommands(t *testing.T) {
	for _, args := range []string{"status", "status -o text", "status --output=text"} {
		code, stdout, stderr, got := runMain(t, t.Context(), strings.Fields(args), nil, agent.Report{}, nil)
		if code != exit.Drifted || got.what != "status" || stderr != "" {
			t.Errorf("%s: code %d, %q, %q", args, code, stdout, stderr)
		}
		golden.Is(t, "status.txt", strings.ReplaceAll(stdout, agent.Version(), "VERSION"))
	}
	for _, args := range []string{"status -o json", "status -ojson", "status -o=json", "status --output json"} {
		code, stdout, _, _ := runMain(t, t.Context(), strings.Fields(args), nil, agent.Report{}, nil)
		if code != exit.Drifted || stdout != `{"version":1,"tool_version":"`+agent.Version()+`","tool":"`+agent.Version()+`","exit_code":10,"verdict":"drifted","reasons":[],"static":"10.0.1.11","pending":[],"kernel":[],"units":[],"notes":[]}`+"\n" {
			t.Errorf("%s: code %d, %q", args, code, stdout)
		}
	}
	for _, args := range []string{"apply -o json", "plan -ojson", "release -o=json", "restore --output json", "-o json 10.0.1.10 10.0.1.11"} {
		code, stdout, _, _ := runMain(t, t.Context(), strings.Fields(args), nil, agent.Report{Unchanged: 3}, nil)
		if code != exit.OK || stdout != `{"version":1,"tool_version":"`+agent.Version()+`","tool":"`+agent.Version()+`","exit_code":0,"dry_run":`+fmt.Sprint(strings.HasPrefix(args, "plan"))+
			`,"changes":[],"unchanged":3,"calls":{},"notes":[],"warnings":[],"seconds":0}`+"\n" {
			t.Errorf("%s: code %d, %q", args, code, stdout)
		}
	}
	if _, stdout, _, _ := runMain(t, t.Context(), []string{"version", "-o", "json"}, nil, agent.Report{}, nil); !strings.HasPrefix(stdout, `{"version":1,"tool_version":"`+agent.Version()+`","tool":"`+agent.Version()+`","exit_code":0,"go":"`) {
		t.Errorf("version: %q", stdout)
	}
	for _, args := range []string{"status -o xml", "status 10.0.1.1", "status --role CORE", "restore 10.0.1.1", "restore --dry-run"} {
		if code, _, _, got := runMain(t, t.Context(), strings.Fields(args), nil, agent.Report{}, nil); code != exit.Usage || got.what != "" {
			t.Errorf("%s: code %d, called %q", args, code, got.what)
		}
	}
	if code, _, _, _ := runMain(t, t.Context(), []string{"status"}, nil, agent.Report{}, errors.New("x")); code != exit.Internal {
		t.Errorf("code %d", code)
	}
	planned := false
	p := Program{
		Plan: func(context.Context, agent.Config, agent.Environment) (agent.Report, error) {
			planned = true
			return agent.Report{DryRun: true}, nil
		},
		Elevate: func(context.Context, []string) error { return notRoot(errors.New("no"), "") },
	}
	var out bytes.Buffer
	if code := p.Main(t.Context(), []string{"plan"}, agent.Environment{Stdout: &out}); code != exit.OK || !planned || out.String() != "version    "+agent.Version()+"\nto-change=0 unchanged=0 duration=0.0s\n" {
		t.Errorf("without root: code %d, %q", code, &out)
	}
}

// versionText returns the text of the version command.
func versionText() string {
	var b strings.Builder
	v := versions()
	v.Set(agent.Version(), exit.OK, nil)
	_ = v.Render(&b, formatText)
	return strings.TrimSuffix(b.String(), "\n")
}

func TestMainFailures(t *testing.T) {
	report := agent.Report{Changes: []string{"claimed 10.0.1.11", "evil\x1b[2J"}, Warnings: []string{"careful"}}
	denied := fmt.Errorf("attaching 10.0.1.11: %w", &exit.Error{Code: exit.Permission, Err: errors.New("denied\n\x1b[2J"), Remedy: "grant ec2:AssignPrivateIpAddresses"})
	code, stdout, stderr, _ := runMain(t, t.Context(), nil, nil, report, denied)
	golden.Is(t, "failure.txt", stderr)
	if code != exit.Permission || stdout != "" {
		t.Errorf("code %d, stdout %s", code, stdout)
	}
	code, _, stderr, _ = runMain(t, t.Context(), []string{"--log-format", "json"}, nil, report, denied)
	var entry struct {
		Level    string   `json:"level"`
		Code     int      `json:"exit_code"`
		Error    string   `json:"error"`
		Done     []string `json:"done"`
		Remedies []string `json:"remedies"`
	}
	if err := json.Unmarshal([]byte(stderr), &entry); err != nil || entry.Level != "error" || entry.Code != 4 || entry.Error != denied.Error() ||
		!slices.Equal(entry.Done, report.Changes) || len(entry.Remedies) != 1 {
		t.Errorf("code %d, %v, %+v in\n%s", code, err, entry, stderr)
	}
	for _, test := range []struct {
		err  error
		want exit.Code
	}{
		{errors.New("x"), exit.Internal},
		{fmt.Errorf("waiting: %w", context.DeadlineExceeded), exit.Deadline},
		{&exit.Error{Code: exit.Kernel, Err: errors.New("x")}, exit.Kernel},
	} {
		if code, _, _, _ := runMain(t, t.Context(), nil, nil, agent.Report{}, test.err); code != test.want {
			t.Errorf("%v: code %d, want %d", test.err, code, test.want)
		}
	}
}

func TestMainSignals(t *testing.T) {
	messages := golden.Open(t, "signals.txt")
	for signal, want := range map[syscall.Signal]exit.Code{syscall.SIGINT: exit.Interrupt, syscall.SIGTERM: exit.Terminate} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(&SignalError{Signal: signal})
		failed := &exit.Error{Code: exit.Unreachable, Err: fmt.Errorf("calling EC2: %w", context.Canceled), Remedy: "check the endpoint"}
		code, _, stderr, _ := runMain(t, ctx, nil, nil, agent.Report{Changes: []string{"claimed 10.0.1.11"}}, failed)
		if code != want || stderr == "" {
			t.Errorf("%v: code %d", signal, code)
		}
		messages.Is(t, signal.String(), stderr)
		if code, _, _, _ := runMain(t, ctx, nil, nil, agent.Report{}, nil); code != exit.OK {
			t.Errorf("%v came too late to end anything: code %d", signal, code)
		}
	}
}

func TestMainWithoutRoot(t *testing.T) {
	var errOut bytes.Buffer
	refused := errors.New("no")
	p := Program{
		Apply: func(context.Context, agent.Config, agent.Environment) (agent.Report, error) {
			panic("ran without root")
		},
		Elevate: func(context.Context, []string) error { return notRoot(refused, "") },
	}
	if code := p.Main(t.Context(), nil, agent.Environment{Stderr: &errOut}); code != exit.NotRoot {
		t.Errorf("code %d\n%s", code, &errOut)
	}
}

// FuzzCommandLine checks that any arguments and environment either start the work or end with exit
// code 2, without a panic and in words fit for a terminal. Accepted addresses are IPv4.
func FuzzCommandLine(f *testing.F) {
	for _, seed := range []string{"10.0.1.10\n10.0.1.11", "release", "--role\nCORE", "-", "--", "---", "--=", "-=", "--role=", "-h=", "--help=x", "help\nx", "--verbose=\n-v", "\n\n",
		"__complete\nx", "__complete\n", "plan\n--only-cidr\n10.0.0.0/8", "status\n-ojson", "--log-format=json\n\x1b[2J", "--timeout\n1e9h"} {
		f.Add(seed, "", "")
	}
	for _, flag := range []string{pool.FlagCore, pool.FlagTask, flagRole, flagOnly, flagTimeout, flagStateDir, flagPrefix, flagPutRate, flagVerbose, flagLogFormat, flagBackend} {
		for _, value := range []string{"10.0.1.10-12", "::1", "core", "true", "json", "\x1b[2J", "1e400", "../x", strings.Repeat("9", 300)} {
			f.Add("10.0.1.10\n10.0.1.11", variableOf(flag), value)
		}
	}
	f.Fuzz(func(t *testing.T, word, variable, value string) {
		code, stdout, stderr, got := runMain(t, t.Context(), strings.Split(word, "\n"), map[string]string{variable: value}, agent.Report{}, nil)
		if code != exit.OK && (code != exit.Usage || stderr == "" || got.what != "") && (code != exit.Drifted || got.what == "") {
			t.Fatalf("code %d, called %q, stderr %q", code, got.what, stderr)
		}
		if strings.HasPrefix(word, "__complete\n") {
			stdout = strings.ReplaceAll(stdout, "\t", " ") // for a shell: a word, a tab, and what it means
		}
		for _, line := range strings.Split(stdout+"\n"+stderr, "\n") {
			if text.Clean(line, len(line)) != line || len(line) > 4*text.MaxLine {
				t.Fatalf("not fit for a terminal: %q", line)
			}
		}
		for _, addr := range slices.Concat(got.cfg.Pools.Master, got.cfg.Pools.Core, got.cfg.Pools.Task) {
			if !addr.Is4() {
				t.Fatalf("address %v", addr)
			}
		}
	})
}

// The restore of the timer builds the flags of no other command. It has the same flags as always.
func TestOnlyRestore(t *testing.T) {
	environ := func(variables ...string) agent.Environment {
		return agent.Environment{Environ: func() []string { return append(variables, "HOME=/root") }}
	}
	for _, c := range []struct {
		args []string
		env  agent.Environment
		want string
	}{
		{[]string{"restore"}, environ(), restoreCommand},
		{[]string{"restore", "--timeout", "100s", "--state-dir", "/var/lib/other"}, environ(), restoreCommand},
		{[]string{"restore"}, environ("EMR_STATIC_IP_CORE_IP=10.0.1.20"), ""},
		{[]string{"--verbose", "restore"}, environ(), ""}, {[]string{"status"}, environ(), ""}, {nil, environ(), ""},
	} {
		if got := onlyCommand(c.args, c.env); got != c.want {
			t.Errorf("%q, %q: %q, want %q", c.args, c.env.Environ(), got, c.want)
		}
	}
	usage := func(only string) string {
		root := (&commandLine{only: only}).tree()
		cmd, _, err := root.Find([]string{restoreCommand})
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range everyCommand(root) {
			if only != "" && other != cmd && other.Flag(flagTimeout) != nil {
				t.Errorf("%s has flags", other.Name())
			}
		}
		return cmd.UsageString()
	}
	if got, want := usage(restoreCommand), usage(""); got != want || !strings.Contains(got, "--"+flagTimeout) {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
