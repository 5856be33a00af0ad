package scripts

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// quotesAllowed are the files of tests that may compare with words that messages have, too, each
// with the reason.
var quotesAllowed = map[string]string{
	"cmd/emrsim/lab/bootstrap_test.go":       "the messages of bootstrap.sh",
	"cmd/emrsim/lab/plan_test.go":            "the messages of the lab itself",
	"cmd/emrsim/simulation/mutation_test.go": "the messages of the simulation's checks",
	"internal/golden/golden_test.go":         "the messages of package golden itself",
	"scripts/importrules_test.go":            "the names of rules",
}

// language matches phrases that are no message: commands, rules of the kernel, what AWS answers,
// and values of fields in JSON: the verdicts of status and cluster check, the states of the ledger.
var language = regexp.MustCompile(`^((ip (addr|link|route|rule)|(add|delete|flush|list) (table|chain|rule)|table (ip|inet)|[sd]nat to|type nat|policy accept|chronyc|aws [a-z]+|` +
	`ledger (list|gc|repair|remove|watch)|cluster check|completion (bash|zsh)|does not exist|not found|move is not allowed)\b|` +
	`(in order|not configured|in use|taken back|no address|not attached|not expected|no record|EXIT STATUS|Exit codes)$)`)

// A phrase is the words between two other things: a value, a flag, a path, the end of a sentence.
var (
	wordOnly  = regexp.MustCompile(`^[\pL]+('s|'t|s')?$`)
	opening   = `"'([{` + "`"
	closing   = `.,;:!?"')]}` + "`"
	sentences = strings.NewReplacer("\n", " \x00 ", "\t", " ")
)

// small are words that say nothing alone.
var small = strings.Fields("a an and any are as at be by do does else for from had has have if in into is it its more most no not of on one or other somebody such that the there this to too was were which with")

// content returns the number of words that are not small.
func content(words []string) (n int) {
	for _, w := range words {
		if !slices.Contains(small, strings.ToLower(w)) {
			n++
		}
	}
	return n
}

// phrases returns the phrases of a text with two words or more.
func phrases(text string) (found [][]string) {
	var words []string
	end := func() {
		if len(words) >= 2 && !language.MatchString(strings.Join(words, " ")) {
			found = append(found, words)
		}
		words = nil
	}
	for _, field := range strings.Fields(sentences.Replace(text)) {
		inner := strings.TrimLeft(field, opening)
		if inner != field {
			end()
		}
		word := strings.TrimRight(inner, closing)
		if !wordOnly.MatchString(word) {
			end()
			continue
		}
		if words = append(words, word); word != inner {
			end()
		}
	}
	end()
	return found
}

// vocabulary has each run of two words or more of the messages of the program.
type vocabulary map[string]bool

func (v vocabulary) add(text string) {
	for _, words := range phrases(text) {
		for i := range words {
			for j := i + 2; j <= len(words); j++ {
				v[strings.Join(words[i:j], " ")] = true
			}
		}
	}
}

// quoted returns a part of a test's text that is a part of a message: a whole phrase, or any three
// words of which two are not small. It returns "" if there is none.
func (v vocabulary) quoted(text string) string {
	for _, words := range phrases(text) {
		if phrase := strings.Join(words, " "); v[phrase] && content(words) > 0 {
			return phrase
		}
		for i := 0; i+3 <= len(words); i++ {
			if three := strings.Join(words[i:i+3], " "); v[three] && content(words[i:i+3]) > 1 {
				return three
			}
		}
	}
	return ""
}

// any reports whether two words of the text follow each other in a message, too, and one of them is
// not small.
func (v vocabulary) any(text string) bool {
	for _, words := range phrases(text) {
		for i := 0; i+2 <= len(words); i++ {
			if v[strings.Join(words[i:i+2], " ")] && content(words[i:i+2]) > 0 {
				return true
			}
		}
	}
	return false
}

// A place is where a value is kept: a variable of a function ("f x"), a parameter ("f #0"), or a
// field of a struct anywhere in the package (".field").
type place string

// comparisons finds which texts of a package's tests are compared with something.
type comparisons struct {
	structs  map[string]*ast.StructType
	funcs    map[string]*ast.FuncDecl
	compared map[place]bool
	flows    map[place][]place // a place, and the places whose values come from it
	texts    []testText
}

// A testText is a string literal of a test with the places where it goes.
type testText struct {
	lit *ast.BasicLit
	to  []place
}

// direct is the place of a literal that is an operand of a comparison.
const direct place = "direct"

// comparing are the functions of the standard library and of zap that compare a text with others,
// or search for it. Their first argument is the text that is looked at, if there are two.
var comparing = regexp.MustCompile(`^(strings|bytes)\.(Contains|HasPrefix|HasSuffix|Cut|CutPrefix|CutSuffix|Index|LastIndex|Count|EqualFold|Split|SplitN|TrimPrefix|TrimSuffix)$|^slices\.(Contains|Index|Equal)$|^regexp\.(MustCompile|MatchString)$|\.(FilterMessage|FilterMessageSnippet)$`)

// passing are functions whose result has the text of their arguments.
var passing = regexp.MustCompile(`^(append|string|\[\]byte|fmt\.Sprintf|strings\.(Join|Repeat|ReplaceAll|TrimSpace|Fields)|slices\.(Clip|Clone|Concat|Values|Sorted)|maps\.(Keys|Values)|regexp\.QuoteMeta)$`)

func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return nameOf(e.X) + "." + e.Sel.Name
	case *ast.ArrayType:
		return "[]" + nameOf(e.Elt)
	}
	return "?"
}

// elem returns the type of the elements of a list or map.
func elem(t ast.Expr) ast.Expr {
	switch t := t.(type) {
	case *ast.ArrayType:
		return t.Elt
	case *ast.MapType:
		return t.Value
	case *ast.StarExpr:
		return elem(t.X)
	}
	return nil
}

// fields returns the names of a struct's fields, in order, or nil.
func (c *comparisons) fields(t ast.Expr) (names []string) {
	switch x := t.(type) {
	case *ast.StarExpr:
		return c.fields(x.X)
	case *ast.Ident:
		if s := c.structs[x.Name]; s != nil {
			return c.fields(s)
		}
	case *ast.StructType:
		for _, f := range x.Fields.List {
			for _, n := range f.Names {
				names = append(names, n.Name)
			}
			if len(f.Names) == 0 {
				names = append(names, "?")
			}
		}
	}
	return names
}

// flow says that what is in e goes to the places. typ is the type of e where e is a literal without
// one.
func (c *comparisons) flow(fn string, e ast.Expr, typ ast.Expr, to ...place) {
	switch e := e.(type) {
	case *ast.ParenExpr:
		c.flow(fn, e.X, typ, to...)
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			c.texts = append(c.texts, testText{e, to})
		}
	case *ast.Ident:
		for _, t := range to {
			c.flows[place(fn+" "+e.Name)] = append(c.flows[place(fn+" "+e.Name)], t)
		}
	case *ast.SelectorExpr:
		for _, t := range to {
			c.flows[place("."+e.Sel.Name)] = append(c.flows[place("."+e.Sel.Name)], t)
		}
	case *ast.UnaryExpr:
		c.flow(fn, e.X, typ, to...)
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			c.flow(fn, e.X, typ, to...)
			c.flow(fn, e.Y, typ, to...)
		}
	case *ast.IndexExpr:
		c.flow(fn, e.X, nil, to...)
	case *ast.SliceExpr:
		c.flow(fn, e.X, nil, to...)
	case *ast.CallExpr:
		if passing.MatchString(nameOf(e.Fun)) {
			for _, a := range e.Args {
				c.flow(fn, a, nil, to...)
			}
		}
	case *ast.CompositeLit:
		if e.Type != nil {
			typ = e.Type
		}
		fields := c.fields(typ)
		for i, element := range e.Elts {
			value := element
			kv, keyed := element.(*ast.KeyValueExpr)
			if keyed {
				value = kv.Value
			}
			switch {
			case fields != nil && keyed:
				c.flow(fn, value, nil, place("."+nameOf(kv.Key)))
			case fields != nil && i < len(fields):
				c.flow(fn, value, nil, place("."+fields[i]))
			default:
				c.flow(fn, value, elem(typ), to...)
			}
		}
	}
}

// empty reports whether an expression is the literal "".
func empty(e ast.Expr) bool {
	l, ok := e.(*ast.BasicLit)
	return ok && l.Value == `""`
}

// keys says that the keys of a map literal go to the places.
func (c *comparisons) keys(fn string, e ast.Expr, to ...place) {
	if literal, ok := e.(*ast.CompositeLit); ok {
		for _, element := range literal.Elts {
			if kv, ok := element.(*ast.KeyValueExpr); ok {
				c.flow(fn, kv.Key, nil, to...)
			}
		}
	}
}

// look adds what a function does.
func (c *comparisons) look(fn string, body ast.Node) {
	local := func(e ast.Expr) place { return place(fn + " " + nameOf(e)) }
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			if (n.Op == token.EQL || n.Op == token.NEQ) && !empty(n.X) && !empty(n.Y) {
				c.flow(fn, n.X, nil, direct)
				c.flow(fn, n.Y, nil, direct)
			}
		case *ast.CaseClause:
			for _, e := range n.List {
				c.flow(fn, e, nil, direct)
			}
		case *ast.IndexExpr:
			c.flow(fn, n.Index, nil, "index")
		case *ast.RangeStmt:
			if n.Value != nil {
				c.flow(fn, n.X, nil, target(fn, n.Value))
			}
			if n.Key != nil && nameOf(n.Key) != "_" {
				c.keys(fn, n.X, target(fn, n.Key))
			}
		case *ast.AssignStmt:
			for i, l := range n.Lhs {
				if len(n.Rhs) == len(n.Lhs) {
					c.flow(fn, n.Rhs[i], nil, target(fn, l))
				}
			}
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if i < len(n.Values) {
					c.flow(fn, n.Values[i], nil, local(name))
				}
			}
		case *ast.CompositeLit:
			c.flow(fn, n, nil) // its fields, wherever it is
		case *ast.CallExpr:
			c.call(fn, n)
		}
		return true
	})
}

// target returns the place of what is assigned to.
func target(fn string, e ast.Expr) place {
	switch e := e.(type) {
	case *ast.SelectorExpr:
		return place("." + e.Sel.Name)
	case *ast.IndexExpr:
		return target(fn, e.X)
	}
	return place(fn + " " + nameOf(e))
}

func (c *comparisons) call(fn string, call *ast.CallExpr) {
	name := nameOf(call.Fun)
	if comparing.MatchString(name) {
		for i, a := range call.Args {
			if i > 0 || len(call.Args) == 1 || strings.HasPrefix(name, "slices.") {
				c.flow(fn, a, nil, direct)
			}
		}
		return
	}
	for _, a := range call.Args[min(1, len(call.Args)):] { // slices.ContainsFunc(call.Args[0], func(x string) ...)
		if f, ok := a.(*ast.FuncLit); ok && strings.HasPrefix(name, "slices.") {
			c.flow(fn, call.Args[0], nil, place(fn+" "+f.Type.Params.List[0].Names[0].Name))
		}
	}
	callee := name[strings.LastIndex(name, ".")+1:]
	var params *ast.FieldList
	if f := c.funcs[callee]; f != nil {
		params = f.Type.Params
	} else if l, ok := call.Fun.(*ast.Ident); ok && l.Obj != nil {
		if a, ok := l.Obj.Decl.(*ast.AssignStmt); ok && len(a.Rhs) == 1 {
			if f, ok := a.Rhs[0].(*ast.FuncLit); ok {
				params, callee = f.Type.Params, fn
			}
		}
	}
	if params == nil {
		return
	}
	i := 0
	for _, p := range params.List {
		_, variadic := p.Type.(*ast.Ellipsis)
		for _, n := range p.Names {
			for ; i < len(call.Args); i++ {
				c.flow(fn, call.Args[i], p.Type, place(callee+" "+n.Name))
				if !variadic {
					i++
					break
				}
			}
		}
	}
}

// quotes returns the literals of a package's tests that quote a message where they are compared.
func quotes(known vocabulary, files []*ast.File) (found []*ast.BasicLit) {
	c := &comparisons{map[string]*ast.StructType{}, map[string]*ast.FuncDecl{}, map[place]bool{direct: true}, map[place][]place{}, nil}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				if s, ok := n.Type.(*ast.StructType); ok {
					c.structs[n.Name.Name] = s
				}
			case *ast.FuncDecl:
				c.funcs[n.Name.Name] = n
			}
			return true
		})
	}
	for _, file := range files {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				c.look(f.Name.Name, f)
			} else {
				c.look("", d)
			}
		}
	}
	for again := true; again; {
		again = false
		for from, to := range c.flows {
			if !c.compared[from] && from != ".name" && slices.ContainsFunc(to, func(p place) bool { return c.compared[p] }) {
				c.compared[from], again = true, true
			}
		}
	}
	seen := map[*ast.BasicLit]bool{}
	for _, text := range c.texts {
		s, err := strconv.Unquote(text.lit.Value)
		if err == nil && !seen[text.lit] && slices.ContainsFunc(text.to, func(p place) bool { return c.compared[p] }) && known.quoted(s) != "" {
			seen[text.lit] = true
			found = append(found, text.lit)
		}
	}
	slices.SortFunc(found, func(a, b *ast.BasicLit) int { return int(a.Pos() - b.Pos()) })
	return found
}

// testsProgram reports whether the tests of a folder test the program, not only what surrounds it.
func testsProgram(dir string) bool {
	return productOutside("scripts")(dir+"/x.go") || slices.Contains([]string{"cmd/emrsim/lab", "cmd/emrsim/boot", "cmd/emrsim/simulation"}, dir)
}

// TestFragments looks for words of the program's messages in the comparisons of tests. Messages
// belong in golden files; a test that depends on what a message is about compares a code, a type or
// a field.
func TestFragments(t *testing.T) {
	root := os.DirFS("..")
	files, err := sources(root)
	if err != nil {
		t.Fatal(err)
	}
	known, own, set := vocabulary{}, vocabulary{}, token.NewFileSet()
	tests := map[string][]*ast.File{}
	for _, file := range files {
		source, err := fs.ReadFile(root, file)
		if err != nil {
			t.Fatal(err)
		}
		test := strings.HasSuffix(file, "_test.go")
		words := own
		if productOutside("scripts")(file) {
			words = known
		}
		parsed, err := parser.ParseFile(set, file, source, 0)
		if err != nil {
			t.Fatal(err)
		}
		if test {
			tests[path.Dir(file)] = append(tests[path.Dir(file)], parsed)
			continue
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				text, _ := strconv.Unquote(l.Value)
				words.add(text)
			}
			_, imported := n.(*ast.ImportSpec)
			return !imported
		})
	}
	scripts, err := fs.Glob(root, "scripts/*.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range scripts {
		source, err := fs.ReadFile(root, file)
		if err != nil {
			t.Fatal(err)
		}
		own.add(string(source))
	}
	used := map[string]bool{}
	for _, dir := range slices.Sorted(maps.Keys(tests)) {
		for _, l := range quotes(known, tests[dir]) {
			at := set.Position(l.Pos())
			text, _ := strconv.Unquote(l.Value)
			quoted := known.quoted(text)
			switch {
			case quotesAllowed[at.Filename] != "":
				used[at.Filename] = true
			case own.any(text) && !testsProgram(dir): // its own message
			case strings.HasPrefix(text, "== "): // the title of a golden text
			default:
				t.Errorf("%s: %s quotes %q of a message: use a golden file, a code or a field", at, l.Value, quoted)
			}
		}
	}
	for file := range quotesAllowed {
		if !used[file] {
			t.Errorf("%s quotes no message any more: take it out of quotesAllowed", file)
		}
	}
}

// TestFragmentsFindViolations gives quotes a test that compares with words of a message in each of
// the ways that it knows, and one that does not.
func TestFragmentsFindViolations(t *testing.T) {
	known := vocabulary{}
	known.add("the address is held by %s; run emr-static-ip restore")
	for _, c := range []struct{ body, found string }{
		{`if strings.Contains(text, "is held by i-1") {}`, "is held by i-1"},
		{`if text != "the address is held by i-1" {}`, "the address is held by i-1"},
		{`switch text { case "is held": }`, "is held"},
		{`want := "is held"; if !strings.HasPrefix(text, want) {}`, "is held"},
		{`for _, want := range []string{"x", "is held"} { _ = strings.Contains(text, want) }`, "is held"},
		{`for _, c := range []struct{ name, want string }{{"is held", "the address"}} { _ = strings.Contains(text, c.want) }`, "the address"},
		{`for in, want := range map[string]string{"the address": "is held"} { _, _ = in, strings.Contains(text, want) }`, "is held"},
		{`r := row{told: []string{"is held"}}; for _, part := range r.told { _ = strings.Count(text, part) }`, "is held"},
		{`r := row{told: []string{"is held"}}; slices.ContainsFunc(r.told, func(p string) bool { return strings.Contains(text, p) })`, "is held"},
		{`mentions(t, text, "is held")`, "is held"},
		{`t.Errorf("the address is held by %s", text)`, ""},
		{`f := Fake{Message: "the address is held"}; f.Use()`, ""},
		{`if strings.Contains(text, "emr-static-ip restore") {}`, ""},
		{`if strings.Contains(text, "ip addr del 10.0.1.11") {}`, ""},
		{`messages.Is(t, "the address is held", text)`, ""},
	} {
		source := `package p
			type row struct { told []string }
			func mentions(t *testing.T, text, want string) { if !strings.Contains(text, want) { t.Error(want) } }
			func TestX(t *testing.T) { text := run(); ` + c.body + ` }`
		parsed, err := parser.ParseFile(token.NewFileSet(), "x_test.go", source, 0)
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, l := range quotes(known, []*ast.File{parsed}) {
			text, _ := strconv.Unquote(l.Value)
			found = append(found, text)
		}
		if got := strings.Join(found, ", "); got != c.found {
			t.Errorf("%s: found %q, want %q", c.body, got, c.found)
		}
	}
}
