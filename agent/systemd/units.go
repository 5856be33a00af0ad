// Package systemd installs what acts after a run: the units that restore the static IP, the units
// that retry a failed run, and EMR's shutdown action.
package systemd

import (
	"context"
	_ "embed" // the units
	"fmt"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

//go:embed emr-static-ip-restore.service
var serviceTemplate string

//go:embed emr-static-ip-restore.timer
var timerText string

// The units, and the program that they run. A bootstrap action may run the program from a temporary
// place, so the units run a copy.
const (
	Service = "emr-static-ip-restore.service"
	Timer   = "emr-static-ip-restore.timer"
	// Dir is the directory of the units.
	Dir = "/etc/systemd/system"
	// Program is the copy of this program.
	Program = "/usr/local/sbin/emr-static-ip"
	// RunDir exists if systemd runs the machine: sd_booted(3).
	RunDir = "/run/systemd/system"
)

// systemctlMax limits one call of systemctl.
const systemctlMax = 30 * time.Second

// Unit is a unit file.
type Unit struct {
	Name, Text string
	// Link is the link below Dir that systemctl enable makes. It is empty for a unit that only its
	// timer starts.
	Link string
}

// Units returns the service that restores the static IP at boot, and the timer that does so every
// minute. stateDir is the --state-dir of the run, or "" for the default.
func Units(stateDir string) []Unit {
	args := ""
	if stateDir != "" {
		args = " --state-dir " + unitQuoted(stateDir)
	}
	service := strings.NewReplacer("@PROGRAM@", Program, "@ARGS@", args).Replace(serviceTemplate)
	return []Unit{
		{Service, service, "multi-user.target.wants/" + Service},
		{Timer, timerText, "timers.target.wants/" + Timer},
	}
}

// unitQuoted returns s as an argument of ExecStart. There, % begins a specifier and $ a variable.
// https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html
func unitQuoted(s string) string { return `"` + unitEscaped(strings.ReplaceAll(s, "$", "$$")) + `"` }

// unitEscaped returns s for use inside a quotation of a unit file. systemd ends a line also at a
// carriage return and at a NUL, and ignores a line that is not UTF-8. unitEscaped writes such bytes
// as escapes.
func unitEscaped(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '"', r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '%':
			b.WriteString("%%")
		case r < ' ', r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Running reports whether systemd runs this node, as sd_booted(3) does.
func Running(e host.Environment) bool {
	info, err := os.Lstat(e.Path(RunDir))
	return err == nil && info.IsDir()
}

// Systemctl runs systemctl, for at most systemctlMax.
func Systemctl(ctx context.Context, e host.Environment, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, systemctlMax)
	defer cancel()
	what := "systemctl " + strings.Join(args, " ")
	if e.Systemctl != nil {
		if err := e.Systemctl(ctx, args...); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	if _, stderr, err := host.Output(ctx, append([]string{"systemctl"}, args...)); err != nil {
		return fmt.Errorf("%s: %w: %s", what, err, text.Clean(strings.TrimSpace(stderr), text.MaxLine))
	}
	return nil
}
