package agent

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/output"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
)

// Render writes the status for people, or as JSON.
func (s Status) Render(w io.Writer, format string) error {
	if format == "json" {
		return output.Write(w, &s)
	}
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-10s %s\n", name, text.Line(value))
		}
	}
	item := func(i Item) string { return fmt.Sprintf("%-8s %s", i.State, with(i.What, i.Detail, i.Detail != "")) }
	list := func(name string, items ...Item) {
		if len(items) > 0 {
			b.WriteString(name + "\n")
		}
		for _, i := range items {
			b.WriteString("  " + text.Line(item(i)) + "\n")
		}
	}
	line("version", s.Tool)
	line("instance", s.Instance)
	line("cluster", s.Cluster)
	line("role", string(s.Role))
	line("subnet", s.Subnet)
	line("interface", with(s.Link, s.ENI, s.ENI != ""))
	line("primary IP", address(s.Primary))
	line("static IP", address(s.Static))
	line("backend", s.Backend)
	if s.Conntrack.Max > 0 {
		line("conntrack", fmt.Sprintf("%d of %d connections", s.Conntrack.Count, s.Conntrack.Max))
	}
	if s.Phase != "" {
		line("last run", with(string(s.Phase), s.Written.UTC().Format(time.RFC3339), !s.Written.IsZero()))
	}
	list("kernel", s.Kernel...)
	list("units", s.Units...)
	var cloud []Item
	for _, i := range []*Item{s.IMDS, s.EC2, s.Ledger} {
		if i != nil {
			cloud = append(cloud, *i)
		}
	}
	list("AWS", cloud...)
	for _, n := range s.Notes {
		line("note", text.Line(n))
	}
	for _, reason := range s.unsaid() {
		line("because", reason)
	}
	line("what to do", s.Remedy)
	if s.LastError != nil {
		b.WriteString("last error\n")
		for _, l := range lastErrorLines(*s.LastError) {
			b.WriteString("  " + text.Clean(l, text.MaxLine) + "\n")
		}
	}
	line("status", string(s.Verdict))
	_, err := io.WriteString(w, b.String())
	return err
}

// lastErrorLines returns the last error for people.
func lastErrorLines(e LastError) []string {
	if e.Count == 0 {
		return []string{e.Error}
	}
	again := "no retry is scheduled: run emr-static-ip when the cause is repaired"
	if e.Retrying {
		again = systemd.RetryTimer + " keeps retrying: journalctl -u " + systemd.RetryService
	}
	return slices.Concat([]string{e.Headline(), e.Error}, e.Remedies, []string{again})
}
