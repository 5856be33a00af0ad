package record

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// launched returns the recording of a launch with so many nodes. The last one fails, if there are
// more than one.
func launched(nodes int) *Recording {
	subnet := Subnet{ID: "subnet-1", CIDR: netip.MustParsePrefix("10.0.1.0/24"), Zone: "us-east-1a"}
	r := &Recording{
		Version: Version, Title: fmt.Sprintf("Launch of %d nodes", nodes), Command: "emrsim launch", Start: begin, Seconds: 14, Outcome: Passed,
		Phases: []Phase{{0, "build"}, {1, "before"}, {4, "all nodes at once"}, {9, "after"}, {9.5, "a second run on every node, without arguments"}},
	}
	r.Topology = Topology{
		VPCs:   []VPC{{ID: "vpc-1", CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, Subnets: []Subnet{subnet}}},
		OnPrem: netip.MustParsePrefix("192.168.50.0/24"), Server: netip.MustParseAddr("192.168.50.10"), Port: 80,
	}
	r.Table.Columns = []string{"NODE", "STATIC IP"}
	for i := range nodes {
		primary, static := netip.AddrFrom4([4]byte{10, 0, 100 + byte(i/250), byte(i % 250)}), netip.AddrFrom4([4]byte{10, 0, 200 + byte(i/250), byte(i % 250)})
		n := &Node{
			Name: fmt.Sprintf("core-%d", i), Role: "CORE", Instance: fmt.Sprintf("i-%017x", i), Subnet: subnet.ID, Primary: primary, Static: static, From: 1, Until: 14,
			Steps: []Step{{StepIdentify, 4, 5, ""}, {StepChoose, 5, 5.1, ""}, {StepAssign, 5.1, 5.2, ""}, {StepProgram, 5.2, 7, ""}, {StepRecord, 7, 8, ""}, {StepWait, 8, 8.5, ""}},
			Runs:  []Run{{From: 4, Until: 8.5, Arguments: "10.0.1.10", Report: "changed=7", Log: "a log"}}, Rules: "*nat", Addresses: "ens5 inet",
		}
		r.Topology.Admitted = append(r.Topology.Admitted, static)
		after := Sighting{At: 9, Node: n.Name, After: true, Seen: static, Outcome: "done"}
		r.Calls = append(r.Calls, Call{Node: n.Name, Service: "ssm", Action: "PutParameter", From: 7, Seconds: 0.1, Result: "ThrottlingException", Throttled: true},
			Call{Node: n.Name, Service: "ssm", Action: "PutParameter", From: 7.5, Seconds: 0.1, Result: "ConnectionReset", Fault: "reset"})
		r.Ledger = append(r.Ledger, Change{5.2, static, n.Name, ChangeAssigned}, Change{8, static, n.Name, ChangeRecorded})
		if i > 0 && i == nodes-1 {
			r.Outcome = Failed
			r.Problems = append(r.Problems, Problem{Nodes: []string{n.Name}, Cause: "something is wrong", Remedy: "repair it"})
			n.Static, n.Steps = netip.Addr{}, append(n.Steps, Step{StepKilled, 8.5, 8.5, "by signal 9"}, Step{StepRebooted, 9, 9, ""})
			after = Sighting{At: 9, Node: n.Name, After: true, Outcome: "refused"}
		}
		r.Sightings = append(r.Sightings, Sighting{At: 3, Node: n.Name, Outcome: "refused", Dropped: 2}, after)
		r.Nodes = append(r.Nodes, n)
		r.Table.Rows = append(r.Table.Rows, []string{n.Name, dash(n.Static)})
	}
	return r
}

// sizes are the sizes of launches that have different drawings.
var sizes = []int{0, 1, 4, 21, 61, 300, 1000}

func html(t *testing.T, r *Recording) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.HTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestPageStructure checks that elements are nested, that ids are unique, that every link of the
// page leads somewhere, and that a screen reader finds names and headings.
func TestPageStructure(t *testing.T) {
	for _, n := range sizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			text := html(t, launched(n))
			d := xml.NewDecoder(strings.NewReader(text))
			d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
			ids, links, count := map[string]bool{}, map[string]bool{}, map[string]int{}
			var open []string
			for {
				token, err := d.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				switch e := token.(type) {
				case xml.EndElement:
					if len(open) == 0 || open[len(open)-1] != e.Name.Local {
						t.Fatalf("</%s> closes %v", e.Name.Local, open)
					}
					open = open[:len(open)-1]
				case xml.StartElement:
					open = append(open, e.Name.Local)
					count[e.Name.Local]++
					a := map[string]string{}
					for _, x := range e.Attr {
						a[x.Name.Local] = x.Value
					}
					if id := a["id"]; id != "" {
						if ids[id] {
							t.Errorf("the id %s is there twice", id)
						}
						ids[id] = true
					}
					if to, ok := strings.CutPrefix(a["href"], "#"); ok {
						links[to] = true
					} else if a["href"] != "" || a["src"] != "" {
						t.Errorf("<%s> leads out of the page: %v", e.Name.Local, a)
					}
					switch {
					case e.Name.Local == "th" && a["scope"] == "",
						e.Name.Local == "section" && a["aria-labelledby"] == "",
						e.Name.Local == "svg" && a["aria-label"] == "",
						a["role"] == "region" && (a["aria-label"] == "" || a["tabindex"] != "0"):
						t.Errorf("<%s> has no name, or cannot be reached by keyboard: %v", e.Name.Local, a)
					}
				}
			}
			for to := range links {
				if !ids[to] && n <= 60 {
					t.Errorf("nothing has the id %s", to)
				}
			}
			if count["h1"] != 1 || count["main"] != 1 || count["details"] != count["summary"] || count["svg"] < 3 {
				t.Errorf("elements: %v", count)
			}
			if regexp.MustCompile(`https?://|url\(|@import`).MatchString(strings.ReplaceAll(text, "http-equiv", "")) {
				t.Error("the page names something outside itself")
			}
		})
	}
}

// TestManyNodes checks that a launch of many nodes is a page with groups and an ordered time line.
func TestManyNodes(t *testing.T) {
	r := launched(1000)
	for i := range r.Ledger {
		r.Ledger[i].At = float64(len(r.Ledger) - i) // the last node is the first to get its address
	}
	text := html(t, r)
	for _, want := range []string{"<summary>core-0 to core-99</summary>", "<summary>core-900 to core-999</summary>", "<summary>1000 nodes as a table</summary>", "in the order in which the nodes got their addresses"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("the page lacks %q", want)
		}
	}
	if at, last := strings.Index(text, ">core-999</text>"), strings.Index(text, ">core-3</text>"); at < 0 || last < at {
		t.Errorf("the lane of core-999 is at %d, that of core-3 at %d", at, last)
	}
	if text := html(t, launched(61)); strings.Contains(text, `class="group"`) || strings.Contains(text, "as a table</summary>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Results") {
		t.Error("61 nodes are in groups")
	}
}

// TestPageEscapes puts markup into every text of a recording.
func TestPageEscapes(t *testing.T) {
	const evil = `</script></style></title><script>alert(1)</script><b onload="x">'"&`
	r := launched(2)
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			fill(v.Elem())
		case reflect.Slice:
			for i := range v.Len() {
				fill(v.Index(i))
			}
		case reflect.Struct:
			if v.Type() == reflect.TypeFor[time.Time]() || strings.HasPrefix(v.Type().PkgPath(), "net/netip") {
				return
			}
			for i := range v.NumField() {
				fill(v.Field(i))
			}
		case reflect.String:
			v.SetString(v.String() + evil)
		}
	}
	fill(reflect.ValueOf(r))
	text := html(t, r)
	if n := strings.Count(text, "<script>"); n != 1 {
		t.Errorf("the page has %d scripts, want 1", n)
	}
	if strings.Contains(text, "<b onload") || strings.Count(text, "</title></head>")+strings.Count(text, "</title>\n<style>") != 1 {
		t.Error("a text of the recording became markup")
	}
	if !strings.Contains(text, "&lt;script&gt;alert(1)") {
		t.Error("the texts are not on the page")
	}
}

// TestDrawingsAreReadable checks that texts neither overlap nor leave their drawing.
func TestDrawingsAreReadable(t *testing.T) {
	for _, n := range sizes[1:] {
		r := launched(n)
		columns := map[bool]int{true: 3}[n > inRows]
		for name, d := range map[string]*drawing{
			"topology": r.topology(wide, columns), "narrow topology": r.topology(narrow, 1), "time line": r.timeline(), "ledger": r.ledger(),
		} {
			var boxes []shape
			for _, s := range d.Shapes {
				if s.Kind != "text" || s.Text == "" {
					continue
				}
				b := s
				b.W, b.H = 6.1*float64(utf8.RuneCountInString(s.Text)), 10
				if strings.Contains(s.Class, "mono") {
					b.W = 7.2 * float64(utf8.RuneCountInString(s.Text))
				}
				b.X -= map[string]float64{"middle": b.W / 2, "end": b.W}[s.Anchor]
				b.Y -= 9
				if b.X < 0 || b.X+b.W > d.W || b.Y < 0 || b.Y+b.H > d.H {
					t.Errorf("%d nodes: %s: %q is outside", n, name, s.Text)
				}
				for _, o := range boxes {
					if b.X < o.X+o.W && o.X < b.X+b.W && b.Y < o.Y+o.H && o.Y < b.Y+b.H {
						t.Errorf("%d nodes: %s: %q overlaps %q", n, name, s.Text, o.Text)
					}
				}
				boxes = append(boxes, b)
			}
			if len(boxes) == 0 {
				t.Errorf("%d nodes: %s: no texts", n, name)
			}
		}
	}
}

// TestContrast checks the colours of texts against WCAG 2.2, level AA, in both schemes.
func TestContrast(t *testing.T) {
	schemes := regexp.MustCompile(`(?s):root \{(.*?)\}`).FindAllStringSubmatch(pageStyle, -1)
	if len(schemes) != 2 {
		t.Fatalf("%d schemes", len(schemes))
	}
	for i, scheme := range schemes {
		colour := map[string]float64{} // luminance
		for _, m := range regexp.MustCompile(`--(\w+): #([0-9a-f]{3,6});`).FindAllStringSubmatch(scheme[1], -1) {
			colour[m[1]] = luminance(t, m[2])
		}
		for _, pair := range []struct {
			text, paper string
			least       float64
		}{
			{"ink", "paper", 4.5}, {"ink", "card", 4.5}, {"ink", "vpc", 4.5}, {"ink", "subnet", 4.5}, {"ink", "node", 4.5}, {"ink", "fire", 4.5}, {"ink", "dc", 4.5},
			{"ink", "badbg", 4.5}, {"muted", "paper", 4.5}, {"muted", "card", 4.5}, {"muted", "subnet", 4.5}, {"muted", "node", 4.5}, {"muted", "dc", 4.5}, {"muted", "badbg", 4.5},
			{"link", "card", 4.5}, {"link", "paper", 4.5}, {"link", "badbg", 4.5}, {"ok", "okbg", 4.5}, {"ok", "node", 4.5}, {"bad", "badbg", 4.5}, {"warn", "warnbg", 4.5},
			{"onbar", "program", 3.5}, {"identify", "card", 2.5}, {"choose", "card", 3}, {"assign", "card", 3}, {"program", "card", 3}, {"throttle", "card", 3}, {"bad", "fire", 3}, {"ok", "fire", 3},
		} {
			a, b := colour[pair.text]+0.05, colour[pair.paper]+0.05
			if got := max(a, b) / min(a, b); got < pair.least {
				t.Errorf("scheme %d: %s on %s has a contrast of %.2f, want %g", i, pair.text, pair.paper, got, pair.least)
			}
		}
	}
}

// luminance returns the relative luminance of a colour, by WCAG.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	if len(hex) == 3 {
		hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
	}
	var rgb [3]uint8
	if _, err := fmt.Sscanf(hex, "%02x%02x%02x", &rgb[0], &rgb[1], &rgb[2]); err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		v := float64(rgb[i]) / 255
		if v <= 0.04045 {
			v /= 12.92
		} else {
			v = math.Pow((v+0.055)/1.055, 2.4)
		}
		sum += weight * v
	}
	return sum
}

func TestJSON(t *testing.T) {
	for _, r := range []*Recording{{}, launched(3)} {
		var b bytes.Buffer
		if err := r.JSON(&b); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(strings.ReplaceAll(b.String(), `"steps": null`, ""), ": null") {
			t.Errorf("a list is null: %s", b.String())
		}
		var again Recording
		if err := json.Unmarshal(b.Bytes(), &again); err != nil {
			t.Fatal(err)
		}
		if want := r.complete(); !reflect.DeepEqual(&again, want) {
			t.Errorf("read again:\n%+v\nwritten:\n%+v", &again, want)
		}
	}
}

func TestSave(t *testing.T) {
	dir := t.TempDir()
	for name, begins := range map[string]string{"a.html": "<!DOCTYPE html>", "b.JSON": "{\n"} {
		path := filepath.Join(dir, name)
		if err := Check(path); err != nil {
			t.Error(err)
		}
		if err := launched(2).Save(path); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(text), begins) {
			t.Errorf("%s: %v, %.20q", name, err, text)
		}
	}
	for _, path := range []string{"report.txt", "report", filepath.Join(dir, "nowhere", "a.html"), filepath.Join(dir, "a.html", "b.html")} {
		if Check(path) == nil {
			t.Errorf("%s is accepted", path)
		}
	}
	if err := launched(2).Save(filepath.Join(dir, "nowhere", "a.html")); err == nil {
		t.Error("a folder that does not exist was written to")
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".emrsim-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestInBrowser opens the page in a headless Chromium, where there is one: its script runs, nothing
// is reported on the console, and something is painted, in both schemes and on a narrow screen.
func TestInBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser takes its time")
	}
	t.Parallel()
	browser := ""
	for _, name := range []string{"chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		t.Skip("no chromium here")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "report.html")
	if err := launched(21).Save(path); err != nil {
		t.Fatal(err)
	}
	run := func(extra ...string) (stdout, stderr string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "timeout", slices.Concat([]string{"240", browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
			"--disable-dev-shm-usage", "--enable-logging=stderr", "--log-level=0", "--user-data-dir=" + filepath.Join(dir, "profile")}, extra, []string{"file://" + path})...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s", err, &errs)
		}
		return out.String(), errs.String()
	}
	var sizes []int
	for _, extra := range [][]string{{"--window-size=1280,1600"}, {"--window-size=1280,1600", "--blink-settings=preferredColorScheme=0"}, {"--window-size=500,1600"}} {
		shot := filepath.Join(dir, "shot.png")
		dom, console := run(append(extra, "--hide-scrollbars", "--dump-dom", "--screenshot="+shot)...)
		if strings.Contains(console, "CONSOLE") {
			t.Errorf("the console says\n%s", console)
		}
		if !strings.Contains(dom, `<p id="buttons">`) {
			t.Errorf("the page's script did not run:\n%.200s", dom)
		}
		f, err := os.Open(shot)
		if err != nil {
			t.Fatal(err)
		}
		image, err := png.Decode(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		colours := map[any]bool{}
		dark := 0
		for y := range image.Bounds().Dy() / 8 {
			for x := range image.Bounds().Dx() / 8 {
				c := image.At(8*x, 8*y)
				colours[c] = true
				if r, g, b, _ := c.RGBA(); r+g+b < 3*0x5000 {
					dark++
				}
			}
		}
		if len(colours) < 12 {
			t.Errorf("%v: only %d colours", extra, len(colours))
		}
		sizes = append(sizes, dark)
	}
	if sizes[1] < 4*sizes[0] {
		t.Errorf("dark pixels: %d in light, %d in dark", sizes[0], sizes[1])
	}
}
