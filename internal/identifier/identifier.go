// Package identifier reports whether a text has the form of an AWS identifier. Identifiers end up
// in parameter names, in calls and in messages.
package identifier

import "strings"

// limit is more than any identifier has after its prefix today.
const limit = 40

// EC2 reports whether s is an identifier of EC2: the prefix and then 1 to 40 lower-case hexadecimal
// digits. Today EC2 writes 8 or 17.
func EC2(s, prefix string) bool { return fits(s, prefix, "0123456789abcdef") }

// EMR reports whether s is an identifier of EMR: the prefix and then 1 to 40 capital letters and
// digits. Today EMR writes 12 or 13.
func EMR(s, prefix string) bool { return fits(s, prefix, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") }

func fits(s, prefix, characters string) bool {
	rest, ok := strings.CutPrefix(s, prefix)
	return ok && rest != "" && len(rest) <= limit && strings.Trim(rest, characters) == ""
}
