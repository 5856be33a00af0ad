package agent

import (
	"fmt"
	"io"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/output"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// Report is what a run found and did. A run that fails returns the report of what it did until
// then. cmd/emr-static-ip/README.md documents the JSON form; fields are only ever added.
type Report struct {
	output.Head

	Role       Role       `json:"role,omitempty"`
	RoleSource string     `json:"role_source,omitempty"` // where the role was found: "job-flow.json"
	InstanceID string     `json:"instance,omitempty"`
	ClusterID  string     `json:"cluster,omitempty"`
	SubnetID   string     `json:"subnet,omitempty"`
	ENI        string     `json:"eni,omitempty"`
	Link       string     `json:"link,omitempty"`    // name of the primary interface
	Backend    string     `json:"backend,omitempty"` // of the kernel: "iptables v1.8.9 (nf_tables)"
	Primary    netip.Addr `json:"primary,omitzero"`
	Static     netip.Addr `json:"static,omitzero"`

	DryRun    bool           `json:"dry_run"`              // nothing was done: Changes would be made
	LeftAlone string         `json:"left_alone,omitempty"` // why nothing was done on this node
	Changes   []string       `json:"changes"`              // in the order they were made: claims, attachments, commands, tags
	Unchanged int            `json:"unchanged"`            // objects that were as wanted
	Calls     map[string]int `json:"calls"`                // calls to AWS, retries included: "ssm:PutParameter" -> 1
	Throttled int            `json:"throttled,omitempty"`  // calls among these that AWS throttled
	Duration  time.Duration  `json:"-"`                    // Render writes it in seconds
	Notes     []string       `json:"notes"`                // for the operator's information
	Warnings  []string       `json:"warnings"`             // for the operator's attention

	// StateWritten is the time in the state file that the run left. It is zero if the run left no
	// state file, or failed before it read one.
	StateWritten time.Time `json:"-"`
}

// Summary is the report's last line; scripts may rely on its form.
func (r Report) Summary() string {
	changed := "changed"
	if r.DryRun {
		changed = "to-change"
	}
	return fmt.Sprintf("%s=%d unchanged=%d duration=%.1fs", changed, len(r.Changes), r.Unchanged, r.Duration.Seconds())
}

// CallCount is how many calls to AWS were made.
func (r Report) CallCount() int {
	n := 0
	for _, c := range r.Calls {
		n += c
	}
	return n
}

// Render writes the report as format wants it: as JSON on one line (json), or for people. Lines
// without a value are left out.
//
//	instance   i-0a1b2c3d4e5f60001
//	role       CORE (from job-flow.json)
//	...
//	static IP  10.0.1.11
//	changes
//	  claimed 10.0.1.11
//	changed=1 unchanged=9 duration=1.2s
func (r Report) Render(w io.Writer, format string) error {
	if format == "json" {
		return output.Write(w, &r)
	}
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-10s %s\n", name, text.Clean(value, text.MaxLine))
		}
	}
	list := func(name string, items []string) {
		if len(items) > 0 {
			b.WriteString(name + "\n")
		}
		for _, item := range items {
			for i, l := range text.Lines(item) {
				indent := "  "
				if i > 0 {
					indent = "    "
				}
				b.WriteString(indent + l + "\n")
			}
		}
	}
	line("version", r.Tool)
	line("instance", r.InstanceID)
	line("cluster", r.ClusterID)
	line("role", with(string(r.Role), "from "+r.RoleSource, r.RoleSource != ""))
	line("subnet", r.SubnetID)
	line("interface", with(r.Link, r.ENI, r.ENI != ""))
	line("primary IP", address(r.Primary))
	line("static IP", address(r.Static))
	line("backend", r.Backend)
	line("AWS calls", r.calls())
	line("left alone", r.LeftAlone)
	if r.DryRun {
		list("would change", r.Changes)
	} else {
		list("changes", r.Changes)
	}
	list("notes", r.Notes)
	list("warnings", r.Warnings)
	b.WriteString(r.Summary() + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// Body returns the report's JSON form.
func (r *Report) Body() any {
	return &struct {
		*Report
		Seconds float64 `json:"seconds"`
	}{r, math.Round(r.Duration.Seconds()*1000) / 1000}
}

// calls is "3 (ssm:GetParameter 2, ssm:PutParameter 1; 1 throttled)".
func (r Report) calls() string {
	if r.CallCount() == 0 {
		return ""
	}
	var each []string
	for _, name := range slices.Sorted(maps.Keys(r.Calls)) {
		each = append(each, fmt.Sprintf("%s %d", name, r.Calls[name]))
	}
	throttled := ""
	if r.Throttled > 0 {
		throttled = fmt.Sprintf("; %d throttled", r.Throttled)
	}
	return fmt.Sprintf("%d (%s%s)", r.CallCount(), strings.Join(each, ", "), throttled)
}

// with returns a value with an addition in parentheses, or the addition alone if there is no value.
func with(value, addition string, add bool) string {
	switch {
	case !add:
		return value
	case value == "":
		return addition
	}
	return value + " (" + addition + ")"
}

func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// Node returns the node and what is known of it, or "" if the node is not known.
func (r Report) Node() string {
	if r.InstanceID == "" {
		return ""
	}
	var known []string
	for _, k := range []struct{ name, value string }{{"", string(r.Role)}, {"cluster ", r.ClusterID}, {"primary IP ", address(r.Primary)}, {"static IP ", address(r.Static)}} {
		if k.value != "" {
			known = append(known, k.name+k.value)
		}
	}
	return with(r.InstanceID, strings.Join(known, ", "), len(known) > 0)
}
