package agent

import (
	"strings"
	"unicode/utf8"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
)

// maxGuess bounds the words that are compared, in bytes: a longer one is no slip of the fingers.
const maxGuess = 64

// nearest is the one of the names that word was probably meant to be; empty where none is near. Two slips are too many in a short word.
func nearest(word string, names []string) string {
	if len(word) > maxGuess || !utf8.ValidString(word) {
		return ""
	}
	word = strings.ToLower(word)
	best, least := "", min(len(word)/3, 3)+1
	for _, name := range names {
		lower := strings.ToLower(name)
		d := slips(word, lower)
		if len(word) >= 3 && strings.HasPrefix(lower, word) {
			d = min(d, 1)
		}
		if d < least {
			best, least = name, d
		}
	}
	return best
}

// slips is how many letters must be put in, left out, changed, or swapped with their neighbour to make b of a.
func slips(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// rightForm says how to write an item of a list of addresses that is none; empty where nothing better is known than that it is none. It goes
// after the argument's name. text is the whole argument.
func rightForm(text, item string, commands []string) string {
	if form := pasted(text); form != "" {
		return ": write it without brackets, quotation marks and Args=: " + form
	}
	if hint := misplacedRegion(item); hint != "" {
		return hint
	}
	if role, err := emr.ParseRole(item); err == nil {
		return " is a role: the node's role is found out, or given by --role " + string(role) + "; addresses for it are given by --" + poolFlag(role)
	}
	if item == text && strings.Trim(item, "abcdefghijklmnopqrstuvwxyz") == "" {
		if command := nearest(item, commands); command != "" {
			return ": is the command " + command + " meant? It goes before addresses"
		}
	}
	return ""
}

func poolFlag(r Role) string {
	switch r {
	case RoleMaster:
		return flagMasterIPs
	case RoleCore:
		return flagCoreIPs
	}
	return flagTaskIPs
}

// pasted is a list of addresses that was copied together with the notation of another program: Args=[10.0.1.10,10.0.1.11] of the AWS CLI,
// ["10.0.1.10", "10.0.1.11"] of JSON. It returns the list alone, or nothing where it is something else.
func pasted(text string) string {
	bare := text
	if before, after, ok := strings.Cut(bare, "="); ok && strings.EqualFold(strings.Trim(before, "- "), "args") {
		bare = after
	}
	bare = strings.NewReplacer("[", "", "]", "", `"`, "", "'", "", "\u201c", "", "\u201d", "").Replace(bare)
	bare = strings.Trim(bare, ", ")
	if bare == "" || bare == text || strings.ContainsAny(bare, "=") || !isList(bare) {
		return ""
	}
	return bare
}
