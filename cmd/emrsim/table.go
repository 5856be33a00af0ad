package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/record"
)

// results returns the whole table, for the report.
func (r *rehearsal) results() record.Table {
	t := record.Table{Columns: []string{
		"NODE", "ROLE", "INSTANCE", "PRIMARY IP", "STATIC IP", "SEEN ON PREMISES", "BEFORE", "AFTER", "SECONDS", "API CALLS", "SECOND RUN",
	}}
	for _, w := range r.rows {
		second := "-"
		if w.changed >= 0 {
			second = "changed=" + strconv.Itoa(w.changed)
		}
		t.Rows = append(t.Rows, []string{
			w.node.Name, w.node.Role, w.node.Instance, w.node.Primary.Address.String(), dash(w.static), dash(w.seen), outcome(w.before), outcome(w.after),
			fmt.Sprintf("%.1f", w.first.Duration.Seconds()), strconv.Itoa(w.calls), second,
		})
	}
	return t
}

// system returns what the nodes run: a release of EMR, or Amazon Linux.
func (r *rehearsal) system() string {
	switch {
	case r.spec.Plain == 0:
		return r.spec.Release
	case strings.HasPrefix(r.spec.Release, "emr-5") || strings.HasPrefix(r.spec.Release, "emr-6"):
		return "Amazon Linux 2"
	}
	return "Amazon Linux 2023"
}

func dash(a netip.Addr) string {
	if !a.IsValid() {
		return "-"
	}
	return a.String()
}

// tableWidth is the width in columns that the printed table keeps to.
const tableWidth = 80

// table prints the results of each node, and then the problems.
func (r *rehearsal) table() {
	columns := []string{"NODE", "PRIMARY IP", "BEFORE", "STATIC IP", "SEEN AS", "AFTER", "TIME", "CALLS", "RERUN"}
	rows := [][]string{columns}
	for _, w := range r.rows {
		again := "-"
		switch {
		case w.changed == 0:
			again = "same"
		case w.changed > 0:
			again = lab.Count(w.changed, "change")
		}
		rows = append(rows, []string{
			w.node.Name, w.node.Primary.Address.String(), outcome(w.before), dash(w.static), dash(w.seen), outcome(w.after),
			fmt.Sprintf("%.1fs", w.first.Duration.Seconds()), strconv.Itoa(w.calls), again,
		})
	}
	// Long addresses leave no room for the least important columns.
	for _, column := range []string{"CALLS", "TIME"} {
		if total(widths(rows)) <= tableWidth {
			break
		}
		i := slices.Index(rows[0], column)
		for n := range rows {
			rows[n] = slices.Delete(rows[n], i, i+1)
		}
	}
	r.screen.printf("\n%s", r.screen.render(rows))
	took := time.Since(r.start).Round(100 * time.Millisecond)
	size := lab.Count(len(r.rows), "node")
	if len(r.problems) == 0 {
		iptables := "iptables program: " + string(r.cluster.Iptables())
		if r.cluster.Iptables() == lab.IptablesNone {
			iptables = "no iptables program"
		}
		r.screen.printf("\n%s (%s, %s, %s, %s)\n", r.screen.paint(green, "all is as it should be"), size, r.system(), iptables, took)
		return
	}
	r.screen.printf("\n%s (%s, %s)\n", r.screen.paint(red, "FAILED: "+lab.Count(len(r.problems), "problem")), size, took)
	var nodes []*record.Node
	for _, w := range r.rows {
		nodes = append(nodes, &record.Node{Name: w.node.Name})
	}
	record.SortProblems(r.problems, nodes)
	for _, p := range r.problems {
		r.screen.printf("%s", describeProblem(p, len(r.rows)))
	}
}

// describeProblem returns the nodes, the cause and then the remedy of a problem.
func describeProblem(p record.Problem, nodes int) string {
	who := strings.Join(p.Nodes, ", ")
	switch n := len(p.Nodes); {
	case n == 0:
		who = "the rehearsal"
	case n == nodes && n > 1:
		who = "every node"
	case n > 6:
		who = fmt.Sprintf("%s and %d more", strings.Join(p.Nodes[:5], ", "), n-5)
	}
	if p.As != "" {
		who += " (here with the addresses of " + p.As + ")"
	}
	text := " - " + who + ": " + strings.ReplaceAll(p.Cause, "\n", "\n   ") + "\n"
	if p.Remedy != "" {
		text += "   what to do: " + strings.ReplaceAll(p.Remedy, "\n", "\n     ") + "\n"
	}
	return text
}

// widths returns the width of each column.
func widths(rows [][]string) []int {
	w := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			w[i] = max(w[i], utf8.RuneCountInString(cell))
		}
	}
	return w
}

// total returns the width of a table with two spaces between the columns.
func total(widths []int) int {
	n := -2
	for _, w := range widths {
		n += w + 2
	}
	return n
}

// render returns a table. Good and bad outcomes have colours where the terminal has them.
func (s *screen) render(rows [][]string) string {
	w := widths(rows)
	var b strings.Builder
	for n, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			text := fmt.Sprintf("%-*s", w[i], cell)
			switch {
			case n == 0:
				text = s.paint(faint, text)
			case cell == "failed" || rows[0][i] == "AFTER" && cell != "done":
				text = s.paint(red, text)
			case cell == "done" || cell == "same":
				text = s.paint(green, text)
			case rows[0][i] == "BEFORE":
				text = s.paint(yellow, text)
			}
			line.WriteString(text)
			if i < len(row)-1 {
				line.WriteString("  ")
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// outcome returns the outcome of a download in one word.
func outcome(err error) string {
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, errNotTried):
		return "skipped"
	case errors.Is(err, lab.ErrRefused):
		return "refused"
	default:
		return "failed"
	}
}

// errNotTried is the error of a download that was not tried because of an earlier problem.
var errNotTried = errors.New("not tried")
