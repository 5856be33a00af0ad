package scripts

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// These tests compare the documents with the source, so that operators can rely on the documents.

const (
	mainPage      = "../README.md"
	referencePage = "../cmd/emr-static-ip/README.md"
	deployingPage = "README.md"
	protocolPage  = "../ssmcoord/README.md"
	factsPage     = "../cmd/emrsim/cloud/facts/README.md"
	kernelPage    = "../netcfg/README.md"
	statesPage    = "../agent/README.md"
	rehearsalPage = "../cmd/emrsim/README.md"
	plainPage     = "plain/README.md"
	watchingPage  = "monitoring/README.md"
)

// pages are the documents that name flags, commands, files and each other.
var pages = []string{
	mainPage, referencePage, deployingPage, protocolPage, factsPage, kernelPage, statesPage, rehearsalPage, plainPage, watchingPage,
}

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section returns the part of a page below a heading such as "## Flags".
func section(t *testing.T, name, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page(t, name), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("%s has no heading %s", name, heading)
	}
	level, _, _ := strings.Cut(heading, " ")
	for n := len(level); n > 1; n-- {
		rest, _, _ = strings.Cut(rest, "\n"+level[:n]+" ")
	}
	return rest
}

// parsed returns the files of a directory that match a pattern, without tests.
func parsed(t *testing.T, pattern string) (files []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if isTest(name) {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if len(files) == 0 {
		t.Fatalf("no file matches %s", pattern)
	}
	return files
}

// agentFiles returns the files of package agent and of the packages below it.
func agentFiles(t *testing.T) []*ast.File {
	t.Helper()
	return slices.Concat(parsed(t, "../agent/*.go"), parsed(t, "../agent/*/*.go"), parsed(t, "../agent/internal/*/*.go"))
}

// constants returns the values of the constants whose declarations satisfy want.
func constants(t *testing.T, files []*ast.File, want func(*ast.ValueSpec) bool) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || !want(spec) || len(spec.Values) != 1 {
				return true
			}
			if literal, ok := spec.Values[0].(*ast.BasicLit); ok {
				found[literal.Value] = true
			}
			return true
		})
	}
	if len(found) == 0 {
		t.Fatal("no constants found")
	}
	return found
}

// fields returns the JSON names of the fields of the named struct types, in order.
func fields(t *testing.T, files []*ast.File, types ...string) (names []string) {
	t.Helper()
	for _, want := range types {
		n := len(names)
		for _, file := range files {
			ast.Inspect(file, func(node ast.Node) bool {
				spec, ok := node.(*ast.TypeSpec)
				if !ok || spec.Name.Name != want {
					return true
				}
				s, ok := spec.Type.(*ast.StructType)
				if !ok {
					return true
				}
				for _, f := range s.Fields.List {
					if f.Tag == nil {
						continue
					}
					tag, err := strconv.Unquote(f.Tag.Value)
					if err != nil {
						t.Fatal(err)
					}
					if name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ","); name != "" && name != "-" {
						names = append(names, name)
					}
				}
				return true
			})
		}
		if len(names) == n {
			t.Fatalf("no type %s with JSON names", want)
		}
	}
	return names
}

// TestReadmeLength checks that the main page is short.
func TestReadmeLength(t *testing.T) {
	if n := strings.Count(page(t, mainPage), "\n"); n > 150 {
		t.Errorf("README.md has %d lines, want at most 150", n)
	}
}

// TestReadmeExitCodes checks that the main page and the reference explain each exit code.
func TestReadmeExitCodes(t *testing.T) {
	want := constants(t, parsed(t, "../agent/internal/exit/exit.go"), func(spec *ast.ValueSpec) bool {
		kind, ok := spec.Type.(*ast.Ident)
		return ok && kind.Name == "Code"
	})
	want["134"] = true // SIGABRT, after a crash of the Go runtime
	for _, name := range []string{mainPage, referencePage} {
		got := map[string]bool{}
		for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \| ([^|]+?) *\|`).FindAllStringSubmatch(section(t, name, "## Exit codes"), -1) {
			if got[row[1]] {
				t.Errorf("%s explains exit code %s twice", name, row[1])
			}
			got[row[1]] = true
			if !want[row[1]] {
				t.Errorf("%s explains exit code %s, which the program does not have", name, row[1])
			}
		}
		for code := range want {
			if !got[code] {
				t.Errorf("%s does not explain exit code %s", name, code)
			}
		}
	}
}

// flagNames returns the names of the program's flags: the string constants named flag...
func flagNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for literal := range constants(t, agentFiles(t), func(spec *ast.ValueSpec) bool {
		name := spec.Names[0].Name
		return strings.HasPrefix(strings.ToLower(name), "flag") && strings.ToLower(name) != "flagversion"
	}) {
		name, err := strconv.Unquote(literal)
		if err != nil {
			t.Fatal(err)
		}
		names[name] = true
	}
	return names
}

// TestReadmeFlags checks that the reference's table has each flag.
func TestReadmeFlags(t *testing.T) {
	flags := flagNames(t)
	named := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`--[^|]*) \\|").FindAllStringSubmatch(section(t, referencePage, "## Flags"), -1) {
		for name := range strings.SplitSeq(row[1], ", ") {
			named[strings.TrimPrefix(strings.Trim(name, "`"), "--")] = true
		}
	}
	for name := range flags {
		if !named[name] {
			t.Errorf("the reference's table has no flag --%s", name)
		}
	}
	for name := range named {
		if !flags[name] {
			t.Errorf("the reference's table has --%s, which the program does not have", name)
		}
	}
}

// TestReadmeCommandLines checks that every page names only existing flags and commands.
func TestReadmeCommandLines(t *testing.T) {
	flags := flagNames(t)
	commands := map[string]bool{"help": true}
	for _, file := range agentFiles(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Use" {
					addCommands(commands, n.Value)
				}
			case *ast.CallExpr:
				for _, arg := range n.Args {
					addCommands(commands, arg)
				}
			}
			return true
		})
	}
	line := regexp.MustCompile("(?:`|\n    )emr-static-ip ([^`\n#]*)")
	for _, name := range pages {
		for _, m := range line.FindAllStringSubmatch(page(t, name), -1) {
			words := strings.Fields(m[1])
			if len(words) > 0 && regexp.MustCompile(`^[a-z]+$`).MatchString(words[0]) && !commands[words[0]] && words[0] != "failed:" {
				t.Errorf("%s: there is no command emr-static-ip %s", name, words[0])
			}
			for _, w := range words {
				flag, _, _ := strings.Cut(strings.Trim(w, "[]"), "=")
				if flag, ok := strings.CutPrefix(flag, "--"); ok && flag != "help" && flag != "version" && !flags[flag] {
					t.Errorf("%s: emr-static-ip %s: there is no flag --%s", name, m[1], flag)
				}
			}
		}
	}
}

// addCommands adds the first word of a string literal, which may be the name of a command.
func addCommands(commands map[string]bool, value ast.Expr) {
	literal, ok := value.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return
	}
	text, err := strconv.Unquote(literal.Value)
	if err != nil {
		return
	}
	if words := strings.Fields(text); len(words) > 0 {
		commands[words[0]] = true
	}
}

// TestReadmeTargets checks that the pages name only existing targets of the Makefile.
func TestReadmeTargets(t *testing.T) {
	makefile := page(t, "../Makefile")
	for _, name := range pages {
		for _, m := range regexp.MustCompile("(?:`| {4})make ([a-z-]+)").FindAllStringSubmatch(page(t, name), -1) {
			if !strings.Contains(makefile, "\n"+m[1]+": ") {
				t.Errorf("%s: there is no target %s", name, m[1])
			}
		}
	}
}

// TestReadmeSkips checks that the table of tests names the programs without which a test of make
// test is skipped.
func TestReadmeSkips(t *testing.T) {
	files, err := sources(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `make test` .*").FindString(page(t, rehearsalPage))
	skip, found := regexp.MustCompile(`Skipf?\("(?:the )?(?:(AWS CLI|\S+) is not installed|no (\S+) here[:"])`), map[string]bool{}
	for _, file := range files {
		source, err := os.ReadFile("../" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range skip.FindAllStringSubmatch(string(source), -1) {
			found[strings.TrimSuffix(m[1]+m[2], "-aarch64-static")] = true
		}
	}
	for program := range found {
		if !strings.Contains(row, program) {
			t.Errorf("make test skips tests where %s is not installed, and the table does not say so: %s", program, row)
		}
	}
	if len(found) < 5 {
		t.Errorf("found only %v", found)
	}
}

// TestReadmeLinks checks that every link between the pages leads to an existing file and heading.
func TestReadmeLinks(t *testing.T) {
	links := 0
	for _, name := range pages {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(page(t, name), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			file, anchor, _ := strings.Cut(m[1], "#")
			target := name
			if file != "" {
				target = filepath.Join(filepath.Dir(name), file)
			}
			info, err := os.Stat(target)
			switch {
			case err != nil:
				t.Errorf("%s: %v", name, err)
			case anchor != "" && info.IsDir():
				t.Errorf("%s: %s is a folder", name, m[1])
			case anchor != "" && !slices.Contains(headings(page(t, target)), anchor):
				t.Errorf("%s: %s has no heading for #%s", name, target, anchor)
			}
		}
	}
	if links < 30 {
		t.Errorf("found only %d links", links)
	}
}

// headings returns the anchors that GitHub makes from a page's headings.
func headings(text string) (names []string) {
	drop := regexp.MustCompile(`[^a-z0-9 _-]`)
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		names = append(names, strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return names
}

// TestReadmeJSON checks that the reference explains each field of the JSON output.
func TestReadmeJSON(t *testing.T) {
	files := agentFiles(t)
	for heading, types := range map[string][]string{
		"## Report and log": {"Report"},
		"## status":         {"Status", "Item"},
		"## doctor":         {"Diagnosis", "Finding"},
		"## ledger":         {"Report", "Address", "Record", "Instance", "Holder", "Step", "Region", "Change"},
		"## cluster":        {"Report", "Node", "Record", "Group"},
	} {
		text, files := section(t, referencePage, heading), files
		switch heading { // agent and agent/ledger have a Report
		case "## Report and log":
			files = parsed(t, "../agent/report.go")
		case "## doctor", "## ledger", "## cluster":
			files = parsed(t, "../agent/"+strings.TrimPrefix(heading, "## ")+"/*.go")
		}
		for _, name := range fields(t, files, types...) {
			if !strings.Contains(text, "`"+name+"`") {
				t.Errorf("%s does not explain the field %s", heading, name)
			}
		}
	}
}

// TestReadmeReport checks that the rehearsal's page explains each field of its report.
func TestReadmeReport(t *testing.T) {
	text := section(t, rehearsalPage, "## The report")
	for _, name := range fields(t, parsed(t, "../cmd/emrsim/record/*.go"), "Recording", "Topology", "VPC", "Subnet", "Node", "Run", "Step", "Phase", "Event",
		"Call", "Change", "Sighting", "Table", "Problem", "Fact") {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("the page does not explain the field %s", name)
		}
	}
}

// golden returns the content of a golden file, wherever below agent it is.
func golden(t *testing.T, name string) string {
	t.Helper()
	found := ""
	err := filepath.WalkDir("../agent", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == name && filepath.Base(filepath.Dir(p)) == "testdata" {
			found = p
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if found == "" {
		t.Fatalf("there is no golden file %s", name)
	}
	return page(t, found)
}

// TestReadmeLedgerSample checks that the program has printed each line of the sample of ledger
// list.
func TestReadmeLedgerSample(t *testing.T) {
	printed := strings.Split(golden(t, "ledger-list.txt"), "\n")
	_, sample, _ := strings.Cut(page(t, protocolPage), "\n    ADDRESS ")
	sample, _, _ = strings.Cut("ADDRESS "+sample, "\n\n")
	lines := strings.Split(sample, "\n")
	if len(lines) < 3 {
		t.Fatalf("the sample is %q", sample)
	}
	for _, l := range lines {
		if l = strings.TrimSpace(l); !slices.ContainsFunc(printed, func(p string) bool { return strings.TrimSpace(p) == l }) {
			t.Errorf("the program did not print: %s", l)
		}
	}
}

// TestReadmeSamples checks that the program has printed the lines of each sample in the reference,
// in this order. In a sample "..." stands for lines, and at the end of a line for its rest.
func TestReadmeSamples(t *testing.T) {
	text := page(t, referencePage)
	for first, file := range map[string]string{
		"role       ":            "sample-report.txt",
		"emr-static-ip failed: ": "sample-failure.txt",
		"static IP  ":            "sample-status.txt",
		"ok       imds ":         "sample-doctor.txt",
	} {
		_, sample, found := strings.Cut(text, "\n\n    "+first)
		if !found {
			t.Errorf("the reference has no sample that begins with %q", first)
			continue
		}
		sample, _, _ = strings.Cut(first+sample, "\n\n")
		printed := strings.Split(golden(t, file), "\n")
		for line := range strings.SplitSeq(sample, "\n") {
			line = strings.TrimPrefix(line, "    ")
			begin, cut := strings.CutSuffix(line, "...")
			if strings.TrimSpace(begin) == "" {
				continue
			}
			i := slices.IndexFunc(printed, func(p string) bool { return p == line || cut && strings.HasPrefix(p, begin) })
			if i < 0 {
				t.Errorf("%s does not have, or not at this place: %s", file, line)
				continue
			}
			printed = printed[i+1:]
		}
	}
}

// TestReadmeLedgerStates checks that the table has the states of a ledger's address.
func TestReadmeLedgerStates(t *testing.T) {
	want := constants(t, parsed(t, "../ssmcoord/inventory/*.go"), func(spec *ast.ValueSpec) bool {
		kind, ok := spec.Type.(*ast.Ident)
		return ok && kind.Name == "Standing"
	})
	text := section(t, protocolPage, "### States")
	for literal := range want {
		state, err := strconv.Unquote(literal)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, "\n| `"+state+"` |") {
			t.Errorf("the table has no state %s", state)
		}
	}
	if n := strings.Count(text, "\n| `"); n != len(want) {
		t.Errorf("the table has %d states, the program has %d", n, len(want))
	}
}

// TestReadmePhases checks that the table has the phases of the state file.
func TestReadmePhases(t *testing.T) {
	text := section(t, statesPage, "## The state file")
	for literal := range constants(t, agentFiles(t), func(spec *ast.ValueSpec) bool {
		kind, ok := spec.Type.(*ast.Ident)
		return ok && kind.Name == "Phase"
	}) {
		phase, err := strconv.Unquote(literal)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, "\n| `"+phase+"` |") || strings.Count(text, phase) < 2 {
			t.Errorf("the table or the drawing has no phase %s", phase)
		}
	}
}

// TestReadmeRules checks that the kernel's page shows the rules of the golden files, without the
// comments of the jumps.
func TestReadmeRules(t *testing.T) {
	var want []string
	for line := range strings.SplitSeq(page(t, "../netcfg/testdata/legacy-external.golden"), "\n") {
		if strings.HasPrefix(line, "-A ") {
			line = strings.ReplaceAll(line, " -m comment --comment emr-static-ip", "")
			want = append(want, strings.ReplaceAll(line, "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN", "-p tcp ! --syn"))
		}
	}
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^    (-A .*)$`).FindAllStringSubmatch(page(t, kernelPage), -1) {
		got = append(got, m[1])
	}
	if !slices.Equal(got, want) {
		t.Errorf("the page has\n%s\nthe rules are\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	native := section(t, kernelPage, "### The native table")
	if table := page(t, "../netcfg/testdata/native-external.golden"); !strings.Contains(native, "```\n"+table+"```\n") {
		t.Errorf("the page's native table is not that of the golden file\n%s", table)
	}
	tree := section(t, kernelPage, "### The tree of iptables")
	rest := page(t, "../netcfg/testdata/legacy-many.golden")
	for _, m := range regexp.MustCompile(`(?m)^-A .*$`).FindAllString(tree, -1) {
		_, after, ok := strings.Cut(rest, m+"\n")
		if !ok {
			t.Errorf("the golden file does not have, after the line before: %s", m)
		}
		rest = after
	}
}

// TestReadmeDemo checks that the main page's table has the columns of a rehearsal.
func TestReadmeDemo(t *testing.T) {
	source := page(t, "../cmd/emrsim/table.go") + page(t, "../cmd/emrsim/rehearsal.go")
	m := regexp.MustCompile(`(?m)^    (NODE  .*)$`).FindStringSubmatch(page(t, mainPage))
	if m == nil {
		t.Fatal("README.md has no table")
	}
	for _, column := range regexp.MustCompile(` {2,}`).Split(m[1], -1) {
		if !strings.Contains(source, column) {
			t.Errorf("a rehearsal does not print the column %s", column)
		}
	}
}

// TestReadmePolicy checks that the table of permissions has each statement of the policy and its
// actions.
func TestReadmePolicy(t *testing.T) {
	text, _ := policyFile(t, "instance-profile-policy.json")
	var policy struct {
		Statement []struct {
			Sid    string
			Action any
		}
	}
	if err := json.Unmarshal([]byte(text), &policy); err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([A-Za-z]+)` \\| (`[a-z0-9]+:[^|]*) \\|").FindAllStringSubmatch(section(t, deployingPage, "## Permissions"), -1)
	if len(rows) != len(policy.Statement) {
		t.Fatalf("the table has %d statements, the policy has %d", len(rows), len(policy.Statement))
	}
	for i, s := range policy.Statement {
		actions, ok := s.Action.([]any)
		if !ok {
			actions = []any{s.Action}
		}
		var quoted []string
		for _, a := range actions {
			quoted = append(quoted, "`"+a.(string)+"`")
		}
		if want := strings.Join(quoted, ", "); rows[i][1] != s.Sid || rows[i][2] != want {
			t.Errorf("row %d is %s: %s, the policy has %s: %s", i+1, rows[i][1], rows[i][2], s.Sid, want)
		}
	}
}
