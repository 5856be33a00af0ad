package doctor

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emr-static-ip/emr-static-ip/agent/bundle"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/output"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

// The results of a Finding.
const (
	resultOK      = "ok"
	resultWarning = "warning" // a run succeeds, or fails only sometimes
	resultFailed  = "failed"  // a run would fail, or the node does not do what it should
	resultUnknown = "unknown" // could not be read: Detail says why
)

// Finding is the result of one check.
type Finding struct {
	Check     string       `json:"check"`             // which check: "imds", "dns", "permission", "address", ...
	Subject   string       `json:"subject,omitempty"` // of what: a service, an action, an address, a role
	Result    string       `json:"result"`            // ok, warning, failed, unknown
	Detail    string       `json:"detail"`            // what was seen
	Remedy    string       `json:"remedy,omitempty"`  // what to do
	Addresses []netip.Addr `json:"addresses"`
	Seconds   float64      `json:"seconds,omitempty"`   // how long the other side took
	ExitCode  exit.Code    `json:"exit_code,omitempty"` // of failed: what a run would end with, or what status says
}

// Diagnosis is what Doctor found, in the order in which a run would meet it.
type Diagnosis struct {
	output.Head

	Instance string    `json:"instance,omitempty"`
	Cluster  string    `json:"cluster,omitempty"`
	Role     emr.Role  `json:"role,omitempty"`
	Region   string    `json:"region,omitempty"`
	Subnet   string    `json:"subnet,omitempty"`
	Findings []Finding `json:"findings"`
	OK       int       `json:"ok"`
	Warnings int       `json:"warnings"`
	Failed   int       `json:"failed"`
	Unknown  int       `json:"unknown"`
	Code     exit.Code `json:"-"` // of the first finding that failed
	Seconds  float64   `json:"seconds"`

	Bundle *bundle.Contents `json:"bundle,omitempty"` // of --bundle, once it is written
}

// add appends findings and counts them. The exit code is that of the first one that failed.
func (d *Diagnosis) add(findings ...Finding) {
	for _, f := range findings {
		switch f.Result {
		case resultOK:
			d.OK++
		case resultWarning:
			d.Warnings++
		case resultUnknown:
			d.Unknown++
		default:
			d.Failed++
			d.Code = cmp.Or(d.Code, f.ExitCode, exit.Internal)
		}
		d.Findings = append(d.Findings, f)
	}
}

// ExitCode returns the exit code of the first finding that failed, or exit.OK.
func (d Diagnosis) ExitCode() exit.Code { return d.Code }

// Summary returns the last line of the text form. Scripts may rely on its form.
func (d Diagnosis) Summary() string {
	return fmt.Sprintf("ok=%d warnings=%d failed=%d unknown=%d duration=%.1fs", d.OK, d.Warnings, d.Failed, d.Unknown, d.Seconds)
}

// widest limits the width of the column of checks. A longer name moves the rest of its own line
// only.
const widest = 42

// Render writes the diagnosis for people, one line for each check with its remedy indented below,
// or as one JSON object.
//
//	ok       imds      i-0a1b2c3d4e5f60001 in subnet-0a1b2c3d (10.0.1.0/24), primary IP 10.0.1.125
//	failed   tcp ssm   10.0.0.10:443 does not answer
//	             the security group of the VPC endpoint must admit TCP 443 from the nodes
//	ok=21 warnings=0 failed=1 unknown=2 duration=5.2s
func (d Diagnosis) Render(w io.Writer, format string) error {
	if format == "json" {
		return output.Write(w, &d)
	}
	width := 0
	for _, f := range d.Findings {
		if n := utf8.RuneCountInString(f.name()); n <= widest {
			width = max(width, n)
		}
	}
	var b strings.Builder
	if d.Tool != "" {
		b.WriteString("emr-static-ip " + d.Tool + "\n")
	}
	last := ""
	for _, f := range d.Findings {
		lines := text.Lines(f.Detail)
		if len(lines) == 0 {
			lines = []string{""}
		}
		fmt.Fprintf(&b, "%-8s %-*s  %s\n", f.Result, width, f.name(), lines[0])
		for _, line := range lines[1:] {
			b.WriteString("             " + line + "\n")
		}
		if f.Remedy != last { // one line for all findings of one cause
			for _, line := range text.Lines(f.Remedy) {
				b.WriteString("             " + line + "\n")
			}
		}
		last = f.Remedy
	}
	if d.Bundle != nil {
		for _, line := range d.Bundle.Lines() {
			b.WriteString(line + "\n")
		}
	}
	b.WriteString(d.Summary() + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (f Finding) name() string {
	return text.Clean(strings.TrimSpace(f.Check+" "+f.Subject), text.MaxQuoted)
}

// found returns a Finding.
func found(result, check, subject, format string, args ...any) Finding {
	return Finding{Check: check, Subject: subject, Result: result, Detail: text.Clean(fmt.Sprintf(format, args...), text.MaxLine)}
}

func fine(check, subject, format string, args ...any) Finding {
	return found(resultOK, check, subject, format, args...)
}

func warning(check, subject, remedy, format string, args ...any) Finding {
	return found(resultWarning, check, subject, format, args...).with(remedy)
}

func unknown(check, subject, remedy, format string, args ...any) Finding {
	return found(resultUnknown, check, subject, format, args...).with(remedy)
}

func failed(code exit.Code, check, subject, remedy, format string, args ...any) Finding {
	f := found(resultFailed, check, subject, format, args...).with(remedy)
	f.ExitCode = code
	return f
}

func (f Finding) with(remedy string) Finding {
	f.Remedy = text.Clean(remedy, text.MaxLine)
	return f
}

func (f Finding) took(d time.Duration) Finding {
	f.Seconds = d.Round(time.Millisecond).Seconds()
	return f
}

// of returns a failed finding for an error, with the error's exit code, text and remedies.
func of(err error, check, subject string) Finding {
	return failed(exit.CodeOf(err), check, subject, strings.Join(exit.Remedies(err), "; or "), "%s", text.Line(err.Error()))
}

// spans writes addresses for people.
func spans(addrs []netip.Addr) string { return pool.Spans(addrs) }

// blocks returns the fewest CIDRs that hold exactly these addresses.
func blocks(addrs []netip.Addr) []netip.Prefix {
	var list []netip.Prefix
	sortedAddrs := slices.Clone(addrs)
	slices.SortFunc(sortedAddrs, netip.Addr.Compare)
	for _, a := range slices.Compact(sortedAddrs) {
		p := netip.PrefixFrom(a, 32)
		for len(list) > 0 { // two halves make a whole
			last := list[len(list)-1]
			whole := netip.PrefixFrom(last.Addr(), last.Bits()-1)
			if last.Bits() != p.Bits() || whole.Masked() != whole || !whole.Contains(p.Addr()) {
				break
			}
			p, list = whole, list[:len(list)-1]
		}
		list = append(list, p)
	}
	return list
}
