package agent

import (
	_ "embed" // the units
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

//go:embed systemd/emr-static-ip-retry.service
var retryServiceTemplate string

//go:embed systemd/emr-static-ip-retry.timer
var retryTimerText string

const (
	unitRetryService = "emr-static-ip-retry.service"
	unitRetryTimer   = "emr-static-ip-retry.timer"
)

// retryCommand is the command that the timer runs: apply, unless another run has succeeded meanwhile.
const retryCommand = "retry"

// retryUnits are the service that repeats a failed apply and its timer. args are those of the failed run, environ its environment,
// NAME=value. A unit file is readable for everybody: what may be a secret is left out, and the names of it are returned.
func retryUnits(cfg Config, args, environ []string) (list []unit, left []string) {
	var words, variables strings.Builder
	for _, a := range args {
		words.WriteString(" " + unitWord(a))
	}
	kept, left := unitEnvironment(environ)
	for _, v := range kept {
		variables.WriteString("Environment=" + unitVariable(v) + "\n")
	}
	limit := cfg.Timeout + 2*time.Minute // what comes after a failed run is bounded too
	service := strings.NewReplacer("@PROGRAM@", unitProgram, "@ARGS@", words.String(), "@ENVIRONMENT@", variables.String(),
		"@SECONDS@", fmt.Sprint(int(limit.Seconds()))).Replace(retryServiceTemplate)
	return []unit{
		{unitRetryService, service, ""},
		{unitRetryTimer, retryTimerText, "timers.target.wants/" + unitRetryTimer},
	}, left
}

// unitWord is an argument of ExecStart: as it is where it has no character that means something to systemd.
func unitWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.,/:=+@", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return unitQuoted(s)
}

// unitVariable is an assignment of Environment= as systemd.exec(5) wants it: % begins a specifier, and $ means nothing.
func unitVariable(s string) string { return `"` + unitEscaped(s) + `"` }

// unitEnvironment is the part of an environment that a later run needs to do the same, without what may be a secret; left are the names of
// that.
func unitEnvironment(environ []string) (kept, left []string) {
	wanted, lists := passedOn(environ), listVariables()
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

// listVariables are the variables that stand for lists.
func listVariables() (names []string) {
	for _, flag := range []string{pool.FlagMaster, pool.FlagCore, pool.FlagTask, flagOnly, flagExclude, flagVerify} {
		names = append(names, variableOf(flag))
	}
	return names
}

// inOneWord is a list without blanks, among which may be the carriage return of a script with Windows' line ends.
func inOneWord(list string) string {
	var items []string
	for part := range strings.SplitSeq(list, ",") {
		items = append(items, strings.Fields(part)...)
	}
	return strings.Join(items, ",")
}

// maySecret tells whether a variable may hold what nobody else may read: keys, tokens, a URL with a password, and what a unit file cannot hold.
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

// retryPending tells whether the timer that repeats a failed apply is installed.
func retryPending(e Environment) bool {
	return exists(e.Path(filepath.Join(unitDir, unitRetryService))) || exists(e.Path(filepath.Join(unitDir, unitRetryTimer)))
}
