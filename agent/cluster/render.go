package cluster

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/output"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// Render writes the report for people, or as JSON.
func (r Report) Render(w io.Writer, format string) error {
	if format == "json" {
		return output.Write(w, &r)
	}
	var b strings.Builder
	r.render(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// render writes a table of the nodes, and what is not complete.
//
//	cluster  j-1 (etl, emr-7.13.0, RUNNING) in us-east-1
//	list     list of the bootstrap action "static-ip"; records in /emr-static-ip
//	INSTANCE  ROLE    STATE     PRIMARY IP  STATIC IP  RECORD  AGE    SUBNET
//	i-0a1     MASTER  ok        10.0.1.112  10.0.1.10  4m2s    5m10s  subnet-0a1b
//	i-0b2     CORE    starting  10.0.1.13   -          -       5m10s  subnet-0a1b  EC2 says ...
//	incomplete: 2 nodes, 1 ok, 1 starting
func (r *Report) render(b *strings.Builder) {
	var about []string
	for _, s := range []string{r.Name, r.Release, r.State} {
		if s != "" {
			about = append(about, text.Clean(s, text.MaxQuoted))
		}
	}
	of := ""
	if len(about) > 0 {
		of = " (" + strings.Join(about, ", ") + ")"
	}
	fmt.Fprintf(b, "cluster  %s%s in %s\n", r.Cluster, of, text.Clean(r.Region, text.MaxQuoted))
	fmt.Fprintf(b, "list     %s; records in %s\n", text.Clean(r.List, text.MaxLine), r.Prefix)
	if len(r.Nodes) > 0 {
		rows := [][]string{{"INSTANCE", "ROLE", "STATE", "PRIMARY IP", "STATIC IP", "RECORD", "AGE", "SUBNET", ""}}
		for _, n := range r.Nodes {
			rows = append(rows, n.row())
		}
		text.Table(b, rows)
	}
	if r.over || r.State != "" && r.Reason != "" && !r.Complete {
		fmt.Fprintf(b, "the cluster is %s: %s\n", text.Clean(r.State, text.MaxQuoted), text.Clean(r.Reason, text.MaxLine))
	}
	for _, line := range slices.Concat(r.Unseen, r.Notes) {
		b.WriteString("note: " + text.Clean(line, text.MaxLine) + "\n")
	}
	verdict := "incomplete"
	if r.Complete {
		verdict = "complete"
	}
	fmt.Fprintf(b, "%s: %s\n", verdict, text.Clean(r.summary(), text.MaxLine))
}

// row returns a row of the table. The column RECORD has the age of the node's record, or whom the
// record names instead.
func (n Node) row() []string {
	record, age := "", ""
	if n.Record != nil {
		switch record = n.Record.Instance; {
		case n.Record.Problem != "":
			record = "unreadable"
		case record == n.Instance && n.Static != "":
			record = text.Age(time.Duration(n.Record.Age) * time.Second)
		case record == n.Instance:
			record = n.Record.Name[strings.LastIndexByte(n.Record.Name, '/')+1:]
		}
	}
	if !n.Launched.IsZero() {
		age = text.Age(time.Duration(n.Age) * time.Second)
	}
	return append(text.Cells(n.Instance, n.Role, n.State, n.Primary, n.Static, record, age, n.Subnet), text.Clean(n.Reason, text.MaxLine))
}
