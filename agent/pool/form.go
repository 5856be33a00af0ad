package pool

import (
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// rightForm returns a hint how to write an item that is not an address, or "". Messages put the
// hint after the argument's name. text is the whole argument.
func rightForm(value, item string, commands []string) string {
	if form := pasted(value); form != "" {
		return ": write it without brackets, quotation marks and Args=: " + form
	}
	if hint := misplacedRegion(item); hint != "" {
		return hint
	}
	if role, err := emr.ParseRole(item); err == nil {
		return " is a role: the node's role is found out, or given by --role " + string(role) + "; addresses for it are given by --" + poolFlag(role)
	}
	if item == value && strings.Trim(item, "abcdefghijklmnopqrstuvwxyz") == "" {
		if command := text.Nearest(item, commands); command != "" {
			return ": is the command " + command + " meant? It goes before addresses"
		}
	}
	return ""
}

// poolFlag returns the flag that names the pool of a role.
func poolFlag(r emr.Role) string {
	switch r {
	case emr.Master:
		return FlagMaster
	case emr.Core:
		return FlagCore
	}
	return FlagTask
}

// pasted returns the addresses of a list that was pasted in the notation of another program, or "".
// It knows Args=[10.0.1.10,10.0.1.11] of the AWS CLI and ["10.0.1.10", "10.0.1.11"] of JSON.
func pasted(text string) string {
	bare := text
	if before, after, ok := strings.Cut(bare, "="); ok && strings.EqualFold(strings.Trim(before, "- "), "args") {
		bare = after
	}
	bare = strings.NewReplacer("[", "", "]", "", `"`, "", "'", "", "\u201c", "", "\u201d", "").Replace(bare)
	bare = strings.Trim(bare, ", ")
	if bare == "" || bare == text || strings.ContainsAny(bare, "=") || !IsList(bare) {
		return ""
	}
	return bare
}

// IsList reports whether an argument can be read as a list of addresses.
func IsList(arg string) bool {
	l := list{}
	l.add("", arg)
	return len(l.problems) == 0
}
