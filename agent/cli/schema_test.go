package cli

import (
	"bytes"
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/agenttest"
	"github.com/emr-static-ip/emr-static-ip/agent/cluster"
	"github.com/emr-static-ip/emr-static-ip/agent/doctor"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/output"
	"github.com/emr-static-ip/emr-static-ip/agent/ledger"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// schemaOf returns the file in schema/ that describes what a command prints.
func schemaOf(d output.Document) string {
	switch d.(type) {
	case *agent.Report:
		return "report.json"
	case *agent.Status:
		return "status.json"
	case *doctor.Diagnosis:
		return "doctor.json"
	case *ledger.Report:
		return "ledger.json"
	case *cluster.Report:
		return "cluster.json"
	case *versionInfo:
		return "version.json"
	}
	return ""
}

// readSchema returns a schema without the library that uses it.
func readSchema(t *testing.T, name string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("schema", name))
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return schema
}

// TestSchemaIsTheType compares each schema with the Go type whose objects it describes: the fields,
// which of them are always there, and their types. So nothing is printed that no schema has.
func TestSchemaIsTheType(t *testing.T) {
	c := commandLine{}
	c.tree()
	seen := map[string]bool{"head.json": true}
	for cmd, d := range c.documents {
		name := schemaOf(d)
		if name == "" {
			t.Errorf("%s prints a %T, which has no schema", cmd.CommandPath(), d)
			continue
		}
		if seen[name] {
			continue
		}
		seen[name] = true
		object := any(d)
		if o, ok := d.(interface{ Body() any }); ok {
			object = o.Body()
		}
		schemas{t, name}.compare(name, reflect.TypeOf(object), readSchema(t, name))
	}
	files, err := filepath.Glob("schema/*.json")
	if err != nil || len(files) != len(seen) {
		t.Errorf("%q, %v: there are objects of %q only", files, err, slices.Sorted(maps.Keys(seen)))
	}
}

type schemas struct {
	t    *testing.T
	file string
}

// resolve follows the references of a schema, and joins the parts of allOf.
func (s schemas) resolve(schema map[string]any) (schemas, map[string]any) {
	if ref, ok := schema["$ref"].(string); ok {
		file, pointer, _ := strings.Cut(ref, "#")
		if file != "" {
			s.file = file
		}
		schema = readSchema(s.t, s.file)
		for name := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
			if name != "" {
				schema, _ = schema[name].(map[string]any)
			}
		}
		return s.resolve(schema)
	}
	return s, schema
}

// textual are the types that JSON writes as strings.
var textual = reflect.TypeFor[encoding.TextMarshaler]()

func (s schemas) compare(at string, typ reflect.Type, schema map[string]any) {
	s, schema = s.resolve(schema)
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	want := map[reflect.Kind]string{reflect.String: "string", reflect.Bool: "boolean", reflect.Int: "integer", reflect.Int64: "integer",
		reflect.Float64: "number", reflect.Slice: "array", reflect.Map: "object", reflect.Struct: "object"}[typ.Kind()]
	if typ.Implements(textual) {
		want = "string"
	}
	if schema["type"] != want || want == "" {
		s.t.Errorf("%s is %v in the schema, and a %s", at, schema["type"], typ)
		return
	}
	switch {
	case want == "array":
		items, _ := schema["items"].(map[string]any)
		s.compare(at+"[]", typ.Elem(), items)
	case typ.Kind() == reflect.Map:
		values, _ := schema["additionalProperties"].(map[string]any)
		s.compare(at+"{}", typ.Elem(), values)
	case want == "object":
		s.fields(at, typ, schema)
	}
}

// fields compares the fields of a struct with the properties of a schema.
func (s schemas) fields(at string, typ reflect.Type, schema map[string]any) {
	properties, required := map[string]schemas{}, []string{}
	values := map[string]map[string]any{}
	var take func(s schemas, schema map[string]any)
	take = func(s schemas, schema map[string]any) {
		s, schema = s.resolve(schema)
		parts, _ := schema["allOf"].([]any)
		for _, part := range parts {
			take(s, part.(map[string]any))
		}
		all, _ := schema["properties"].(map[string]any)
		for name, value := range all {
			properties[name], values[name] = s, value.(map[string]any)
		}
		names, _ := schema["required"].([]any)
		for _, name := range names {
			required = append(required, name.(string))
		}
	}
	take(s, schema)
	for field, f := range jsonFields(typ) {
		_, known := properties[field]
		switch {
		case !known:
			s.t.Errorf("%s.%s is not in the schema", at, field)
			continue
		case f.always != slices.Contains(required, field):
			s.t.Errorf("%s.%s is always there: %v in the type, %v in the schema", at, field, f.always, !f.always)
		case !f.always && (f.typ.Kind() == reflect.Slice || f.typ.Kind() == reflect.Map):
			s.t.Errorf("%s.%s is a list or a map, and may be absent", at, field)
		}
		properties[field].compare(at+"."+field, f.typ, values[field])
		delete(properties, field)
	}
	for field := range properties {
		s.t.Errorf("%s.%s is in the schema, and %s does not have it", at, field, typ)
	}
}

type jsonField struct {
	typ    reflect.Type
	always bool // there is no omitempty
}

// jsonFields returns the fields of an object of a struct type, by name.
func jsonFields(typ reflect.Type) map[string]jsonField {
	fields := map[string]jsonField{}
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch embedded := f.Type; {
		case f.Anonymous && name == "":
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			maps.Copy(fields, jsonFields(embedded))
		case f.IsExported() && name != "-":
			fields[name] = jsonField{f.Type, options == ""}
		}
	}
	return fields
}

// TestExamples runs the program on a node of the model and compares what it prints with the
// examples in schema/examples. The module scripts/templates validates these with the schemas.
func TestExamples(t *testing.T) {
	for _, test := range []struct {
		schema, name string
		code         exit.Code
		do           func(x *example)
	}{
		{"report", "apply", exit.OK, func(x *example) { x.run(x.list...) }},
		{"report", "apply-again", exit.OK, func(x *example) { x.run(x.list...); x.run() }},
		{"report", "apply-no-permission", exit.Permission, func(x *example) {
			x.node.Deny("ec2:AssignPrivateIpAddresses")
			x.run(x.list...)
		}},
		{"report", "apply-suppressed", exit.OK, func(x *example) {
			x.node.Deny("ec2:AssignPrivateIpAddresses")
			x.run(append([]string{"--on-error", "continue"}, x.list...)...)
		}},
		{"report", "apply-wrong-arguments", exit.Usage, func(x *example) { x.run("--core-ip", "10.0.1.21", "--timeout", "5") }},
		{"report", "apply-not-root", exit.NotRoot, func(x *example) {
			x.program.Elevate = func(context.Context, []string) error {
				return notRoot(errors.New("becoming root with sudo -n: a password is required"), "")
			}
			x.run(x.list...)
		}},
		{"report", "apply-no-imds", exit.Unreachable, func(x *example) { x.node.Silent.Store(true); x.run(x.list...) }},
		{"report", "apply-interrupted", exit.Terminate, func(x *example) {
			x.node.Cloud.Fault(func(c cloud.Call) cloud.FaultAction {
				if c.Action == "PutParameter" {
					x.cancel(&SignalError{Signal: syscall.SIGTERM})
				}
				return cloud.FaultAction{}
			})
			x.run(append([]string{"--no-name-tag"}, x.list...)...)
		}},
		{"report", "plan", exit.OK, func(x *example) { x.run(append([]string{"plan"}, x.list...)...) }},
		{"report", "restore", exit.OK, func(x *example) { x.run(x.list...); x.node.Kernel.FlushNAT(); x.run("restore") }},
		{"report", "release", exit.OK, func(x *example) { x.run(x.list...); x.run("release") }},
		{"status", "status", exit.OK, func(x *example) { x.run(x.list...); x.run("status") }},
		{"status", "status-drifted", exit.Drifted, func(x *example) { x.run(x.list...); x.node.Kernel.FlushNAT(); x.run("status") }},
		{"status", "status-not-configured", exit.NotGiven, func(x *example) { x.run("status") }},
		{"status", "status-failed", exit.NotGiven, func(x *example) {
			x.node.Deny("ec2:AssignPrivateIpAddresses")
			x.run(append([]string{"--on-error", "continue"}, x.list...)...)
			x.run("status")
		}},
		{"status", "status-interrupted", exit.Interrupt, func(x *example) { x.run(x.list...); x.cancel(&SignalError{Signal: syscall.SIGINT}); x.run("status") }},
		{"doctor", "doctor", exit.OK, func(x *example) { x.run(append([]string{"doctor"}, x.list...)...) }},
		{"doctor", "doctor-no-permission", exit.Permission, func(x *example) {
			x.node.Deny("ssm:PutParameter")
			x.run(append([]string{"doctor"}, x.list...)...)
		}},
		{"ledger", "ledger-list", exit.OK, func(x *example) { x.run(x.list...); x.run("ledger", "list") }},
		{"ledger", "ledger-gc", exit.OK, func(x *example) { x.run(x.list...); x.gone(); x.run("ledger", "gc", "--yes") }},
		{"ledger", "ledger-repair", exit.Drifted, func(x *example) {
			x.node.Assign(netip.MustParseAddr("10.0.1.22"))
			x.run("ledger", "repair", "10.0.1.22")
		}},
		{"ledger", "ledger-remove", exit.Drifted, func(x *example) {
			x.run(x.list...)
			x.run("ledger", "remove", "10.0.1.21", "--yes")
		}},
		{"ledger", "ledger-all-regions", exit.OK, func(x *example) {
			x.node.Cloud.OtherRegion("eu-south-2", false)
			x.run(x.list...)
			x.run("ledger", "list", "--all-regions")
		}},
		{"ledger", "ledger-no-command", exit.Usage, func(x *example) { x.run("ledger") }},
		{"cluster", "cluster-check", exit.Drifted, func(x *example) { x.run(x.list...); x.run("cluster", "check", x.node.ClusterID) }},
		{"cluster", "cluster-check-wrong-argument", exit.Usage, func(x *example) { x.run("cluster", "check", "etl") }},
		{"cluster", "cluster-check-no-permission", exit.Permission, func(x *example) {
			x.node.Deny("ssm:GetParametersByPath")
			x.run("cluster", "check", x.node.ClusterID)
		}},
		{"version", "version-wrong-argument", exit.Usage, func(x *example) { x.run("version", "please") }},
		{"doctor", "doctor-interrupted", exit.Interrupt, func(x *example) {
			x.cancel(&SignalError{Signal: syscall.SIGINT})
			x.run(append([]string{"doctor"}, x.list...)...)
		}},
		{"version", "version", exit.OK, func(x *example) { x.run("version") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newExample(t)
				test.do(x)
				if x.code != test.code {
					t.Errorf("exit code %d, want %d\n%s", x.code, test.code, &x.log)
				}
				var indented bytes.Buffer
				if err := json.Indent(&indented, x.out, "", "  "); err != nil {
					t.Fatal(err)
				}
				golden.Is(t, "../schema/examples/"+test.schema+"/"+test.name+".json", x.neutral(indented.String()))
			})
		})
	}
}

// The objects that the documentation shows are among the examples.
func TestDocumentedExamples(t *testing.T) {
	text, err := os.ReadFile("../../cmd/emr-static-ip/README.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("schema/examples/*/*.json")
	if err != nil || len(files) < 20 {
		t.Fatal(files, err)
	}
	shown := 0
	for block := range strings.SplitSeq(string(text), "\n\n") {
		if !strings.HasPrefix(block, "    {\n") {
			continue
		}
		shown++
		object := strings.ReplaceAll(strings.TrimPrefix(block, "    "), "\n    ", "\n") + "\n"
		if !slices.ContainsFunc(files, func(file string) bool {
			example, err := os.ReadFile(file)
			return err == nil && string(example) == object
		}) {
			t.Errorf("no example is\n%s", object)
		}
	}
	if shown == 0 {
		t.Error("the documentation shows no object")
	}
}

// example is a node on which the program makes an example.
type example struct {
	t       *testing.T
	node    *agenttest.Node
	program Program
	ctx     context.Context
	cancel  context.CancelCauseFunc
	list    []string
	code    exit.Code // of the last run
	out     []byte
	log     bytes.Buffer
}

func newExample(t *testing.T) *example {
	x := &example{t: t, node: agenttest.New(t, cloud.Options{Seed: 1, VerifyInProcess: true}), list: []string{"10.0.1.20", "10.0.1.21", "10.0.1.22"}}
	agenttest.NewNetwork(x.node.PrimaryIP).Install(&x.node.Env)
	x.node.WithSystemd()
	x.ctx, x.cancel = context.WithCancelCause(t.Context())
	x.program = Program{Apply: agent.Apply, Plan: agent.Plan, Release: agent.Release, Restore: agent.Restore, Status: agent.Inspect,
		Doctor: doctor.Doctor, Suppress: agent.Suppress, Ledger: ledger.Run, Cluster: cluster.Check}
	return x
}

// run runs the program, and waits until AWS shows what it did.
func (x *example) run(args ...string) {
	x.t.Helper()
	var out bytes.Buffer
	env := x.node.Env
	env.Stdout, env.Stderr = &out, &x.log
	x.code = x.program.Main(x.ctx, append(slices.Clone(args), "-o", "json"), env)
	x.out = out.Bytes()
	if x.ctx.Err() == nil {
		time.Sleep(3 * time.Minute)
	}
}

// gone leaves the record of an instance that EC2 does not know any more.
func (x *example) gone() {
	r := ssmcoord.Record{Instance: "i-0123456789abcdef0", ENI: "eni-0123456789abcdef0", Cluster: "j-OLD", Role: "CORE", Time: time.Now()}
	x.node.Claim(agent.DefaultPrefix, netip.MustParseAddr("10.0.1.22"), r, time.Hour)
}

// neutral returns an example without what other builds and other machines have.
func (x *example) neutral(s string) string {
	for old, replacement := range map[string]string{x.node.Env.Root: "", agent.Version(): "v0.9.0", fmt.Sprintf("%q", versions().Go): `"go1.26"`, `"arch": "` + runtime.GOARCH: `"arch": "amd64`} {
		s = strings.ReplaceAll(s, old, replacement)
	}
	return s
}
