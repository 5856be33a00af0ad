package cli

import (
	"fmt"
	"io"
	"strings"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// renderFailure writes what an operator needs when a run has failed: what failed, what was done,
// and what to do next. If the log is in JSON, the failure is one more entry of the log, so that
// stderr stays JSON.
func renderFailure(w io.Writer, format string, code exit.Code, err error, r agent.Report) {
	next := exit.Remedies(err)
	if len(next) == 0 {
		next = []string{"run the same command again: it continues where this run stopped; --verbose logs more"}
	}
	if format == "json" {
		NewLogger(w, format, false).Error("failed", zap.Int("exit_code", int(code)), zap.String("meaning", code.Meaning()),
			zap.String("node", r.Node()), zap.String("instance", r.InstanceID), zap.String("error", err.Error()), zap.Strings("done", r.Changes), zap.Strings("remedies", next),
			zap.Strings("warnings", r.Warnings))
		return
	}
	var b strings.Builder
	meaning := ""
	if code != exit.Internal { // says nothing more than the error
		meaning = ": " + code.Meaning()
	}
	fmt.Fprintf(&b, "\nemr-static-ip failed%s (exit code %d)\n", meaning, code)
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
	if node := r.Node(); node != "" {
		b.WriteString("on " + text.Clean(node, text.MaxLine) + "\n")
	}
	list("what failed", []string{err.Error()})
	list("warnings", r.Warnings)
	list("changed before the failure, and kept", r.Changes)
	if len(r.Changes) == 0 {
		b.WriteString("nothing was changed\n")
	}
	list("what to do", next)
	_, _ = io.WriteString(w, b.String()) // nobody reads stderr if writing fails
}
