package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
	"github.com/emr-static-ip/emr-static-ip/agent/verify"
)

// written is a flag as the operator gave it.
type written struct {
	texts    []string
	name     string // for messages: --timeout, or EMR_STATIC_IP_TIMEOUT
	variable bool   // it came from the environment
}

// get returns what the operator gave for a flag. It has no texts if nothing was given, or if the
// command does not have the flag. An empty variable counts as not set.
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

// config returns the configuration from flags, environment and positional addresses. The error
// names every problem.
func (f *flags) config(cmd *cobra.Command, positional []string) (agent.Config, error) {
	f.read = true
	c := agent.DefaultConfig()
	var problems []error
	// each calls parse with the value of a flag, if it was given.
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
	args := pool.Args{Positional: positional, Names: map[string]string{}, Commands: commandNames(cmd.Root()), Synonyms: synonyms[cmd.Root().Name()]}
	given := func(flag string) bool { w := f.get(cmd, flag); return len(w.texts) > 0 && !w.variable }
	plain := given(pool.FlagAny)
	byRole := len(positional) > 0 || given(pool.FlagMaster) || given(pool.FlagCore) || given(pool.FlagTask)
	for _, set := range []struct {
		flag  string
		texts *[]string
	}{{pool.FlagMaster, &args.Master}, {pool.FlagCore, &args.Core}, {pool.FlagTask, &args.Task}, {pool.FlagAny, &args.Any}} {
		w := f.get(cmd, set.flag)
		switch { // the command line goes before the environment
		case !w.variable:
		case len(positional) > 0 && set.flag != pool.FlagTask, plain && set.flag != pool.FlagAny, byRole && set.flag == pool.FlagAny:
			continue
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
	if w := f.get(cmd, flagClaimTag); len(w.texts) > 0 {
		c.Given.ClaimTags = true
		if c.ClaimTags, err = parseTags(w.name, w.texts); err != nil {
			problems = append(problems, err)
		}
	}
	each(flagRole, func(name, text string) (err error) {
		if c.Role, err = emr.ParseRole(text); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return err
	})
	if c.Pools.Plain() && c.Given.Role {
		problems = append(problems, fmt.Errorf("%s together with %s: instances outside EMR have no roles", f.get(cmd, flagRole).name, args.Names[pool.FlagAny]))
	}
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
	each(flagBundle, parseFile(&c.Bundle))
	each(flagRegions, parseBool(&c.AllRegions))
	each(flagCluster, parseCluster(&c.Cluster))
	each(flagRoleName, parseRoleName(&c.RoleName))
	each(flagYes, parseBool(&c.Yes))
	if c.AllRegions && (c.Subnet != "" || !c.Pools.Empty()) {
		problems = append(problems, fmt.Errorf("--%s with a subnet or with addresses: these are in one region", flagRegions))
	}
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
