package pool

import (
	"cmp"
	"net/netip"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// rightForm returns a hint how to write an item that is not an address, or "". Messages put the
// hint after the argument's name. value is the whole argument. first says that nothing stands
// before it.
func rightForm(value, item string, first bool, commands []string, synonyms map[string]string) string {
	if form := pasted(value); form != "" {
		return ": write it without brackets, quotation marks and Args=: " + form
	}
	if hint := misplacedRegion(item); hint != "" {
		return hint
	}
	if role, err := emr.ParseRole(item); err == nil {
		return " is a role: the node's role is found out, or given by --role " + string(role) + "; addresses for it are given by --" + poolFlag(role)
	}
	if item == value && strings.Trim(strings.ToLower(item), "abcdefghijklmnopqrstuvwxyz") == "" {
		command := cmp.Or(text.Nearest(item, commands), synonyms[strings.ToLower(item)])
		switch {
		case command == "":
		case command == item:
			return " is a command, and a command goes before addresses"
		case first:
			return " is no command and no address: did you mean " + command + "?"
		default:
			return " is no address: did you mean the command " + command + "? It goes before addresses"
		}
	}
	return ""
}

// inFull returns a network whose last numbers were left out in full, 10.0.0.0/8 for 10/8, or "". It
// guesses nothing if the numbers that are there do not fit the prefix length.
func inFull(block, bits string) string {
	missing := 3 - strings.Count(block, ".")
	if missing < 1 {
		return ""
	}
	p, err := netip.ParsePrefix(block + strings.Repeat(".0", missing) + "/" + bits)
	if err != nil || !p.Addr().Is4() || p != p.Masked() {
		return ""
	}
	return p.String()
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
