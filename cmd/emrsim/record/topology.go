package record

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
)

// view is what the drawings need to know about one node.
type view struct {
	*Node
	before, after Sighting
	ok            bool // it has an address, the data centre saw that address, and no problem names the node
}

// Static returns the node's static IP, or a dash.
func (v view) static() string { return dash(v.Static) }

func dash(a netip.Addr) string {
	if !a.IsValid() {
		return "–"
	}
	return a.String()
}

// views returns the nodes with the first connection before their run, and the last one after it.
func (r *Recording) views() (list []view) {
	troubled := map[string]bool{}
	for _, p := range r.Problems {
		for _, n := range p.Nodes {
			troubled[n] = true
		}
	}
	for _, n := range r.Nodes {
		v := view{Node: n}
		for _, s := range r.Sightings {
			switch {
			case s.Node != n.Name:
			case s.After:
				v.after = s
			case v.before.Outcome == "":
				v.before = s
			}
		}
		v.ok = !troubled[n.Name] && (v.after.Outcome == "" || !v.Static.IsValid() || v.after.Seen == v.Static)
		list = append(list, v)
	}
	return list
}

// Sizes of the topology.
const (
	wide   = 1120
	narrow = 360
	inRows = 8  // nodes that have a row of their own in the wide drawing
	inGrid = 60 // nodes that have a card of their own
)

// topology draws the VPCs with their nodes, the firewall and the data centre. columns is the number
// of node cards beside each other; 0 gives each node a row with its packets.
func (r *Recording) topology(width float64, columns int) *drawing {
	nodes := r.views()
	d := &drawing{W: width, Title: "Nodes, firewall and data centre", Desc: r.topologyText(nodes)}
	boxW := width
	packets := r.Topology.Server.IsValid() // not in virtual time
	if width > narrow && packets {
		boxW = 690
		if columns == 0 {
			boxW = 318
		}
	}
	y := 1.0
	row := map[string]float64{} // middle of a node's card
	for _, vpc := range r.Topology.VPCs {
		y = r.drawVPC(d, vpc, nodes, y, boxW-2, columns, row) + 18
	}
	d.H = y - 16
	switch {
	case !packets:
	case width <= narrow:
		r.drawBelow(d, nodes)
	case columns == 0:
		r.drawPackets(d, nodes, row, boxW)
	default:
		r.drawSums(d, nodes, boxW)
	}
	return d
}

// topologyText says in words what the drawing shows.
func (r *Recording) topologyText(nodes []view) string {
	if len(nodes) > inGrid {
		static, failed := 0, 0
		for _, v := range nodes {
			if v.Static.IsValid() {
				static++
			}
			if !v.ok {
				failed++
			}
		}
		return fmt.Sprintf("%s: %d with a static IP, %d with a problem. The part Results has a line for each.", lab.Count(len(nodes), "node"), static, failed)
	}
	var b strings.Builder
	for _, v := range nodes {
		fmt.Fprintf(&b, "%s: primary IP %s, static IP %s", v.Name, v.Primary, v.static())
		if v.before.Outcome != "" {
			fmt.Fprintf(&b, ", download before %s", v.before.Outcome)
		}
		if v.after.Outcome != "" {
			fmt.Fprintf(&b, ", after %s", v.after.Outcome)
		}
		if v.after.Seen.IsValid() {
			fmt.Fprintf(&b, ", seen on premises as %s", v.after.Seen)
		}
		b.WriteString(". ")
	}
	return b.String()
}

// drawVPC draws a VPC from y on and returns where it ends.
func (r *Recording) drawVPC(d *drawing, vpc VPC, nodes []view, y, w float64, columns int, row map[string]float64) float64 {
	frame := len(d.Shapes)
	d.rect(1, y, w, 0, 10, "vpc", "")
	d.text(14, y+22, "strong", "start", "VPC %s", joined(vpc.CIDRs))
	y += 36
	for _, s := range vpc.Subnets {
		mine := slices.DeleteFunc(slices.Clone(nodes), func(v view) bool { return v.Subnet != s.ID })
		if len(mine) == 0 && len(vpc.Subnets) > 1 {
			continue
		}
		box := len(d.Shapes)
		top := y
		d.rect(11, top, w-20, 0, 8, "subnet", "")
		label := "subnet " + s.CIDR.String()
		if s.Zone != "" && w > 330 {
			label += ", " + s.Zone
		}
		d.text(22, top+19, "muted", "start", "%s", label)
		y = r.drawNodes(d, mine, 21, top+30, w-40, columns, row) + 12
		d.Shapes[box].H = y - top
		y += 10
	}
	d.Shapes[frame].H = y - d.Shapes[frame].Y
	return y
}

// drawNodes draws the nodes of a subnet and returns where they end.
func (r *Recording) drawNodes(d *drawing, nodes []view, x, y, w float64, columns int, row map[string]float64) float64 {
	if len(r.Nodes) > inGrid {
		return drawCells(d, nodes, x, y, w)
	}
	gap, h := 8.0, 64.0
	if columns == 0 {
		columns, gap, h = 1, 14, 58
	}
	cardW := (w - gap*float64(columns-1)) / float64(columns)
	for i, v := range nodes {
		cx, cy := x+float64(i%columns)*(cardW+gap), y+float64(i/columns)*(h+gap)
		row[v.Name] = cy + h/2
		d.link("#"+anchor(v.Name), v.Name+" "+v.Instance, func() {
			class := "card"
			switch {
			case !v.ok:
				class = "card bad"
			case v.Ended:
				class = "card gone"
			}
			d.rect(cx, cy, cardW, h, 6, class, "")
			d.text(cx+10, cy+20, "strong", "start", "%s", v.Name)
			d.text(cx+cardW-10, cy+20, "muted", "end", "%s", v.Role)
			d.text(cx+10, cy+40, "mono", "start", "%s", v.Primary)
			if v.Static.IsValid() {
				d.text(cx+cardW-10, cy+40, "mono strong static", "end", "%s", v.Static)
			} else if v.Ended {
				d.text(cx+cardW-10, cy+40, "small", "end", "ended")
			} else {
				d.text(cx+cardW-10, cy+40, "small", "end", "no static IP")
			}
			if px := cx + cardW/2; cardW > 190 && v.Static.IsValid() {
				d.arrow(px-9, cy+36, px+11, "thin")
			}
			if h > 60 {
				d.text(cx+10, cy+56, "small", "start", "%s", v.summary())
			}
		})
	}
	rows := (len(nodes) + columns - 1) / columns
	return y + float64(rows)*(h+gap) - gap
}

// summary says how the downloads of a node ended.
func (v view) summary() string {
	if v.Ended {
		return "ended after " + seconds(v.Until)
	}
	var parts []string
	if v.before.Outcome != "" {
		parts = append(parts, "before: "+v.before.Outcome)
	}
	if v.after.Outcome != "" {
		parts = append(parts, "after: "+v.after.Outcome)
	}
	return strings.Join(parts, ", ")
}

// drawCells draws many nodes as small squares.
func drawCells(d *drawing, nodes []view, x, y, w float64) float64 {
	size := 26.0
	if len(nodes) > 200 {
		size = 12
	}
	columns := int(w / size)
	for i, v := range nodes {
		class := "cell"
		switch {
		case !v.ok:
			class = "cell bad"
		case !v.Static.IsValid():
			class = "cell none"
		}
		cx, cy := x+float64(i%columns)*size, y+float64(i/columns)*size
		d.rect(cx, cy, size-2, size-2, 2, class, fmt.Sprintf("%s %s, static IP %s", v.Name, v.Primary, v.static()))
	}
	return y + float64((len(nodes)+columns-1)/columns)*size
}

// drawPackets draws the packets of each node before and after, through the firewall.
func (r *Recording) drawPackets(d *drawing, nodes []view, row map[string]float64, boxW float64) {
	fireX, serverX := 708.0, 900.0
	r.drawFirewall(d, fireX, 1, 84, d.H-2)
	r.drawServer(d, serverX, 1, wide-serverX-1, d.H-2)
	for _, v := range nodes {
		y := row[v.Name]
		from, to := boxW+6, fireX+42
		if v.before.Outcome != "" {
			d.text((from+fireX)/2, y-17, "small", "middle", "before, from %s: %s", v.Primary, v.before.Outcome)
			if v.before.Outcome == "done" {
				d.arrow(from, y-12, serverX-2, "pass")
			} else {
				d.line(from, y-12, to-9, y-12, "stop")
				title := ""
				if v.before.Dropped > 0 {
					title = lab.Count(v.before.Dropped, "packet") + " dropped"
				}
				d.cross(to, y-12, 6, "cross", title)
			}
		}
		switch v.after.Outcome {
		case "":
		case "done":
			d.text((from+fireX)/2, y+10, "small", "middle", "after, from %s: done", dash(v.after.Seen))
			d.arrow(from, y+15, serverX-2, "pass")
		case "skipped":
			d.text((from+fireX)/2, y+10, "small", "middle", "after: skipped")
		default:
			d.text((from+fireX)/2, y+10, "small", "middle", "after: %s", v.after.Outcome)
			d.line(from, y+15, to-9, y+15, "stop")
			d.cross(to, y+15, 6, "cross", "")
		}
	}
}

// drawFirewall draws the firewall with the addresses that it admits.
func (r *Recording) drawFirewall(d *drawing, x, y, w, h float64) {
	d.rect(x, y, w, h, 6, "firewall", "admits "+joined(r.Topology.Admitted))
	d.text(x+w/2, y+22, "strong", "middle", "firewall")
}

// drawServer draws the data centre.
func (r *Recording) drawServer(d *drawing, x, y, w, h float64) {
	d.rect(x, y, w, h, 10, "dc", "")
	d.text(x+14, y+22, "strong", "start", "data centre")
	d.text(x+14, y+41, "muted", "start", "%s", r.Topology.OnPrem)
	d.text(x+14, y+64, "mono", "start", "%s", netip.AddrPortFrom(r.Topology.Server, uint16(r.Topology.Port)))
	admits := r.Topology.Admitted
	room := max(0, int((h-112)/17))
	if len(admits) == 0 || room == 0 {
		return
	}
	d.text(x+14, y+92, "small", "start", "its firewall admits")
	for i, a := range admits {
		if i == room-1 && len(admits) > room {
			d.text(x+14, y+110+17*float64(i), "small", "start", "and %d more", len(admits)-i)
			break
		}
		d.text(x+14, y+110+17*float64(i), "mono small", "start", "%s", a)
	}
}

// sums returns how many nodes' downloads ended in each way, as text, before and after.
func sums(nodes []view) (before, after string, passed bool) {
	count := func(of func(view) string) string {
		counts := map[string]int{}
		for _, v := range nodes {
			if o := of(v); o != "" {
				counts[o]++
			}
		}
		var parts []string
		for _, o := range []string{"done", "refused", "failed", "skipped"} {
			if counts[o] > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", counts[o], o))
			}
		}
		return strings.Join(parts, ", ")
	}
	after = count(func(v view) string { return v.after.Outcome })
	return count(func(v view) string { return v.before.Outcome }), after, strings.Contains(after, "done")
}

// drawSums draws the packets of all nodes together.
func (r *Recording) drawSums(d *drawing, nodes []view, boxW float64) {
	fireX, serverX := 832.0, 948.0
	d.H = max(d.H, 240)
	h := d.H - 2
	r.drawFirewall(d, fireX, 1, 84, h)
	r.drawServer(d, serverX, 1, wide-serverX-1, h)
	before, after, passed := sums(nodes)
	from := boxW + 6
	if before != "" {
		d.text((from+fireX)/2, 78, "small", "middle", "before")
		d.text((from+fireX)/2, 94, "small strong", "middle", "%s", before)
		d.line(from, 104, fireX+32, 104, "stop")
		d.cross(fireX+42, 104, 6, "cross", "")
	}
	if after == "" {
		return
	}
	d.text((from+fireX)/2, 140, "small", "middle", "after")
	d.text((from+fireX)/2, 156, "small strong", "middle", "%s", after)
	if passed {
		d.arrow(from, 166, serverX-2, "pass")
	} else {
		d.line(from, 166, fireX+32, 166, "stop")
		d.cross(fireX+42, 166, 6, "cross", "")
	}
}

// drawBelow draws firewall and data centre below the VPC, for narrow screens.
func (r *Recording) drawBelow(d *drawing, nodes []view) {
	before, after, passed := sums(nodes)
	y := d.H
	d.rect(1, y+52, narrow-2, 40, 6, "firewall", "")
	d.text(134, y+77, "strong", "middle", "firewall")
	if before != "" {
		d.line(60, y+2, 60, y+64, "stop")
		d.cross(60, y+72, 6, "cross", "")
		d.text(72, y+22, "small", "start", "before:")
		d.text(72, y+38, "small strong", "start", "%s", before)
	}
	if after != "" {
		d.text(220, y+22, "small", "start", "after:")
		d.text(220, y+38, "small strong", "start", "%s", after)
		if passed {
			d.down(208, y+2, y+120, "pass")
		} else {
			d.line(208, y+2, 208, y+64, "stop")
			d.cross(208, y+72, 6, "cross", "")
		}
	}
	h := 112 + 17*float64(min(6, len(r.Topology.Admitted)))
	r.drawServer(d, 1, y+122, narrow-2, h)
	d.H = y + 124 + h
}

// joined returns the items with commas.
func joined[T fmt.Stringer](items []T) string {
	var texts []string
	for _, i := range items {
		texts = append(texts, i.String())
	}
	return strings.Join(texts, ", ")
}
