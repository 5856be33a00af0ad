package record

import (
	"fmt"
	"math"
	"strings"
)

// A drawing is an SVG image: its size in pixels, and its shapes from back to front.
type drawing struct {
	W, H   float64
	Title  string // what it shows, in one line
	Desc   string // the same as a text, for those who cannot see it
	Shapes []shape
}

// A shape is one element of a drawing. Its colours come from the style sheet by its class.
type shape struct {
	Kind       string // rect, line, path, text, dot, open, close
	X, Y, W, H float64
	R          float64 // radius of corners, or of a dot
	D          string  // of a path
	Class      string
	Text       string
	Anchor     string // of a text: start, middle, end
	Href       string // of a link
	Title      string // shown by a pointer that rests on the shape
}

func (d *drawing) add(s shape) {
	for _, v := range []*float64{&s.X, &s.Y, &s.W, &s.H} {
		*v = math.Round(*v*10) / 10
	}
	d.Shapes = append(d.Shapes, s)
}

func (d *drawing) rect(x, y, w, h, r float64, class, title string) {
	d.add(shape{Kind: "rect", X: x, Y: y, W: w, H: h, R: r, Class: class, Title: title})
}

func (d *drawing) line(x1, y1, x2, y2 float64, class string) {
	d.add(shape{Kind: "line", X: x1, Y: y1, W: x2, H: y2, Class: class})
}

func (d *drawing) text(x, y float64, class, anchor, format string, args ...any) {
	d.add(shape{Kind: "text", X: x, Y: y, Class: class, Anchor: anchor, Text: fmt.Sprintf(format, args...)})
}

func (d *drawing) path(class, title string, at float64, format string, args ...any) {
	d.add(shape{Kind: "path", D: fmt.Sprintf(format, args...), Class: class, Title: title, X: at})
}

func (d *drawing) dot(x, y, r float64, class, title string) {
	d.add(shape{Kind: "dot", X: x, Y: y, R: r, Class: class, Title: title})
}

// link makes what f draws a link.
func (d *drawing) link(href, title string, f func()) {
	d.add(shape{Kind: "open", Href: href, Title: title})
	f()
	d.add(shape{Kind: "close"})
}

// arrow draws a line to the right with a head.
func (d *drawing) arrow(x1, y, x2 float64, class string) {
	d.line(x1, y, x2-7, y, class)
	d.path(class+" head", "", x2, "M%.1f %.1fl-9 -5v10z", x2, y)
}

// down draws a line downwards with a head.
func (d *drawing) down(x, y1, y2 float64, class string) {
	d.line(x, y1, x, y2-7, class)
	d.path(class+" head", "", x, "M%.1f %.1fl-5 -9h10z", x, y2)
}

// cross draws a cross, where packets end.
func (d *drawing) cross(x, y, r float64, class, title string) {
	d.path(class, title, x, "M%.1f %.1fl%.1f %.1fm0 %.1fl%.1f %.1f", x-r, y-r, 2*r, 2*r, -2*r, -2*r, 2*r)
}

// anchor returns the id of a node's part of the page.
func anchor(name string) string {
	return "node-" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, strings.ToLower(name))
}

// seconds returns a duration for people.
func seconds(s float64) string {
	switch {
	case s >= 600:
		return fmt.Sprintf("%dm%02ds", int(s)/60, int(s)%60)
	case s >= 100:
		return fmt.Sprintf("%.0f s", s)
	case s >= 1:
		return fmt.Sprintf("%.1f s", s)
	case s < 0.0005:
		return "0 s"
	}
	return fmt.Sprintf("%.0f ms", s*1000)
}

func number(n int) string { return fmt.Sprint(n) }

// exitText returns an exit code for people.
func exitText(code int) string {
	switch {
	case code < 0:
		return "running"
	case code > 128:
		return fmt.Sprintf("signal %d", code-128)
	}
	return fmt.Sprint(code)
}
