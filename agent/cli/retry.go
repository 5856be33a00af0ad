package cli

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

// retryCommand is the command that the timer runs. It is apply, unless another run has succeeded
// meanwhile. The retry unit has the word too.
const retryCommand = "retry"

// retryEnvironment returns the part of an environment that a later run needs to do the same. It
// leaves out what may be secret, and returns the names of those variables in left.
func retryEnvironment(environ []string) (kept, left []string) {
	wanted, lists := runVariables(environ), listVariables()
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		if slices.Contains(lists, name) {
			value = inOneWord(value)
		}
		switch {
		case !slices.Contains(wanted, name):
		case maySecret(name, value):
			left = append(left, name)
		default:
			kept = append(kept, name+"="+value)
		}
	}
	slices.Sort(kept)
	slices.Sort(left)
	return slices.Compact(kept), slices.Compact(left)
}

// listVariables returns the names of the variables whose values are lists.
func listVariables() (names []string) {
	for _, flag := range []string{pool.FlagMaster, pool.FlagCore, pool.FlagTask, pool.FlagAny, flagOnly, flagExclude, flagVerify} {
		names = append(names, variableOf(flag))
	}
	return names
}

// inOneWord returns a list without its blanks. One of them may be the carriage return of a script
// with the line ends of Windows.
func inOneWord(list string) string {
	var items []string
	for part := range strings.SplitSeq(list, ",") {
		items = append(items, strings.Fields(part)...)
	}
	return strings.Join(items, ",")
}

// maySecret reports whether a variable must not be written into a unit file: it may be a key, a
// token or a URL with a password, or its value has characters that a unit file cannot hold.
func maySecret(name, value string) bool {
	if !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return true
	}
	for _, word := range []string{"SECRET", "ACCESS_KEY", "PASSWORD", "TOKEN"} {
		if strings.Contains(strings.ToUpper(name), word) && !strings.HasSuffix(name, "_FILE") {
			return true
		}
	}
	if !strings.Contains(value, "@") {
		return false
	}
	u, err := url.Parse(value)
	return err != nil || u.User != nil || u.Host == "" // user:password@host is no URL, and is taken as one by proxies' users
}
