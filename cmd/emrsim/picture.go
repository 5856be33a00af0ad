package main

import (
	"fmt"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
)

// picture returns a drawing of what is rehearsed, in at most 80 columns.
func picture(plan lab.Plan, spec lab.ClusterSpec, first *lab.Node) string {
	rows := [][3]string{
		{" " + size(spec), " admits", ""},
		{fmt.Sprintf(" in subnet %s", plan.Subnet), " " + lab.Count(len(spec.Static), "static IP"), ""},
		{fmt.Sprintf(" before, from the primary IP %s ", first.Primary.Address), "", " " + plan.Server.String()},
		{fmt.Sprintf(" after,  from the static IP  %s ", spec.Static[0]), "", ""},
	}
	const left, middle, right = 44, 15, 15
	var b strings.Builder
	fmt.Fprintf(&b, "\n  VPC %-*s  firewall%*sdata centre\n", left-4, vpcOf(plan), middle-6, "")
	frame := "  +" + strings.Repeat("-", left) + "+" + strings.Repeat("-", middle) + "+" + strings.Repeat("-", right) + "+\n"
	b.WriteString(frame)
	for i, r := range rows {
		fill := [3]string{" ", " ", " "}
		switch i {
		case 2:
			fill[0] = "-"
			r[1] = "--- X refused"
		case 3:
			fill[0], fill[1] = "-", "-"
		}
		edge := [2]string{"|", "|"}
		if i == 2 {
			edge[0] = "-"
		}
		if i == 3 {
			edge = [2]string{"-", "-"}
			r[2] = "--> done"
		}
		b.WriteString("  |" + pad(r[0], left, fill[0]) + edge[0] + pad(r[1], middle, fill[1]) + edge[1] + pad(r[2], right, fill[2]) + "|\n")
	}
	b.WriteString(frame + "\n")
	return b.String()
}

// pad fills a text up to a width, or cuts it.
func pad(text string, width int, fill string) string {
	if len(text) > width {
		return text[:width-1] + "~"
	}
	return text + strings.Repeat(fill, width-len(text))
}

// vpcOf names the VPC by its CIDRs: by the first and the one of the cluster's subnet if there are
// more than two.
func vpcOf(plan lab.Plan) string {
	text := plan.VPC.String()
	for _, c := range plan.CIDRs[1:] {
		if len(plan.CIDRs) == 2 || c.Contains(plan.Subnet.Addr()) {
			text += ", " + c.String()
		}
	}
	return text
}
