package record

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
)

var (
	//go:embed page.tmpl
	pageText string
	//go:embed page.css
	pageStyle string
	//go:embed page.js
	pageScript string

	page = template.Must(template.New("page").Funcs(template.FuncMap{
		"anchor":  anchor,
		"seconds": seconds,
		"at":      func(s float64) string { return fmt.Sprintf("%.2f", s) },
		"calls":   func(n int) string { return lab.Count(n, "call") + " to AWS" },
		"took": func(s Step) string {
			if isMoment(s.Kind) {
				return ""
			}
			return seconds(s.Until - s.From)
		},
	}).Parse(pageText))
)

// withCalls is the number of nodes up to which the page has the log and the calls of each node. The
// JSON form has them always.
const withCalls = 200

// A sign is one entry of the legend of the time line.
type sign struct{ Class, Sign, Text string }

// legend explains the steps and marks that occur.
func (r *Recording) legend() []sign {
	var list []sign
	has := map[string]bool{}
	for _, n := range r.Nodes {
		for _, s := range n.Steps {
			has[s.Kind] = true
		}
	}
	for _, c := range r.Calls {
		has["call"] = true
		has["throttled"] = has["throttled"] || c.Throttled
		has["fault"] = has["fault"] || c.Fault != ""
	}
	for _, s := range []struct {
		has bool
		sign
	}{
		{has[StepIdentify], sign{StepIdentify, "", "identify"}},
		{has[StepChoose], sign{StepChoose, "", "choose"}},
		{has[StepAssign], sign{StepAssign, "", "assign"}},
		{has[StepProgram], sign{StepProgram, "", "program"}},
		{has[StepRecord], sign{StepRecord, "", "record"}},
		{has[StepFinish], sign{StepFinish, "", "install, name"}},
		{has[StepWait], sign{StepWait, "", "wait"}},
		{has[StepRelease], sign{StepRelease, "", "release"}},
		{has["call"] && laneHeight(len(r.Nodes)) >= 14, sign{"sign callsign", "ı", "call to AWS"}},
		{has["throttled"], sign{"sign throttlesign", "▲", "throttled"}},
		{has["fault"], sign{"sign crosssign", "×", "disturbed call"}},
		{has[StepKilled] || has[StepFailed], sign{"sign crosssign", "✕", "killed, or failed"}},
		{has[StepRebooted] || has[StepEvent], sign{"sign momentsign", "●", "event"}},
		{has[StepEnded], sign{"sign", "❙", "instance ended"}},
	} {
		if s.has {
			list = append(list, s.sign)
		}
	}
	return list
}

// inGroup is the number of nodes up to which the page lists all of them. More are in groups of this
// size, which can be opened.
const inGroup = 100

// A group is a part of the nodes, in their order.
type group struct {
	Name  string // "core-1 to core-100"; empty if there is only one group
	Nodes []nodePart
}

// groups returns the nodes in groups.
func groups(nodes []nodePart) (list []group) {
	if len(nodes) <= inGroup {
		return []group{{Nodes: nodes}}
	}
	for part := range slices.Chunk(nodes, inGroup) {
		list = append(list, group{part[0].Name + " to " + part[len(part)-1].Name, part})
	}
	return list
}

// nodePart is what the page shows about one node.
type nodePart struct {
	*Node
	Calls []Call
}

// HTML writes the recording as one page that needs nothing else.
func (r *Recording) HTML(w io.Writer) error {
	sum := sha256.Sum256([]byte(pageScript))
	columns := 0
	if len(r.Nodes) > inRows || len(r.Topology.VPCs) > 1 {
		columns = 3
	}
	nodes, calls := make([]nodePart, len(r.Nodes)), r.byNode()
	for i, n := range r.Nodes {
		nodes[i] = nodePart{n, calls[n.Name]}
	}
	facts := append([]Fact{{"Nodes", fmt.Sprint(len(r.Nodes))}, {"Duration", seconds(r.Seconds)}, {"Calls to AWS", fmt.Sprint(len(r.Calls))}}, r.Facts...)
	rows := ""
	if len(r.Table.Rows) > inGroup {
		rows = lab.Count(len(r.Table.Rows), "node") + " as a table"
	}
	var b bytes.Buffer
	err := page.Execute(&b, struct {
		R                              *Recording
		Style                          template.CSS
		Script                         template.JS
		ScriptSum                      string
		Wide, Narrow, Timeline, Ledger *drawing
		Legend                         []sign
		Groups                         []group
		Facts                          []Fact
		WithCalls                      bool
		Sorted                         bool
		ProblemCount, ChangeCount      string
		RowCount                       string // of the results, if they are too many to be always shown
		Started                        string
	}{
		r, template.CSS(pageStyle), template.JS(pageScript), base64.StdEncoding.EncodeToString(sum[:]),
		r.topology(wide, columns), r.topology(narrow, 1), r.timeline(), r.ledger(), r.legend(), groups(nodes), facts, len(r.Nodes) <= withCalls, laneHeight(len(r.Nodes)) < thin,
		lab.Count(len(r.Problems), "problem"), lab.Count(len(r.Ledger), "change"), rows, r.Start.UTC().Format("2006-01-02 15:04:05 UTC"),
	})
	if err != nil {
		return fmt.Errorf("making the page: %w", err)
	}
	_, err = w.Write(b.Bytes())
	return err
}

// JSON writes the recording as JSON.
func (r *Recording) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r.complete())
}

// complete returns the recording with empty lists in place of nil ones, so that readers can go
// through each.
func (r *Recording) complete() *Recording {
	c := *r
	c.Arguments, c.Nodes, c.Phases, c.Events, c.Calls = filled(c.Arguments), filled(c.Nodes), filled(c.Phases), filled(c.Events), filled(c.Calls)
	c.Ledger, c.Sightings, c.Problems, c.Facts = filled(c.Ledger), filled(c.Sightings), filled(c.Problems), filled(c.Facts)
	c.Table.Columns, c.Table.Rows = filled(c.Table.Columns), filled(c.Table.Rows)
	c.Topology.VPCs, c.Topology.Admitted = filled(c.Topology.VPCs), filled(c.Topology.Admitted)
	return &c
}

func filled[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// temporary is the pattern for names of files that become a report.
const temporary = ".emrsim-*"

// Check reports whether Save can write a file of that name, before a rehearsal begins.
func Check(path string) error {
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".html", ".htm", ".json":
	default:
		return fmt.Errorf("a report is a file that ends in .html or .json, not %q", path)
	}
	info, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("the folder of the report: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("the folder of the report: %s is not a folder", filepath.Dir(path))
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("the report: %s is a folder", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), temporary)
	if err != nil {
		return fmt.Errorf("the folder of the report: %w", err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Save writes the recording to a file: JSON if its name ends in .json, otherwise HTML. The file is
// complete or not changed.
func (r *Recording) Save(path string) error {
	write := r.HTML
	if strings.EqualFold(filepath.Ext(path), ".json") {
		write = r.JSON
	}
	f, err := os.CreateTemp(filepath.Dir(path), temporary)
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	defer os.Remove(f.Name())
	err = write(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}
