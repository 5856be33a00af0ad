package facts

import (
	"fmt"
	"path"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

const preface = `# What AWS and EMR are taken to do

The program and the model of AWS rest on these facts. Each has its source, or is "not verified". None of them was tried on AWS. This
page is made from the table in this folder ([facts.go](facts.go)): change the table, and then run

    go test ./cmd/emrsim/cloud/facts -args -update

A fact that is not verified must not matter: the program has to work whatever AWS does. The last column says how that is shown. The
positions of a switch are answers that the model can give ([switches.go](../switches.go)). Under each of them a cluster is launched, run
again, rebooted, changed and released: ` + "`TestSwitches` in `cmd/emrsim/simulation`" + `.

[emrsim certify](../../README.md#certify) compares the model with AWS, or with an emulator, and reports which facts it confirmed.
`

// Render returns the table as a page.
func Render() string {
	switches := map[string]cloud.Switch{}
	for _, s := range cloud.Switches() {
		switches[s.Fact] = s
	}
	var b strings.Builder
	b.WriteString(preface)
	known, open := 0, 0
	for _, g := range All() {
		fmt.Fprintf(&b, "\n## %s\n\n| id | fact | source | what follows | if it is otherwise |\n|---|---|---|---|---|\n", g.Title)
		for _, f := range g.Facts {
			if f.Verified() {
				known++
			} else {
				open++
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", f.ID, f.Says, source(f), f.Follows, otherwise(f, switches))
		}
	}
	fmt.Fprintf(&b, "\n%d facts with a source, %d not verified.\n", known, open)
	return b.String()
}

func source(f Fact) string {
	if !f.Verified() {
		if f.Heard == "" {
			return "not verified"
		}
		return "not verified; " + f.Heard
	}
	var links []string
	for _, address := range f.Sources {
		links = append(links, fmt.Sprintf("[%s](%s)", title(address), address))
	}
	return strings.Join(links, ", ")
}

// title returns a short name for an address.
func title(address string) string {
	if repository, ok := strings.CutPrefix(address, github); ok {
		owner, rest, _ := strings.Cut(repository, "/")
		name, rest, _ := strings.Cut(rest, "/")
		if number, ok := strings.CutPrefix(rest, "issues/"); ok {
			return name + " " + number
		}
		return owner + "/" + name
	}
	return strings.TrimSuffix(strings.TrimPrefix(path.Base(address), "API_"), ".html")
}

func otherwise(f Fact, switches map[string]cloud.Switch) string {
	if s, ok := switches[f.ID]; ok {
		var names []string
		for _, p := range s.Positions {
			names = append(names, p.Name)
		}
		return "switch: " + strings.Join(names, ", ")
	}
	var names []string
	for _, t := range f.Tests {
		names = append(names, "`"+t+"`")
	}
	return strings.Join(names, ", ")
}
