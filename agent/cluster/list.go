package cluster

import (
	"fmt"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

// ReadArguments reads the command line of a bootstrap action as the program does.
type ReadArguments func(args []string) (agent.Config, error)

// list is which roles have addresses, where their records are, and how that is known.
type list struct {
	pools  pool.Pools
	known  bool
	source string
	prefix string
	notes  []string
}

// expects reports whether a node of this role should have an address. If no list is known, masters
// and core nodes should: a list always has addresses for them. So should a node whose role nothing
// shows yet.
func (l list) expects(role string) bool {
	r, err := emr.ParseRole(role)
	switch {
	case err != nil:
		return true
	case l.known:
		return len(l.pools.For(r)) > 0
	}
	return r != emr.Task
}

// listOf returns the list that the cluster's nodes use: the one of the command line, or else that
// of the one bootstrap action that can be read as this program's.
func listOf(cfg agent.Config, v sight, read ReadArguments) list {
	l := list{prefix: cfg.Prefix, source: "no list is known: masters and core nodes should have an address, task nodes need none (name lists with --core-ips, --task-ips)"}
	var found []action
	var given agent.Config
	for _, a := range v.actions {
		if c, err := read(arguments(a)); err == nil && !c.Pools.Empty() {
			found, given = append(found, a), c
		}
	}
	if named := ours(found); len(found) > 1 && len(named) == 1 {
		found = named
		given, _ = read(arguments(named[0])) // it could be read before
	}
	switch {
	case len(found) == 1:
		l.pools, l.known, l.source = given.Pools, true, "list of the bootstrap action "+text.Quote(found[0].name)
		switch {
		case !cfg.Given.Prefix:
			l.prefix = given.Prefix
		case cfg.Prefix != given.Prefix:
			l.notes = append(l.notes, fmt.Sprintf("the bootstrap action has --prefix %s, and --prefix %s is asked for", given.Prefix, cfg.Prefix))
		}
	case len(found) > 1:
		l.notes = append(l.notes, fmt.Sprintf("%d bootstrap actions have arguments that can be read as lists of addresses: none is used", len(found)))
	case v.actionsKnown:
		l.notes = append(l.notes, "no bootstrap action of the cluster has a list of addresses")
	}
	if !cfg.Pools.Empty() {
		l.pools, l.known, l.source = cfg.Pools, true, "list of the command line"
	}
	return l
}

// arguments returns the arguments that an action hands to the program. bootstrap.sh itself takes
// the place of the binaries.
func arguments(a action) []string {
	args := a.args
	if len(args) > 0 {
		for _, scheme := range []string{"s3://", "https://", "http://"} {
			if strings.HasPrefix(args[0], scheme) {
				return args[1:]
			}
		}
	}
	return args
}

// ours returns the actions whose name or path is that of this program.
func ours(actions []action) (named []action) {
	for _, a := range actions {
		if strings.Contains(a.name+a.path, "static-ip") {
			named = append(named, a)
		}
	}
	return named
}
