package agent

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// Meaning is what an exit code says, in a few words.
func (c ExitCode) Meaning() string {
	switch c {
	case ExitOK:
		return "done"
	case ExitUsage:
		return "arguments or addresses are wrong"
	case ExitIdentity:
		return "the node's identity or role cannot be told"
	case ExitPermission:
		return "a permission is missing"
	case ExitUnreachable:
		return "an endpoint cannot be reached"
	case ExitNoAddress:
		return "every address is in use"
	case ExitKernel:
		return "the kernel could not be programmed"
	case ExitDeadline:
		return "out of time"
	case ExitNotRoot:
		return "not root"
	case ExitDrifted:
		return "not as it should be"
	case ExitNotGiven:
		return "this node has no static IP"
	case ExitWithdrawn:
		return "the static IP is not this node's any more"
	case ExitVerify:
		return "the static IP is in order, but a service of --verify cannot be reached"
	case ExitInterrupt, ExitTerminate:
		return "ended by a signal"
	}
	return "failed"
}

// remedies are what to do about err, from all errors that it wraps or joins, each once.
func remedies(err error) []string {
	var all []string
	var walk func(error)
	walk = func(err error) {
		if e, ok := err.(*Error); ok && e.Remedy != "" && !slices.Contains(all, e.Remedy) {
			all = append(all, e.Remedy)
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			walk(e.Unwrap())
		case interface{ Unwrap() []error }:
			for _, part := range e.Unwrap() {
				walk(part)
			}
		}
	}
	walk(err)
	return all
}

// renderFailure writes what an operator needs when a run has failed: what, what stays done, and what to do next. With logs in JSON
// it is one more entry, so that stderr stays JSON.
func renderFailure(w io.Writer, format string, code ExitCode, err error, r Report) {
	next := remedies(err)
	if len(next) == 0 {
		next = []string{"run the same command again: it goes on where this run ended; --verbose logs more"}
	}
	if format == "json" {
		NewLogger(w, format, false).Error("failed", zap.Int("exit_code", int(code)), zap.String("meaning", code.Meaning()),
			zap.String("node", r.node()), zap.String("error", err.Error()), zap.Strings("done", r.Changes), zap.Strings("remedies", next),
			zap.Strings("warnings", r.Warnings))
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nemr-static-ip failed: %s (exit code %d)\n", code.Meaning(), code)
	list := func(title string, items []string) {
		if len(items) == 0 {
			return
		}
		b.WriteString(title + "\n")
		for _, item := range items {
			for _, line := range text.Lines(item) {
				b.WriteString("  " + line + "\n")
			}
		}
	}
	if node := r.node(); node != "" {
		b.WriteString("on " + text.Clean(node, text.MaxLine) + "\n")
	}
	list("what failed", []string{err.Error()})
	list("warnings", r.Warnings)
	list("done before, and kept", r.Changes)
	if len(r.Changes) == 0 {
		b.WriteString("no change was completed before\n")
	}
	list("what to do", next)
	_, _ = io.WriteString(w, b.String()) // where stderr is gone, there is nobody to tell
}
