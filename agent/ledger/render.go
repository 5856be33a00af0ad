package ledger

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/output"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord/inventory"
)

// Render writes the report for people, or as JSON.
func (l Report) Render(w io.Writer, format string) error {
	if format == "json" {
		return output.Write(w, &l)
	}
	var b strings.Builder
	if len(l.Changes) > 0 {
		for _, c := range l.Changes {
			b.WriteString(c.line(l.Time, l.Subnet == "") + "\n")
		}
	} else if l.Command == List || l.Command == Watch {
		l.renderList(&b)
	} else if err := l.renderSteps(&b); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// renderList writes one table for each subnet, and what to do about what is wrong.
//
//	subnet-0a1b2c (us-east-1, /emr-static-ip/subnet-0a1b2c)
//	ADDRESS    STATE   INSTANCE  EC2      CLUSTER  ROLE    NAME        AGE   ENI
//	10.0.1.10  in use  i-0a1     running  j-1      MASTER  etl-MASTER  3h5m  eni-0a1
//	10.0.1.11  stale   i-0b2     unknown  j-0      CORE    -           26d   -        i-0b2 ...
func (l Report) renderList(b *strings.Builder) {
	type place struct{ region, subnet string }
	bySubnet := map[place][]Address{}
	for _, a := range l.Addresses {
		at := place{a.Region, a.Subnet}
		bySubnet[at] = append(bySubnet[at], a)
	}
	places := slices.SortedFunc(maps.Keys(bySubnet), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.region, b.region), cmp.Compare(a.subnet, b.subnet))
	})
	for _, at := range places {
		fmt.Fprintf(b, "%s (%s, %s/%s)\n", at.subnet, text.Clean(at.region, text.MaxQuoted), l.Prefix, at.subnet)
		rows := [][]string{{"ADDRESS", "STATE", "INSTANCE", "EC2", "CLUSTER", "ROLE", "NAME", "AGE", "ENI", ""}}
		for _, a := range bySubnet[at] {
			rows = append(rows, a.row())
		}
		text.Table(b, rows)
		b.WriteString("\n")
	}
	for _, name := range l.Others {
		fmt.Fprintf(b, "%s is not a record of an address, and left alone\n", text.Clean(name, text.MaxLine))
	}
	l.renderRegions(b)
	switch where := l.Prefix; {
	case len(l.Addresses) == 0 && l.Subnet != "":
		fmt.Fprintf(b, "no record in %s/%s (%s); EC2 was not asked whether the subnet exists\n", where, l.Subnet, text.Clean(l.Region, text.MaxQuoted))
	case len(l.Addresses) == 0 && len(l.Regions) > 0:
		fmt.Fprintf(b, "no record below %s in these regions\n", where)
	case len(l.Addresses) == 0:
		fmt.Fprintf(b, "no record in %s (%s)\n", where, text.Clean(l.Region, text.MaxQuoted))
	default:
		fmt.Fprintf(b, "%s: %s\n", text.Count(len(l.Addresses), "address", "addresses"), l.states())
	}
	if len(l.Regions) > 0 { // the commands below are those of one region
		return
	}
	if n := l.Counts[string(inventory.Stale)]; n > 0 {
		fmt.Fprintf(b, "%d stale: nodes take these over themselves; this removes their records: %s\n", n, l.command(GC))
	}
	var missing []string
	for _, a := range l.Addresses {
		if a.Problem && a.State == string(inventory.Unrecorded) {
			missing = append(missing, a.Address)
		}
	}
	if n := l.Problems - len(missing); n > 0 {
		fmt.Fprintf(b, "%s attention; this shows what can be repaired: %s\n", text.Count(n, "needs", "need"), l.command(Repair))
	}
	if len(missing) > 0 {
		fmt.Fprintf(b, "%d without a record: %s %s\n", len(missing), l.command(Repair), strings.Join(missing, " "))
	}
	for _, line := range slices.Concat(l.Work.Notes, l.Work.Warnings) {
		b.WriteString(text.Clean(line, text.MaxLine) + "\n")
	}
}

// states returns the numbers of addresses by state.
func (l Report) states() string {
	var counts []string
	for _, state := range slices.Sorted(maps.Keys(l.Counts)) {
		counts = append(counts, fmt.Sprintf("%d %s", l.Counts[state], state))
	}
	return strings.Join(counts, ", ")
}

// renderRegions names the regions of a list of all regions: those that have no record in a line,
// and those that could not be listed with the reason.
func (l Report) renderRegions(b *strings.Builder) {
	var empty []string
	for _, r := range l.Regions {
		switch {
		case r.State == regionListed && r.Addresses == 0:
			empty = append(empty, text.Clean(r.Region, text.MaxQuoted))
		case r.Detail != "":
			fmt.Fprintf(b, "%s: %s: %s\n", text.Clean(r.Region, text.MaxQuoted), r.State, text.Clean(r.Detail, text.MaxLine))
		}
	}
	for _, g := range []struct {
		what  string
		names []string
	}{{"no record in", empty}, {"not enabled:", l.regionsIn(regionNotEnabled)}} {
		if len(g.names) > 0 {
			fmt.Fprintf(b, "%s %s\n", g.what, strings.Join(g.names, ", "))
		}
	}
}

// command returns the command line of another command about the same ledger.
func (l Report) command(name string) string {
	text := "emr-static-ip ledger " + name + " --region " + text.Clean(l.Region, text.MaxQuoted)
	if l.Subnet != "" {
		text += " --subnet " + l.Subnet
	}
	if l.Prefix != agent.DefaultPrefix {
		text += " --prefix " + l.Prefix
	}
	return text
}

// row returns a row of the table. The instance is the holder, or the owner of the record if there
// is no holder.
func (a Address) row() []string {
	var age, eni, role, cluster string
	var i Instance
	if a.Owner != nil {
		i = *a.Owner
	}
	if a.Record != nil {
		age, cluster, role = text.Age(time.Duration(a.Record.Age)*time.Second), a.Record.Cluster, a.Record.Role
	}
	if a.Holder != nil {
		if eni = a.Holder.ENI; a.Holder.Instance == nil {
			i, cluster, role = Instance{}, "", ""
		} else {
			i = *a.Holder.Instance
			cluster, role = i.Cluster, i.Role
		}
	}
	note := a.Reason
	if a.State == string(inventory.Free) {
		note = ""
	}
	return append(text.Cells(a.Address, a.State, i.ID, i.State, cluster, role, i.Name, age, eni), text.Clean(note, text.MaxLine))
}

// renderSteps writes what gc or repair did, or would do.
func (l Report) renderSteps(b *strings.Builder) error {
	fmt.Fprintf(b, "%-10s %s\n", "region", text.Clean(l.Region, text.MaxQuoted))
	r := l.Work
	r.SubnetID = l.Subnet
	n := len(l.Addresses)
	if l.named > 0 { // the others were looked at, and not asked for
		n = l.named
	}
	r.Unchanged = n - len(l.Steps)
	switch {
	case len(l.Steps) == 0 && l.Command == Remove:
		r.Notes = append(r.Notes, l.nothingToRemove()...)
	case len(l.Steps) == 0 && l.Command == GC:
		r.Notes = append(r.Notes, fmt.Sprintf("nothing to do: %s, no stale record", text.Count(n, "address", "addresses")))
	case len(l.Steps) == 0:
		r.Notes = append(r.Notes, fmt.Sprintf("nothing to do: %s, nothing to repair", text.Count(n, "address", "addresses")))
	case l.DryRun && len(r.Changes) > 0:
		r.Notes = append(r.Notes, "nothing was changed: --yes makes the changes")
	}
	return r.Render(b, "text")
}

// nothingToRemove says that there is no record, and who has the address.
func (l Report) nothingToRemove() (lines []string) {
	for _, a := range l.Addresses {
		if a.Record != nil || a.Holder == nil && a.State != string(inventory.Free) {
			continue
		}
		lines = append(lines, fmt.Sprintf("nothing to do: %s: %s", a.Address, text.Clean(a.Reason, text.MaxLine)))
	}
	return lines
}
