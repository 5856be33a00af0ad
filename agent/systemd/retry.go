package systemd

import (
	"context"
	_ "embed"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
)

//go:embed emr-static-ip-retry.service
var retryServiceTemplate string

//go:embed emr-static-ip-retry.timer
var retryTimerTemplate string

// The units that repeat a failed run.
const (
	RetryService = "emr-static-ip-retry.service"
	RetryTimer   = "emr-static-ip-retry.timer"
)

// RetryUnits returns the service that repeats a failed run, and its timer. args are the run's
// arguments, environ are variables as NAME=value, limit is the longest that the service may take.
func RetryUnits(args, environ []string, limit time.Duration) []Unit {
	var words, variables strings.Builder
	for _, a := range args {
		words.WriteString(" " + unitWord(a))
	}
	for _, v := range environ {
		variables.WriteString("Environment=" + unitVariable(v) + "\n")
	}
	host, _ := os.Hostname() // without a name the pause is the shortest
	timer := strings.ReplaceAll(retryTimerTemplate, "@PAUSE@", fmt.Sprint(int(retryPause(host).Seconds())))
	service := strings.NewReplacer("@PROGRAM@", Program, "@ARGS@", words.String(), "@ENVIRONMENT@", variables.String(),
		"@SECONDS@", fmt.Sprint(int(limit.Seconds()))).Replace(retryServiceTemplate)
	return []Unit{
		{RetryService, service, ""},
		{RetryTimer, timer, "timers.target.wants/" + RetryTimer},
	}
}

// The pause between two attempts is from retryShortest on, and shorter than retryLongest.
const (
	retryShortest = 2 * time.Minute
	retryLongest  = 5 * time.Minute
)

// retryPause returns the pause of the node with the given host name. It is the same in each run, so
// that the units stay as they are. systemd's RandomizedDelaySec= would not do: Amazon Linux 2 has
// systemd 219, which may ignore it.
func retryPause(host string) time.Duration {
	if host == "" {
		return retryShortest
	}
	sum := fnv.New32a()
	sum.Write([]byte(host))
	return retryShortest + time.Duration(sum.Sum32())%((retryLongest-retryShortest)/time.Second)*time.Second
}

// EnsureRetry installs the units that repeat a failed run; see RetryUnits.
func (i *Installer) EnsureRetry(ctx context.Context, args, environ []string, limit time.Duration) error {
	return i.Ensure(ctx, RetryUnits(args, environ, limit), RetryTimer)
}

// RemoveRetry stops the timer that repeats a failed run, and removes the units.
func (i *Installer) RemoveRetry(ctx context.Context) error {
	return i.Remove(ctx, RetryUnits(nil, nil, 0), RetryTimer)
}

// unitWord returns s as an argument of ExecStart. It leaves s as it is if no character of s means
// something to systemd.
func unitWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.,/:=+@", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return unitQuoted(s)
}

// unitVariable returns an assignment as Environment= wants it. There, % begins a specifier, and $
// means nothing. https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html
func unitVariable(s string) string { return `"` + unitEscaped(s) + `"` }

// RetryPending reports whether the timer that repeats a failed run is installed.
func RetryPending(e host.Environment) bool {
	return host.Exists(e.Path(filepath.Join(Dir, RetryService))) || host.Exists(e.Path(filepath.Join(Dir, RetryTimer)))
}
