package scripts

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/emr-static-ip/emr-static-ip"

// A rule forbids imports in some of the module's files. Paths are relative to the module's root,
// with slashes.
type rule struct {
	name      string
	forbidden func(imported string) bool
	applies   func(file string) bool
}

// rules are the layering rules of the module. Code outside the product (tests, the rehearsal in
// cmd/emrsim) may use the SDK and netlink freely.
var rules = []rule{
	{
		name:      "only ssmcoord talks to Parameter Store",
		forbidden: oneOf("github.com/aws/aws-sdk-go-v2/service/ssm"),
		applies:   productOutside("ssmcoord"),
	},
	{
		name:      "only agent/ec2 talks to EC2 and IMDS",
		forbidden: oneOf("github.com/aws/aws-sdk-go-v2/service/ec2", "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"),
		applies:   productOutside("agent/ec2"),
	},
	{
		name:      "the program does not link the SDK's client of EMR: see ec2.Service",
		forbidden: oneOf("github.com/aws/aws-sdk-go-v2/service/emr"),
		applies:   productOutside(),
	},
	{
		name: "neither the program nor the rehearsal links what brings the SDK's clients of SSO, Signin and STS: see agent/ec2/settings",
		forbidden: oneOf("github.com/aws/aws-sdk-go-v2/config", "github.com/aws/aws-sdk-go-v2/credentials/logincreds", "github.com/aws/aws-sdk-go-v2/credentials/ssocreds",
			"github.com/aws/aws-sdk-go-v2/credentials/stscreds", "github.com/aws/aws-sdk-go-v2/service/sts"),
		applies: func(file string) bool { return !isTest(file) },
	},
	{
		name: "only netcfg touches the kernel's network",
		forbidden: oneOf("github.com/vishvananda/netlink", "github.com/vishvananda/netns", "github.com/mdlayher/netlink",
			"github.com/coreos/go-iptables", "github.com/google/nftables"),
		applies: productOutside("netcfg"),
	},
	{
		name:      "netcfg does not know the ledger",
		forbidden: oneOf(module + "/ssmcoord"),
		applies:   func(file string) bool { return within(file, "netcfg") },
	},
	{
		name:      "ssmcoord does not know the kernel",
		forbidden: oneOf(module + "/netcfg"),
		applies:   func(file string) bool { return within(file, "ssmcoord") },
	},
	{
		name:      "the rehearsal and its cloud model are for tests only",
		forbidden: oneOf(module + "/cmd/emrsim"),
		applies:   productOutside(),
	},
	{
		name:      "agent/internal imports no other room",
		forbidden: func(imported string) bool { return inAgent(imported) && !within(imported, module+"/agent/internal") },
		applies:   func(file string) bool { return !isTest(file) && within(file, "agent/internal") },
	},
	{
		name: "the rooms below the run do not import it, nor what is above it",
		forbidden: func(imported string) bool {
			return imported == module+"/agent" || oneOf(module+"/agent/cli", module+"/agent/cluster", module+"/agent/doctor", module+"/agent/ledger")(imported)
		},
		applies: func(file string) bool {
			return !isTest(file) && within(file, "agent") && path.Dir(file) != "agent" &&
				!slices.ContainsFunc([]string{"agent/cli", "agent/cluster", "agent/doctor", "agent/ledger", "agent/internal"}, func(dir string) bool { return within(file, dir) })
		},
	},
	{
		name:      "the run does not import the commands above it",
		forbidden: oneOf(module+"/agent/cli", module+"/agent/cluster", module+"/agent/doctor", module+"/agent/ledger"),
		applies:   func(file string) bool { return !isTest(file) && path.Dir(file) == "agent" },
	},
	{
		name:      "doctor does not import the command line or another command",
		forbidden: oneOf(module+"/agent/cli", module+"/agent/cluster", module+"/agent/ledger"),
		applies:   func(file string) bool { return !isTest(file) && within(file, "agent/doctor") },
	},
	{
		name:      "ledger does not import the command line or another command",
		forbidden: oneOf(module+"/agent/cli", module+"/agent/cluster", module+"/agent/doctor"),
		applies:   func(file string) bool { return !isTest(file) && within(file, "agent/ledger") },
	},
	{
		name:      "cluster does not import the command line or another command",
		forbidden: oneOf(module+"/agent/cli", module+"/agent/doctor", module+"/agent/ledger"),
		applies:   func(file string) bool { return !isTest(file) && within(file, "agent/cluster") },
	},
	{
		name:      "only the command line imports cobra and pflag",
		forbidden: oneOf("github.com/spf13"),
		applies:   func(file string) bool { return productOutside("agent/cli", "scripts/manpage")(file) },
	},
	{
		name:      "the program imports nothing from scripts",
		forbidden: oneOf(module + "/scripts"),
		applies:   func(file string) bool { return !isTest(file) && !within(file, "scripts") },
	},
	{
		name:      "only emrsim launch --virtual imports the simulation",
		forbidden: oneOf(module + "/cmd/emrsim/simulation"),
		applies:   func(file string) bool { return file != "cmd/emrsim/virtual.go" },
	},
	{
		name:      "the kernel in memory and the node of the tests are for tests only",
		forbidden: oneOf(module+"/netcfg/netcfgtest", module+"/agent/agenttest"),
		applies:   productOutside(),
	},
	{
		name:      "golden files, netiptest and awsenv are for tests only",
		forbidden: oneOf(module+"/internal/golden", module+"/internal/netiptest", module+"/internal/awsenv"),
		applies:   func(file string) bool { return !isTest(file) },
	},
	{
		name:      "regular expressions are compiled when they are first used: lazyregexp",
		forbidden: func(imported string) bool { return imported == "regexp" },
		applies:   productOutside("scripts", "internal/lazyregexp"),
	},
	{
		name:      "internal imports no package of the module outside internal",
		forbidden: func(imported string) bool { return within(imported, module) && !within(imported, module+"/internal") },
		applies:   func(file string) bool { return within(file, "internal") },
	},
	{
		name: "decisions and plans are pure: the standard library and identifier, and nothing that acts",
		forbidden: func(imported string) bool {
			return imported != module+"/internal/identifier" && strings.Contains(strings.Split(imported, "/")[0], ".") || acts(imported)
		},
		applies: func(file string) bool {
			return !isTest(file) && slices.ContainsFunc(pure, func(pattern string) bool { return matches(pattern, file) })
		},
	},
}

// acts matches the packages of the standard library with which code waits or reaches outside its
// process.
var acts = oneOf("context", "log", "net/http", "os", "syscall", "math/rand", "math/rand/v2")

// pure are the files, as path.Match patterns, whose code decides without side effects. Each pattern
// must match a file.
var pure = []string{
	"ssmcoord/judge.go", "ssmcoord/order.go", "ssmcoord/plan.go", "ssmcoord/record.go",
	"netcfg/config.go", "netcfg/rule.go", "netcfg/ruleset.go", // desired state
	"netcfg/observed.go", "netcfg/parse.go", // observed state
	"netcfg/plan.go", "netcfg/change.go", "netcfg/render.go", // their difference and its text
	"internal/identifier/*.go",
}

func isTest(file string) bool {
	return strings.HasSuffix(file, "_test.go") || within(file, "agent/agenttest")
}

func inAgent(imported string) bool {
	return imported == module+"/agent" || within(imported, module+"/agent")
}

func within(file, dir string) bool { return strings.HasPrefix(file, dir+"/") }

func matches(pattern, file string) bool {
	ok, err := path.Match(pattern, file)
	return ok && err == nil
}

// oneOf returns a function that matches the given packages and those below them.
func oneOf(packages ...string) func(string) bool {
	return func(imported string) bool {
		return slices.ContainsFunc(packages, func(p string) bool { return imported == p || within(imported, p) })
	}
}

// productOutside returns a function that matches the product's files outside the given directories.
func productOutside(dirs ...string) func(string) bool {
	return func(file string) bool {
		return !isTest(file) && !within(file, "cmd/emrsim") &&
			!slices.ContainsFunc(dirs, func(dir string) bool { return within(file, dir) })
	}
}

// sources returns the Go files below root, in lexical order.
func sources(root fs.FS) ([]string, error) {
	var files []string
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && strings.HasPrefix(entry.Name(), "."), entry.IsDir() && entry.Name() == "testdata":
			return fs.SkipDir
		case !entry.IsDir() && strings.HasSuffix(name, ".go"):
			files = append(files, name)
		}
		return nil
	})
	return files, err
}

// violations returns the violations of all rules in one file.
func violations(file string, source []byte) ([]string, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.ImportsOnly)
	if err != nil {
		return nil, fmt.Errorf("parsing the imports of %s: %w", file, err)
	}
	var found []string
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("import %s in %s: %w", spec.Path.Value, file, err)
		}
		for _, r := range rules {
			if r.applies(file) && r.forbidden(imported) {
				found = append(found, fmt.Sprintf("%s imports %s: %s", file, imported, r.name))
			}
		}
	}
	return found, nil
}

func TestImportRules(t *testing.T) {
	root := os.DirFS("..")
	files, err := sources(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range pure {
		if !slices.ContainsFunc(files, func(file string) bool { return matches(pattern, file) && !isTest(file) }) {
			t.Errorf("no file matches the pattern %q in pure", pattern)
		}
	}
	for _, file := range files {
		source, err := fs.ReadFile(root, file)
		if err != nil {
			t.Fatal(err)
		}
		found, err := violations(file, source)
		if err != nil {
			t.Error(err)
		}
		for _, v := range found {
			t.Error(v)
		}
	}
}

// TestImportRulesFindViolations applies every rule to a file that violates it and to a similar one
// that does not.
func TestImportRulesFindViolations(t *testing.T) {
	const sdk = "github.com/aws/aws-sdk-go-v2/"
	tests := []struct {
		file, imported string
		broken         string // name of the violated rule; empty if the import is allowed
	}{
		{"agent/run.go", sdk + "service/ssm", "only ssmcoord talks to Parameter Store"},
		{"agent/run.go", sdk + "service/ssm/types", "only ssmcoord talks to Parameter Store"},
		{"ssmcoord/store.go", sdk + "service/ssm", ""},
		{"agent/run_test.go", sdk + "service/ssm", ""},
		{"cmd/emrsim/cloud/ssm.go", sdk + "service/ssm", ""},
		{"cmd/emr-static-ip/main.go", sdk + "service/ssm", "only ssmcoord talks to Parameter Store"},
		{"ssmcoord/store.go", sdk + "service/ec2", "only agent/ec2 talks to EC2 and IMDS"},
		{"netcfg/observe.go", sdk + "feature/ec2/imds", "only agent/ec2 talks to EC2 and IMDS"},
		{"agent/ec2/node.go", sdk + "service/ec2", ""},
		{"agent/doctor/permission.go", sdk + "service/ec2", "only agent/ec2 talks to EC2 and IMDS"},
		{"agent/run.go", sdk + "service/ec2", "only agent/ec2 talks to EC2 and IMDS"},
		{"agent/run.go", sdk + "service/emr", "the program does not link the SDK's client of EMR: see ec2.Service"},
		{"agent/cluster/emr.go", sdk + "service/emr/types", "the program does not link the SDK's client of EMR: see ec2.Service"},
		{"agent/ec2/service_test.go", sdk + "service/emr", ""},
		{"agent/ec2/session.go", sdk + "config", "neither the program nor the rehearsal links what brings the SDK's clients of SSO, Signin and STS: see agent/ec2/settings"},
		{"cmd/emrsim/certify.go", sdk + "service/sts", "neither the program nor the rehearsal links what brings the SDK's clients of SSO, Signin and STS: see agent/ec2/settings"},
		{"agent/ec2/settings/settings_test.go", sdk + "config", ""},
		{"agent/ec2/settings/credentials.go", sdk + "credentials/processcreds", ""},
		{"agent/cluster/cluster.go", sdk + "service/ec2", "only agent/ec2 talks to EC2 and IMDS"},
		{"agent/net.go", "github.com/vishvananda/netlink", "only netcfg touches the kernel's network"},
		{"agent/net.go", "github.com/coreos/go-iptables/iptables", "only netcfg touches the kernel's network"},
		{"agent/net.go", "github.com/google/nftables/expr", "only netcfg touches the kernel's network"},
		{"netcfg/observe.go", "github.com/vishvananda/netlink", ""},
		{"cmd/emrsim/lab/link.go", "github.com/vishvananda/netlink", ""},
		{"netcfg/observe.go", module + "/ssmcoord", "netcfg does not know the ledger"},
		{"netcfg/observe_test.go", module + "/ssmcoord", "netcfg does not know the ledger"},
		{"ssmcoord/store.go", module + "/netcfg", "ssmcoord does not know the kernel"},
		{"agent/run.go", module + "/netcfg", ""},
		{"agent/run.go", module + "/cmd/emrsim/cloud", "the rehearsal and its cloud model are for tests only"},
		{"agent/run_test.go", module + "/cmd/emrsim/cloud", ""},
		{"cmd/emrsim/launch.go", module + "/cmd/emrsim/lab", ""},
		{"cmd/emrsim/launch.go", module + "/cmd/emrsim/simulation", "only emrsim launch --virtual imports the simulation"},
		{"cmd/emrsim/lab/lab_test.go", module + "/cmd/emrsim/simulation", "only emrsim launch --virtual imports the simulation"},
		{"agent/internal/host/environment.go", module + "/agent/pool", "agent/internal imports no other room"},
		{"agent/internal/host/environment.go", module + "/agent", "agent/internal imports no other room"},
		{"agent/internal/host/environment.go", module + "/agent/internal/text", ""},
		{"agent/internal/host/environment.go", module + "/internal/pause", ""},
		{"internal/pause/pause.go", module + "/ssmcoord", "internal imports no package of the module outside internal"},
		{"internal/pause/pause_test.go", module + "/agent/internal/text", "internal imports no package of the module outside internal"},
		{"ssmcoord/wait.go", module + "/internal/pause", ""},
		{"ssmcoord/wait.go", module + "/internal/golden", "golden files, netiptest and awsenv are for tests only"},
		{"cmd/emrsim/run.go", module + "/internal/netiptest", "golden files, netiptest and awsenv are for tests only"},
		{"ssmcoord/judge_test.go", module + "/internal/golden", ""},
		{"agent/agenttest/node.go", module + "/internal/netiptest", ""},
		{"ssmcoord/record.go", module + "/internal/identifier", ""},
		{"agent/pool/region.go", "regexp", "regular expressions are compiled when they are first used: lazyregexp"},
		{"agent/pool/region.go", "regexp/syntax", ""},
		{"agent/pool/pool_test.go", "regexp", ""},
		{"agent/pool/pool.go", module + "/agent", "the rooms below the run do not import it, nor what is above it"},
		{"agent/pool/pool.go", module + "/agent/ledger", "the rooms below the run do not import it, nor what is above it"},
		{"agent/run.go", module + "/agent/ledger", "the run does not import the commands above it"},
		{"agent/run.go", module + "/agent/cli", "the run does not import the commands above it"},
		{"agent/program_test.go", module + "/agent/cli", ""},
		{"agent/doctor/doctor.go", module + "/agent/cli", "doctor does not import the command line or another command"},
		{"agent/doctor/doctor.go", module + "/agent", ""},
		{"agent/ledger/ledger.go", module + "/agent/doctor", "ledger does not import the command line or another command"},
		{"agent/ledger/ledger.go", module + "/agent/ec2", ""},
		{"agent/cluster/cluster.go", module + "/agent/ledger", "cluster does not import the command line or another command"},
		{"agent/cluster/cluster.go", module + "/agent", ""},
		{"agent/run.go", module + "/agent/cluster", "the run does not import the commands above it"},
		{"agent/operator/operator.go", module + "/agent", "the rooms below the run do not import it, nor what is above it"},
		{"agent/cli/command.go", module + "/agent/ledger", ""},
		{"agent/cli/command.go", "github.com/spf13/cobra", ""},
		{"agent/run.go", "github.com/spf13/cobra", "only the command line imports cobra and pflag"},
		{"agent/pool/pool.go", module + "/agent/emr", ""},
		{"agent/run.go", module + "/agent/pool", ""},
		{"agent/run.go", module + "/scripts/manpage", "the program imports nothing from scripts"},
		{"scripts/manpage/main.go", module + "/agent", ""},
		{"agent/run.go", module + "/netcfg/netcfgtest", "the kernel in memory and the node of the tests are for tests only"},
		{"agent/run_test.go", module + "/netcfg/netcfgtest", ""},
		{"ssmcoord/judge.go", "go.uber.org/zap", "decisions and plans are pure: the standard library and identifier, and nothing that acts"},
		{"ssmcoord/judge.go", module + "/agent", "decisions and plans are pure: the standard library and identifier, and nothing that acts"},
		{"ssmcoord/judge.go", "net/netip", ""},
		{"netcfg/plan.go", "github.com/vishvananda/netlink", "decisions and plans are pure: the standard library and identifier, and nothing that acts"},
		{"netcfg/plan.go", "os/exec", "decisions and plans are pure: the standard library and identifier, and nothing that acts"},
		{"netcfg/plan_test.go", "os/exec", ""},
		{"ssmcoord/store.go", "go.uber.org/zap", ""},
	}
	broken := map[string]bool{}
	for _, tt := range tests {
		source := fmt.Sprintf("package p\n\nimport _ %q\n", tt.imported)
		found, err := violations(tt.file, []byte(source))
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		if tt.broken != "" {
			want = []string{fmt.Sprintf("%s imports %s: %s", tt.file, tt.imported, tt.broken)}
			broken[tt.broken] = true
		}
		if !slices.Equal(found, want) {
			t.Errorf("violations(%s importing %s) = %q, want %q", tt.file, tt.imported, found, want)
		}
	}
	for _, r := range rules {
		if !broken[r.name] {
			t.Errorf("no test shows that rule %q can fail", r.name)
		}
	}
}
