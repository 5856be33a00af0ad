package cli

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

// The names of the flags. Each flag is also an environment variable: see variableOf.
const (
	flagRole      = "role"
	flagScope     = "snat-scope"
	flagOnly      = "only-cidr"
	flagExclude   = "exclude-cidr"
	flagBackend   = "nat-backend"
	flagPrefix    = "prefix"
	flagNoNameTag = "no-name-tag"
	flagNoUnits   = "no-units"
	flagShutdown  = "no-shutdown-action"
	flagDryRun    = "dry-run"
	flagOnError   = "on-error"
	flagOutput    = "output"
	flagWait      = "wait"
	flagPutRate   = "ssm-put-rate"
	flagVerify    = "verify"
	flagClaimTag  = "claim-tag"
	flagTimeout   = "timeout"
	flagIMDS      = "imds-timeout"
	flagLockWait  = "lock-wait"
	flagStateDir  = "state-dir"
	flagLogFormat = "log-format"
	flagVerbose   = "verbose"
	flagSubnet    = "subnet"
	flagRegion    = "region"
	flagRegions   = "all-regions"
	flagCluster   = "cluster"
	flagRoleName  = "role-name"
	flagYes       = "yes"
	flagBundle    = "bundle"
)

// The values of flagOutput.
const (
	formatText = "text"
	formatJSON = "json"
)

// variablePrefix begins the names of the environment variables.
const variablePrefix = "EMR_STATIC_IP_"

// variableOf returns the environment variable of a flag: EMR_STATIC_IP_CORE_IPS for core-ips.
func variableOf(flag string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// definition has a flag's words in the help text. kind is the name of the flag's value, or "bool".
type definition struct{ name, kind, shown, help string }

// definitions returns the flags in the order of the help text.
func definitions() []definition {
	return []definition{
		{pool.FlagMaster, "IPS", "", "addresses for master nodes"},
		{pool.FlagCore, "IPS", "", "addresses for core nodes"},
		{pool.FlagTask, "IPS", "", "addresses for task nodes (default: task nodes stay as they are)"},
		{pool.FlagAny, "IPS", "", "addresses for instances outside EMR, which have no roles"},
		{flagRole, "ROLE", "", "this node's role: MASTER, CORE or TASK (default: detected)"},
		{flagScope, "SCOPE", agent.DefaultScope, "SNAT traffic to outside the VPC (external), to private networks there (private; default on a node with a public IP) or all traffic (all)"},
		{flagOnly, "CIDRS", "", "SNAT only traffic to these networks"},
		{flagExclude, "CIDRS", "", "never SNAT traffic to these networks"},
		{flagNoNameTag, "bool", "", "leave the instance's Name tag as it is"},
		{flagNoUnits, "bool", "", "install no systemd units that restore address and rules"},
		{flagShutdown, "bool", "", "do not release the address when the node ends (EMR's shutdown action; outside EMR a systemd unit)"},
		{flagOnError, "WHAT", agent.DefaultOnError, "if the run fails: fail, or continue (exit code 0, a tag, and a timer that retries)"},
		{flagDryRun, "bool", "", "show what would be changed, and change nothing: the same as plan"},
		{flagPutRate, "N", "3", "PutParameter calls a second that the account allows"},
		{flagClaimTag, "TAG", "", "tag KEY=VALUE of the record in Parameter Store; may be repeated"},
		{flagVerify, "HOST:PORT", "", "service that the node must reach with its static IP; may be repeated"},
		{flagSubnet, "SUBNET", "", "subnet (default: this node's; with --region, all)"},
		{flagRegion, "REGION", "", "region (default: from the AWS settings, else this node's)"},
		{flagRegions, "bool", "", "list the records of all regions of the account's partition"},
		{flagCluster, "CLUSTER", "", "with --subnet: the cluster whose nodes may have the addresses"},
		{flagRoleName, "ROLE", "", "with --subnet: name or ARN of the nodes' IAM role, whose policies IAM simulates"},
		{flagBundle, "FILE", "", "also write this archive (.tar.gz) of findings, EMR's files, rules, logs and versions, without secrets"},
		{flagYes, "bool", "", "make the changes instead of listing them"},
		{flagBackend, "NAME", agent.DefaultBackend, "backend for the rules: auto, iptables or nftables"},
		{flagPrefix, "PATH", agent.DefaultPrefix, "where the records are in Parameter Store"},
		{flagTimeout, "TIME", shortDuration(agent.DefaultTimeout), "limit of the whole run"},
		{flagIMDS, "TIME", shortDuration(agent.DefaultIMDSTimeout), "how long to wait for the metadata service"},
		{flagLockWait, "TIME", shortDuration(agent.DefaultLockWait), "how long to wait for the xtables lock"},
		{flagStateDir, "DIR", agent.DefaultStateDir, "where this node's state is kept"},
		{flagOutput, "FORMAT", agent.DefaultOutput, "output on stdout: text or json"},
		{flagWait, "TIME", "0s", "how long to keep checking until all is in order; exit code 10 if it is not by then"},
		{flagLogFormat, "FORMAT", agent.DefaultLogFormat, "log on stderr: console or json"},
		{flagVerbose, "bool", "", "log more"},
	}
}

// The flags of the commands.
var (
	roleFlags    = []string{pool.FlagMaster, pool.FlagCore, pool.FlagTask}
	addressFlags = slices.Concat(roleFlags, []string{pool.FlagAny})
	applyFlags   = slices.Concat(addressFlags, []string{flagRole, flagScope, flagOnly, flagExclude, flagNoNameTag, flagNoUnits, flagShutdown,
		flagOnError, flagDryRun, flagPutRate, flagClaimTag, flagVerify})
	nodeFlags   = append([]string{flagBackend, flagLockWait, flagStateDir}, awsFlags...)
	awsFlags    = append([]string{flagPrefix, flagTimeout, flagIMDS}, outputFlags...)
	outputFlags = []string{flagOutput, flagLogFormat, flagVerbose}
)

// shorthands are the flags that have a letter too.
var shorthands = map[string]string{flagOutput: "o"}

// flagText is a flag's value as it was written. Set accepts any text. config parses the texts when
// all flags are known, so that all problems are reported at once.
type flagText struct {
	texts []string
	kind  string
	list  bool // each occurrence adds to the ones before
}

func (f *flagText) String() string { return "" }
func (f *flagText) Type() string   { return f.kind }

func (f *flagText) Set(s string) error {
	if f.list {
		f.texts = append(f.texts, s)
	} else {
		f.texts = []string{s}
	}
	return nil
}

// flags are the flags of one command line.
type flags struct {
	env   agent.Environment
	only  string // the command that alone gets its flags; "" if all commands get theirs
	all   []definition
	texts map[string]*flagText // by the flag's name; commands share them
	read  bool                 // config was called
}

func newFlags(env agent.Environment) flags {
	f := flags{env: env, all: definitions(), texts: map[string]*flagText{}}
	for _, d := range f.all {
		f.texts[d.name] = &flagText{kind: d.kind, list: d.kind == "IPS" || d.kind == "CIDRS" || d.kind == "HOST:PORT" || d.kind == "TAG"}
	}
	return f
}

// isList reports whether a flag's value is a list.
func (f *flags) isList(name string) bool { return f.texts[name] != nil && f.texts[name].list }

// own is what a command has of its own about a flag: the default, or the whole help, which then
// names the default as well.
type own struct{ shown, help string }

// lastRun says of commands that work on what the last run left whose backend and whose prefix they
// use.
var lastRun = map[string]own{
	flagBackend: {help: "backend for the rules: auto, iptables or nftables (default: the last run's, else " + agent.DefaultBackend + ")"},
	flagPrefix:  {help: "where the records are in Parameter Store (default: the last run's, else " + agent.DefaultPrefix + ")"},
}

// eachLook is the help of --timeout for a command that may look more than once.
func eachLook(when string) own {
	return own{help: "limit of the whole run (" + when + ": of each look)", shown: shortDuration(agent.DefaultTimeout)}
}

// with returns what a command has of its own about flags: base and more.
func with(base map[string]own, more ...map[string]own) map[string]own {
	all := maps.Clone(base)
	for _, m := range more {
		maps.Copy(all, m)
	}
	return all
}

// add gives a command flags. owns is what only this command has about them.
func (f *flags) add(cmd *cobra.Command, names []string, owns map[string]own) {
	if f.only == "" || f.only == cmd.Name() {
		f.addTo(cmd.Flags(), names, owns)
	}
}

// addBelow gives flags to a command and the commands below it.
func (f *flags) addBelow(cmd *cobra.Command, names []string, owns map[string]own) {
	if f.only == "" {
		f.addTo(cmd.PersistentFlags(), names, owns)
	}
}

func (f *flags) addTo(set *pflag.FlagSet, names []string, owns map[string]own) {
	set.SortFlags = false
	for _, d := range f.all {
		if !slices.Contains(names, d.name) {
			continue
		}
		flag := &pflag.Flag{Name: d.name, Shorthand: shorthands[d.name], Usage: d.help, Value: f.texts[d.name], DefValue: d.shown}
		if d.kind == "bool" {
			flag.NoOptDefVal = "true"
		}
		if own, ok := owns[d.name]; ok {
			flag.DefValue, flag.Usage = own.shown, cmp.Or(own.help, d.help)
		}
		set.AddFlag(flag)
	}
}

// shortDuration returns a duration without zero seconds: 10m, not 10m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if d >= time.Minute {
		s = strings.TrimSuffix(s, "0s")
	}
	return s
}

// everyCommand returns root and all commands below it.
func everyCommand(root *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{root}
	for _, cmd := range root.Commands() {
		list = append(list, everyCommand(cmd)...)
	}
	return list
}

// commandNames returns the names of the commands that are not hidden.
func commandNames(root *cobra.Command) (names []string) {
	for _, cmd := range root.Commands() {
		if !cmd.Hidden {
			names = append(names, cmd.Name())
		}
	}
	return names
}
