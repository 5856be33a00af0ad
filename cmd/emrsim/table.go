package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
)

// table prints the results of each node, and then the problems.
func (r *rehearsal) table() {
	fmt.Fprintln(r.out)
	t := tabwriter.NewWriter(r.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tROLE\tINSTANCE\tPRIMARY IP\tSTATIC IP\tSEEN ON PREMISES\tBEFORE\tAFTER\tSECONDS\tAPI CALLS\tSECOND RUN")
	for _, w := range r.rows {
		static, seen, second := "-", "-", "-"
		if w.static.IsValid() {
			static = w.static.String()
		}
		if w.seen.IsValid() {
			seen = w.seen.String()
		}
		if w.changed >= 0 {
			second = "changed=" + strconv.Itoa(w.changed)
		}
		fmt.Fprintln(t, strings.Join([]string{
			w.node.Name, w.node.Role, w.node.Instance, w.node.Primary.Address.String(), static, seen, outcome(w.before), outcome(w.after),
			fmt.Sprintf("%.1f", w.first.Duration.Seconds()), strconv.Itoa(w.calls), second,
		}, "\t"))
	}
	t.Flush()
	took := time.Since(r.start).Round(100 * time.Millisecond)
	if len(r.problems) == 0 {
		iptables := string(r.cluster.Iptables())
		if r.cluster.Iptables() == lab.IptablesNone {
			iptables = "without"
		}
		fmt.Fprintf(r.out, "\nall is as it should be (%d nodes, %s, %s iptables, %s)\n", len(r.rows), r.spec.Release, iptables, took)
		return
	}
	fmt.Fprintf(r.out, "\nFAILED: %d problems (%s)\n", len(r.problems), took)
	for _, p := range r.problems {
		fmt.Fprintln(r.out, " -", p)
	}
}

// outcome returns the outcome of a download in one word.
func outcome(err error) string {
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, errNotTried):
		return "not tried"
	case errors.Is(err, lab.ErrRefused):
		return "refused"
	default:
		return "failed"
	}
}

// errNotTried is the error of a download that was not tried because of an earlier problem.
var errNotTried = errors.New("not tried")
