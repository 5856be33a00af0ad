package record

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
)

// An axis maps seconds to pixels.
type axis struct {
	x, w, end float64
}

func (a axis) at(s float64) float64 { return a.x + a.w*min(s, a.end)/a.end }

// gutter is the room for the names of lanes, in pixels.
const gutter = 108

func (r *Recording) axis() axis {
	return axis{x: gutter, w: wide - gutter - 10, end: max(r.Seconds, 0.001)}
}

// step returns the distance of the axis's ticks, in seconds.
func (a axis) step() float64 {
	for _, s := range []float64{0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600} {
		if a.end/s <= 12 {
			return s
		}
	}
	return math.Ceil(a.end/12/3600) * 3600
}

// ticks draws the axis: numbers above, lines down to y2.
func (a axis) ticks(d *drawing, y1, y2 float64) {
	step := a.step()
	for i := 0; float64(i)*step <= a.end; i++ {
		s := float64(i) * step
		x := a.at(s)
		d.line(x, y1, x, y2, "tick")
		text := fmt.Sprintf("%g s", math.Round(s*10)/10)
		if step >= 60 {
			text = fmt.Sprintf("%g min", s/60)
		}
		if a.at(s)+40 < a.x+a.w+12 {
			d.text(x+4, y1+10, "small", "start", "%s", text)
		}
	}
}

// laneHeight returns the height of one of n lanes.
func laneHeight(n int) float64 {
	return math.Floor(max(2, min(36, 1500/float64(max(1, n)))))
}

// timeline draws a lane for each node, with its steps, calls and what happened to it.
func (r *Recording) timeline() *drawing {
	a, h := r.axis(), laneHeight(len(r.Nodes))
	const top = 58
	d := &drawing{W: wide, H: top + h*float64(len(r.Nodes)) + 8, Title: "What each node did, and when"}
	d.Desc = "The steps and the calls of each node are also tables, in the part about the node below."
	r.drawPhases(d, a)
	a.ticks(d, 42, d.H)
	calls := r.byNode()
	nodes := r.Nodes
	if h < thin {
		nodes = r.byAddress()
		d.Desc = "The nodes are in the order in which they got their addresses. " + d.Desc
	}
	every := max(1, int(math.Ceil(12/h))) // not each thin lane has a label
	for i, n := range nodes {
		y := top + h*float64(i)
		if i%2 == 1 && h >= thin {
			d.rect(0, y, wide, h, 0, "stripe", "")
		}
		if i%every == 0 {
			d.link("#"+anchor(n.Name), n.Name, func() { d.text(8, y+max(h, 12)/2+3, "lane", "start", "%s", n.Name) })
		}
		drawLane(d, a, n, calls[n.Name], y, h)
	}
	return d
}

// thin is the height below which a lane is too thin to be found by its node's name. Thin lanes are
// in the order in which their nodes got an address, so that the drawing shows how a launch goes on.
const thin = 6

// byAddress returns the nodes in the order in which EC2 gave them their last address. Nodes without
// an address come last.
func (r *Recording) byAddress() []*Node {
	got := map[string]float64{}
	for _, ch := range r.Ledger {
		if ch.What == ChangeAssigned {
			got[ch.Node] = ch.At
		}
	}
	nodes := slices.Clone(r.Nodes)
	slices.SortStableFunc(nodes, func(a, b *Node) int {
		one, has := got[a.Name]
		other, also := got[b.Name]
		switch {
		case has && !also:
			return -1
		case !has && also:
			return 1
		}
		return compare(one, other)
	})
	return nodes
}

// drawPhases names the phases of the rehearsal above the axis. A phase too short for its name has
// its number only.
func (r *Recording) drawPhases(d *drawing, a axis) {
	for i, p := range r.Phases {
		until := r.Seconds
		if i+1 < len(r.Phases) {
			until = r.Phases[i+1].At
		}
		x, w := a.at(p.At), a.at(until)-a.at(p.At)
		class := "phase"
		if i%2 == 1 {
			class = "phase odd"
		}
		d.rect(x, 4, max(w, 1), 32, 3, class, p.Text)
		text := p.Text
		if room := int(w / 6.6); len([]rune(text)) > room {
			if text = ""; room >= 2 {
				text = fmt.Sprint(i + 1)
			}
		}
		d.text(x+6, 24, "small", "start", "%s", text)
	}
}

// drawLane draws the lane of a node.
func drawLane(d *drawing, a axis, n *Node, calls []Call, y, h float64) {
	barH := max(1, math.Floor(h*0.5))
	if h < 14 {
		barH = max(1, h-1)
	}
	top := y + math.Floor((h-barH)/2) - h*0.08
	if h < 14 {
		top = y
	}
	d.rect(a.at(n.From), y+h/2-0.5, max(1, a.at(n.Until)-a.at(n.From)), 1, 0, "alive", "")
	for _, s := range n.Steps {
		if isMoment(s.Kind) {
			continue
		}
		d.rect(a.at(s.From), top, max(1, a.at(s.Until)-a.at(s.From)), barH, min(2, barH/3), "step "+s.Kind,
			fmt.Sprintf("%s: %s, %s", n.Name, s.Kind, seconds(s.Until-s.From)))
	}
	drawCalls(d, a, calls, y, h)
	for _, s := range n.Steps {
		if isMoment(s.Kind) {
			drawMoment(d, a.at(s.From), y+h/2, min(6, h/2), s, n.Name)
		}
	}
}

func isMoment(kind string) bool {
	_, moment := moments[kind]
	return moment
}

// drawMoment draws what happened to a node.
func drawMoment(d *drawing, x, y, r float64, s Step, node string) {
	title := fmt.Sprintf("%s: %s at %s", node, s.Kind, seconds(s.From))
	if s.Text != "" {
		title += ": " + s.Text
	}
	switch s.Kind {
	case StepKilled, StepFailed:
		d.dot(x, y, r+2, "halo", "")
		d.cross(x, y, r*0.8, "cross", title)
	case StepEnded:
		d.rect(x-1.5, y-r, 3, 2*r, 0, "end", title)
	default:
		d.dot(x, y, r, "moment", title)
	}
}

// drawCalls draws the calls below the bar: a tick for each, a triangle for a throttled one, a cross
// for one that the rehearsal disturbed. Lanes that are too low have throttles and faults only.
func drawCalls(d *drawing, a axis, calls []Call, y, h float64) {
	bottom := y + h - 1
	var ticks, throttles strings.Builder
	for _, c := range calls {
		x := a.at(c.From)
		title := fmt.Sprintf("%s:%s %s, %s", c.Service, c.Action, c.Result, seconds(c.Seconds))
		switch {
		case c.Fault != "" && h >= 8:
			d.cross(x, bottom-4, min(4, h/4), "fault", title+", fault "+c.Fault)
		case c.Throttled && h >= 14:
			d.path("throttle", title, x, "M%.1f %.1fl-4 7h8z", x, bottom-7)
		case c.Throttled:
			fmt.Fprintf(&throttles, "M%.1f %.1fv%.1f", x, y, h)
		case h >= 20 && len(calls) < 60:
			d.rect(x-0.75, bottom-7, 1.5, 7, 0, "call", title)
		case h >= 14:
			fmt.Fprintf(&ticks, "M%.1f %.1fv5", x, bottom-5)
		}
	}
	if ticks.Len() > 0 {
		d.add(shape{Kind: "path", D: ticks.String(), Class: "calls"})
	}
	if throttles.Len() > 0 {
		d.add(shape{Kind: "path", D: throttles.String(), Class: "throttles"})
	}
}

// laneLimit is the number of addresses up to which each has a lane in the drawing of the ledger.
const laneLimit = 40

// ledger draws who holds which address, over time; for many addresses, how many are held.
func (r *Recording) ledger() *drawing {
	var addresses []netip.Addr
	for _, ch := range r.Ledger {
		addresses = append(addresses, ch.Address)
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	addresses = slices.Compact(addresses)
	d := &drawing{W: wide, Title: "Who holds which address, over time", Desc: "The table below has the same changes."}
	switch {
	case len(addresses) == 0:
		return nil
	case len(addresses) > laneLimit:
		r.drawCounts(d)
		return d
	}
	const top, h = 22, 24
	d.H = top + h*float64(len(addresses)) + 6
	a := r.axis()
	a.ticks(d, 6, d.H)
	for i, address := range addresses {
		y := top + h*float64(i)
		if i%2 == 1 {
			d.rect(0, y, wide, h, 0, "stripe", "")
		}
		d.text(8, y+h/2+4, "mono lane", "start", "%s", address)
		r.drawHolders(d, a, address, y, h)
	}
	return d
}

// drawHolders draws the lane of one address.
func (r *Recording) drawHolders(d *drawing, a axis, address netip.Addr, y, h float64) {
	var holder string
	var from float64
	bar := func(until float64, class string) {
		if holder == "" {
			return
		}
		x, w := a.at(from), max(1.5, a.at(until)-a.at(from))
		d.rect(x, y+4, w, h-8, 2, class, fmt.Sprintf("%s: %s from %s to %s", address, holder, seconds(from), seconds(until)))
		if class == "recorded" && w > 9*float64(len(holder)) {
			d.text(x+6, y+h/2+4, "onbar", "start", "%s", holder)
		}
	}
	class := "held"
	for _, ch := range r.Ledger {
		if ch.Address != address {
			continue
		}
		bar(ch.At, class)
		from = ch.At
		switch ch.What {
		case ChangeAssigned:
			holder, class = ch.Node, "held"
		case ChangeRecorded:
			holder, class = ch.Node, "recorded"
		case ChangeDeleted:
			class = "held"
		default:
			holder = ""
		}
	}
	bar(r.Seconds, class)
}

// drawCounts draws how many addresses are held, and how many are recorded.
func (r *Recording) drawCounts(d *drawing) {
	const top, h = 22, 200
	d.H = top + h + 8
	a := r.axis()
	a.ticks(d, 6, d.H)
	held, recorded := map[netip.Addr]bool{}, map[netip.Addr]bool{}
	most := 1
	type point struct{ at, held, recorded float64 }
	var points []point
	for _, ch := range r.Ledger {
		switch ch.What {
		case ChangeAssigned:
			held[ch.Address] = true
		case ChangeRecorded:
			recorded[ch.Address] = true
		case ChangeDeleted:
			delete(recorded, ch.Address)
		default:
			delete(held, ch.Address)
		}
		most = max(most, len(held), len(recorded))
		points = append(points, point{ch.At, float64(len(held)), float64(len(recorded))})
	}
	y := func(n float64) float64 { return top + h - h*n/float64(most) }
	curve := func(class string, of func(point) float64) {
		var b strings.Builder
		fmt.Fprintf(&b, "M%.1f %.1f", a.at(0), y(0))
		for _, p := range points {
			fmt.Fprintf(&b, "H%.1fV%.1f", a.at(p.at), y(of(p)))
		}
		fmt.Fprintf(&b, "H%.1f", a.at(r.Seconds))
		d.add(shape{Kind: "path", D: b.String(), Class: class})
	}
	for _, n := range []int{0, most / 2, most} {
		d.line(a.x, y(float64(n)), a.x+a.w, y(float64(n)), "tick")
		d.text(a.x-8, y(float64(n))+4, "small", "end", "%d", n)
	}
	curve("curve recordedcurve", func(p point) float64 { return p.recorded })
	curve("curve heldcurve", func(p point) float64 { return p.held })
}
