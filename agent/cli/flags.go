package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
	"github.com/emr-static-ip/emr-static-ip/agent/verify"
)

// variableOf is the environment variable that stands for a flag: EMR_STATIC_IP_CORE_IPS for core-ips.
func variableOf(flag string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

const variablePrefix = "EMR_STATIC_IP_"

// flagText is a flag's value as it was written. It takes anything: what it means is looked at when all flags are known, so that all
// problems can be reported at once.
type flagText struct {
	texts []string
	shown string // the default, for the help text
	kind  string // what the help text calls the value
	list  bool   // each occurrence adds to the ones before
}

func (f *flagText) String() string { return f.shown }
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
	texts map[string]*flagText
	read  bool // config was called
}

func newFlags(env agent.Environment) flags {
	return flags{env: env, texts: map[string]*flagText{}}
}

// isList tells whether a flag's value is a list, which may be given in parts.
func (f *flags) isList(name string) bool { return f.texts[name] != nil && f.texts[name].list }

// add defines a flag for several commands, which share its value.
func (f *flags) add(name, kind, shown, help string, commands ...*cobra.Command) {
	f.texts[name] = &flagText{shown: shown, kind: kind, list: kind == "IPS" || kind == "CIDRS" || kind == "HOST:PORT"}
	flag := commands[0].Flags().VarPF(f.texts[name], name, "", help)
	if kind == "bool" {
		flag.NoOptDefVal = "true"
	}
	for _, cmd := range commands[1:] {
		cmd.Flags().AddFlag(flag)
	}
}

// apply defines the flags of the commands that give a node its address.
func (f *flags) apply(commands ...*cobra.Command) {
	for _, cmd := range commands {
		cmd.Flags().SortFlags = false
		cmd.PersistentFlags().SortFlags = false
	}
	f.add(pool.FlagMaster, "IPS", "", "addresses for master nodes", commands...)
	f.add(pool.FlagCore, "IPS", "", "addresses for core nodes", commands...)
	f.add(pool.FlagTask, "IPS", "", "addresses for task nodes (without: task nodes are left as they are)", commands...)
	f.add(flagRole, "ROLE", "", "this node's role: MASTER, CORE or TASK (without: found out)", commands...)
	f.add(flagScope, "SCOPE", agent.DefaultScope, "traffic that leaves with the static IP: external (to outside the VPC), all", commands...)
	f.add(flagOnly, "CIDRS", "", "only traffic to these networks leaves with the static IP", commands...)
	f.add(flagExclude, "CIDRS", "", "traffic to these networks never does", commands...)
	f.add(flagNoNameTag, "bool", "", "leave the instance's Name tag as it is", commands...)
	f.add(flagNoUnits, "bool", "", "install no systemd units that restore address and rules", commands...)
	f.add(flagShutdown, "bool", "", "install no EMR shutdown action that releases the address at the node's end", commands...)
	f.add(flagOnError, "WHAT", agent.DefaultOnError, "what a failed run does to the node: fail, continue (exit code 0, a tag, and a timer that goes on trying)", commands...)
	f.add(flagDryRun, "bool", "", "say what would be changed, and change nothing: the command plan", commands...)
	f.add(flagPutRate, "N", fmt.Sprint(agent.DefaultPutRate), "PutParameter calls a second that the account allows", commands...)
	f.add(flagVerify, "HOST:PORT", "", "a service that the node must reach with its static IP; may be repeated", commands...)
}

// shared defines the flags of all commands, as persistent ones of root.
func (f *flags) shared(root *cobra.Command) {
	add := func(name, kind, shown, help string) {
		f.texts[name] = &flagText{shown: shown, kind: kind}
		flag := root.PersistentFlags().VarPF(f.texts[name], name, "", help)
		if kind == "bool" {
			flag.NoOptDefVal = "true"
		}
	}
	add(flagBackend, "NAME", agent.DefaultBackend, "what programs the rules: auto, iptables, nftables")
	add(flagPrefix, "PATH", agent.DefaultPrefix, "where the claims are in Parameter Store")
	add(flagTimeout, "TIME", shortDuration(agent.DefaultTimeout), "bound for the whole run")
	add(flagIMDS, "TIME", shortDuration(agent.DefaultIMDSTimeout), "how long a late metadata service is waited for")
	add(flagLockWait, "TIME", shortDuration(agent.DefaultLockWait), "how long the xtables lock is waited for")
	add(flagStateDir, "DIR", agent.DefaultStateDir, "where this node's state is kept")
	add(flagLogFormat, "FORMAT", agent.DefaultLogFormat, "of the log on stderr: console, json")
	add(flagVerbose, "bool", "", "log more")
}

// shortDuration is 10m, not 10m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if d >= time.Minute {
		s = strings.TrimSuffix(s, "0s")
	}
	return s
}

// written is a flag as the operator gave it.
type written struct {
	texts    []string
	name     string // how messages call it: --timeout, or EMR_STATIC_IP_TIMEOUT
	variable bool   // it came from the environment
}

// get is what the operator gave for a flag; no texts where nothing was given, or where the command does not have the flag. An empty
// variable is one that is not set.
func (f *flags) get(cmd *cobra.Command, flag string) written {
	if cmd.Flag(flag) == nil {
		return written{}
	}
	if cmd.Flag(flag).Changed {
		return written{texts: f.texts[flag].texts, name: "--" + flag}
	}
	if v := f.env.Getenv(variableOf(flag)); v != "" {
		return written{texts: []string{v}, name: variableOf(flag), variable: true}
	}
	return written{}
}

// config is the configuration that flags, environment and addresses by position make. The error names every problem.
func (f *flags) config(cmd *cobra.Command, positional []string) (agent.Config, error) {
	f.read = true
	c := agent.DefaultConfig()
	var problems []error
	// each calls parse with the value of a flag that was given.
	each := func(flag string, parse func(name, text string) error) {
		w := f.get(cmd, flag)
		if len(w.texts) == 0 {
			return
		}
		setGiven(&c.Given, flag)
		if err := parse(w.name, w.texts[0]); err != nil {
			problems = append(problems, err)
		}
	}
	args := pool.Args{Positional: positional, Names: map[string]string{}, Commands: commandNames(cmd.Root())}
	for _, set := range []struct {
		flag  string
		texts *[]string
	}{{pool.FlagMaster, &args.Master}, {pool.FlagCore, &args.Core}, {pool.FlagTask, &args.Task}} {
		w := f.get(cmd, set.flag)
		if w.variable && len(positional) > 0 && set.flag != pool.FlagTask {
			continue // the command line goes before the environment
		}
		if len(w.texts) > 0 {
			*set.texts, args.Names[set.flag] = w.texts, w.name
		}
	}
	var err error
	if c.Pools, err = pool.Parse(args); err != nil {
		problems = append(problems, err)
	}
	if c.Pools.MasterOnly {
		_, c.Region, _ = pool.MasterOnly(positional)
	}
	for _, networks := range []struct {
		flag string
		into *[]netip.Prefix
	}{{flagOnly, &c.Only}, {flagExclude, &c.Exclude}} {
		w := f.get(cmd, networks.flag)
		if len(w.texts) == 0 {
			continue
		}
		setGiven(&c.Given, networks.flag)
		if *networks.into, err = pool.ParseCIDRs(w.name, w.texts); err != nil {
			problems = append(problems, err)
		}
	}
	if w := f.get(cmd, flagVerify); len(w.texts) > 0 {
		c.Given.Verify = true
		if c.Verify, err = verify.ParseTargets(w.name, w.texts); err != nil {
			problems = append(problems, err)
		}
	}
	each(flagRole, func(name, text string) (err error) {
		if c.Role, err = emr.ParseRole(text); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return err
	})
	values := flagValues()
	each(flagScope, oneOf(&c.Scope, values[flagScope]...))
	each(flagBackend, oneOf(&c.Backend, values[flagBackend]...))
	each(flagLogFormat, oneOf(&c.LogFormat, values[flagLogFormat]...))
	each(flagPrefix, parsePrefix(&c.Prefix))
	each(flagPutRate, parseRate(&c.PutRate))
	each(flagTimeout, parseDuration(&c.Timeout, 24*time.Hour))
	each(flagIMDS, parseDuration(&c.IMDSTimeout, time.Hour))
	each(flagLockWait, parseDuration(&c.LockWait, time.Hour))
	each(flagStateDir, parseDir(&c.StateDir))
	each(flagVerbose, parseBool(&c.Verbose))
	each(flagNoUnits, parseBool(&c.NoUnits))
	each(flagShutdown, parseBool(&c.NoShutdownAction))
	each(flagDryRun, parseBool(&c.DryRun))
	each(flagOnError, oneOf(&c.OnError, values[flagOnError]...))
	each(flagWait, parseDuration(&c.Wait, time.Hour))
	each(flagOutput, oneOf(&c.Output, values[flagOutput]...))
	each(flagSubnet, parseSubnet(&c.Subnet))
	each(flagRegion, parseRegion(&c.Region))
	each(flagYes, parseBool(&c.Yes))
	var noNameTag bool
	each(flagNoNameTag, parseBool(&noNameTag))
	c.NameTag = !noNameTag
	return c, errors.Join(problems...)
}

// setGiven marks the setting of a flag as given, if a later run can repeat the setting.
func setGiven(g *agent.Given, flag string) {
	settings := map[string]*bool{
		flagRole: &g.Role, flagScope: &g.Scope, flagOnly: &g.Only, flagExclude: &g.Exclude, flagBackend: &g.Backend, flagPrefix: &g.Prefix,
		flagNoNameTag: &g.NameTag, flagNoUnits: &g.NoUnits, flagShutdown: &g.NoShutdownAction, flagPutRate: &g.PutRate,
		flagOnError: &g.OnError,
	}
	if setting := settings[flag]; setting != nil {
		*setting = true
	}
}

// everyCommand is root with all commands below it.
func everyCommand(root *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{root}
	for _, cmd := range root.Commands() {
		list = append(list, everyCommand(cmd)...)
	}
	return list
}

// commandNames are the commands that an operator can give.
func commandNames(root *cobra.Command) (names []string) {
	for _, cmd := range root.Commands() {
		if !cmd.Hidden {
			names = append(names, cmd.Name())
		}
	}
	return names
}

// The flags, without their dashes. Each is also an environment variable: see variableOf.
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
	flagTimeout   = "timeout"
	flagIMDS      = "imds-timeout"
	flagLockWait  = "lock-wait"
	flagStateDir  = "state-dir"
	flagLogFormat = "log-format"
	flagVerbose   = "verbose"
	flagSubnet    = "subnet"
	flagRegion    = "region"
	flagYes       = "yes"
)
