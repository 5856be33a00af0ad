package emr

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// A node of EMR 5.29, and one that has only what every release has.
const (
	extraMaster = `{"jobFlowId":"j-3H4A2KJ5EXAMPLE","jobFlowCreationInstant":1577836800000,"instanceCount":3,
		"instanceGroups":{"CORE":[{"instanceType":"m5.xlarge","instanceCount":2}],"MASTER":[{"instanceType":"m5.xlarge","instanceCount":1}]},
		"instanceGroupId":"ig-1MASTER","instanceRole":"master","masterHost":"localhost","marketType":"ON_DEMAND","region":"eu-west-1",
		"accountId":"123456789012","releaseLabel":"emr-5.29.0","haEnabled":false,"startupScripts":[{"name":"ip","args":["10.0.1.10"]}],
		"serviceEndpoints":{"s3":"https://s3"}}`
	jobFlow = `{"jobFlowId":"j-3H4A2KJ5EXAMPLE","instanceCount":3,"masterInstanceId":"i-1","instanceGroups":[
		{"instanceGroupId":"ig-1MASTER","instanceGroupName":"m","instanceRole":"Master","marketType":"ON_DEMAND","instanceType":"m5.xlarge","requestedInstanceCount":1},
		{"instanceGroupId":"ig-2CORE","instanceGroupName":"c","instanceRole":"Core","marketType":"ON_DEMAND","instanceType":"m5.xlarge","requestedInstanceCount":2},
		{"instanceGroupId":"ig-3TASK","instanceGroupName":"t","instanceRole":"Task","marketType":"SPOT","instanceType":"m5.xlarge","requestedInstanceCount":4}]}`
	jobFlowState = `# written by the instance controller
jobFlowId: "j-3H4A2KJ5EXAMPLE"
jobFlowCreationInstant: 1577836800000
instanceGroups { instanceGroupId: "ig-9OTHER" instanceRole: "core" steps: [1, 2] note: "a { brace" }
candidates < instanceRole: 'task' >
instanceRole: "master" releaseLabel: 'emr-5.29.0';
`
	instanceMaster = `{"instanceGroupId": "ig-1MASTER", "isMaster": true}`
)

// emrTree writes files (path below the root -> content) and returns the root.
func emrTree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for p, content := range files {
		p = filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestReadFilesInEveryDirectory(t *testing.T) {
	tests := []struct{ dir, name, content string }{
		{"/mnt/var/lib/info", fileInstance, instanceMaster},
		{"/emr/instance-controller/lib/info", fileInstance, instanceMaster},
		{"/var/lib/info", fileInstance, instanceMaster},
		{"/mnt/var/lib/info", FileExtra, extraMaster},
		{"/emr/instance-controller/lib/info", FileExtra, extraMaster},
		{"/var/lib/info", FileExtra, extraMaster},
		{"/mnt/var/lib/instance-controller", FileExtra, extraMaster},
		{"/mnt/var/lib/info", FileJobFlow, jobFlow},
		{"/emr/instance-controller/lib/info", FileJobFlow, jobFlow},
		{"/var/lib/info", FileJobFlow, jobFlow},
		{"/mnt/var/lib/info", fileState, jobFlowState},
		{"/emr/instance-controller/lib/info", fileState, jobFlowState},
		{"/var/lib/info", fileState, jobFlowState},
	}
	for _, test := range tests {
		t.Run(test.dir+"/"+test.name, func(t *testing.T) {
			got := ReadFiles(emrTree(t, map[string]string{test.dir + "/" + test.name: test.content}))
			if len(got.Files) != 1 {
				t.Fatalf("%d files", len(got.Files))
			}
			f := got.Files[0]
			if want := test.dir + "/" + test.name; f.Path != want || f.Name != test.name || f.Err != nil || len(f.Problems) > 0 {
				t.Errorf("got %+v, want %s", f, want)
			}
			if f.ClusterID == "" && f.GroupID == "" {
				t.Errorf("nothing was read: %+v", f)
			}
		})
	}
}

func TestReadFilesAllAtOnce(t *testing.T) {
	got := ReadFiles(emrTree(t, map[string]string{
		"/mnt/var/lib/info/instance.json":                         instanceMaster,
		"/mnt/var/lib/info/job-flow.json":                         jobFlow,
		"/var/lib/info/job-flow.json":                             jobFlow,
		"/mnt/var/lib/info/job-flow-state.txt":                    jobFlowState,
		"/mnt/var/lib/instance-controller/extraInstanceData.json": extraMaster,
		"/mnt/var/lib/instance-controller/instance.json":          `{"isMaster": "not looked for here"}`,
	}))
	var paths []string
	for _, f := range got.Files {
		paths = append(paths, f.Path)
	}
	if want := []string{"/mnt/var/lib/instance-controller/extraInstanceData.json", "/mnt/var/lib/info/job-flow.json",
		"/var/lib/info/job-flow.json", "/mnt/var/lib/info/job-flow-state.txt", "/mnt/var/lib/info/instance.json"}; !slices.Equal(paths, want) {
		t.Errorf("got %q, want %q", paths, want)
	}
	if problems := got.Problems(); len(problems) > 0 {
		t.Errorf("problems %v", problems)
	}
	check := func(what string, got, from, want, wantFrom string) {
		t.Helper()
		if got != want || from != wantFrom {
			t.Errorf("%s: %q from %s, want %q from %s", what, got, from, want, wantFrom)
		}
	}
	id, from := got.ClusterID()
	check("cluster", id, from, "j-3H4A2KJ5EXAMPLE", "/mnt/var/lib/instance-controller/extraInstanceData.json")
	id, from = got.GroupID()
	check("group", id, from, "ig-1MASTER", "/mnt/var/lib/info/instance.json")
	check("release", got.Release(), "", "emr-5.29.0", "")
	check("region", got.Region(), "", "eu-west-1", "")
	if n, from := got.Requested(Core); n != 2 || from != "/mnt/var/lib/info/job-flow.json" {
		t.Errorf("%d core nodes from %s", n, from)
	}
	if n, _ := got.Masters(); n != 1 {
		t.Errorf("%d masters", n)
	}
	state := got.Files[3]
	if state.Role != Master || state.GroupID != "" || state.Release != "emr-5.29.0" {
		t.Errorf("job-flow-state.txt: %+v", state)
	}
}

func TestReadFilesUnreadable(t *testing.T) {
	root := emrTree(t, map[string]string{
		"/mnt/var/lib/info/job-flow.json":                     "{",
		"/mnt/var/lib/info/job-flow-state.txt/not-a-file":     "",
		"/emr/instance-controller":                            "a file where a directory is looked for",
		"/var/lib/info/instance.json":                         strings.Repeat(" ", maxEMRFile) + "{}",
		"/mnt/var/lib/instance-controller/something-else.txt": "",
	})
	// Opening a pipe that nobody writes to must not wait.
	if err := syscall.Mkfifo(filepath.Join(root, "/mnt/var/lib/info/instance.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	got := ReadFiles(root)
	var texts []string
	for _, f := range got.Files {
		if f.Err == nil {
			t.Errorf("%s was read", f.Path)
		}
	}
	for _, err := range got.Problems() {
		texts = append(texts, err.Error())
	}
	golden.Is(t, "unreadable.txt", strings.Join(texts, "\n")+"\n")
	if os.Geteuid() != 0 {
		if err := os.WriteFile(filepath.Join(root, "/var/lib/info/job-flow.json"), nil, 0); err != nil {
			t.Fatal(err)
		}
		if problems := ReadFiles(root).Problems(); !errors.Is(problems[0], fs.ErrPermission) {
			t.Errorf("the first problem is %v", problems[0])
		}
	}
	if got.Empty() {
		t.Error("files that cannot be read were taken for none")
	}
	if !ReadFiles(t.TempDir()).Empty() {
		t.Error("files in an empty directory")
	}
}

// TestRefused checks that files which the system refuses for one reason are one problem: without
// root, EMR may keep all 13 of them from being read.
func TestRefused(t *testing.T) {
	var files Files
	refuse := func(p string, reason error) {
		files.Files = append(files.Files, File{Path: p, Err: fmt.Errorf("reading %s: %w", p, &fs.PathError{Op: "open", Path: p, Err: reason})})
	}
	refuse("/a/one", syscall.EACCES)
	refuse("/a/two", syscall.EIO)
	files.Files = append(files.Files, File{Path: "/a/three", Err: errors.New("reading /a/three: is not a JSON object")})
	refuse("/b/one", syscall.EACCES)
	refuse("/c/one", syscall.EACCES)
	var got []string
	for _, err := range files.Problems() {
		got = append(got, err.Error())
	}
	golden.Is(t, "refused.txt", strings.Join(got, "\n")+"\n")
	if !errors.Is(files.Problems()[0], fs.ErrPermission) {
		t.Error("the problem does not say that it is a missing permission")
	}
}

func TestParseEMRFileTolerates(t *testing.T) {
	tests := []struct {
		name, file, content string
		want                File
	}{
		{"unknown, missing and null fields", FileJobFlow, `{"jobFlowId":"j-1","new":{"deep":[1]},"instanceGroups":null}`,
			File{ClusterID: "j-1"}},
		{"a field that has changed its form", FileExtra, `{"jobFlowId":"j-1","instanceGroups":[1],"instanceRole":"CORE","haEnabled":"yes"}`,
			File{ClusterID: "j-1", Role: Core}},
		{"names are compared exactly", fileInstance, `{"ismaster":true,"IsMaster":true,"instancegroupid":"ig-1"}`, File{}},
		{"hostile ids", fileInstance, `{"instanceGroupId":"ig-../../x","jobFlowId":"j-` + strings.Repeat("A", 41) + `"}`, File{}},
		{"unknown role", FileExtra, "{\"instanceRole\":\"x\\u001b[0m\"}", File{}},
		{"counts that are none", FileJobFlow, `{"instanceGroups":[{"instanceGroupId":"ig-1","instanceRole":"CORE","requestedInstanceCount":-1},
			{"instanceGroupId":"ig-2","instanceRole":"TASK","requestedInstanceCount":1.5},{"instanceRole":"MASTER"}]}`,
			File{Groups: []Group{{ID: "ig-1", Role: Core}, {ID: "ig-2", Role: Task}, {Role: Master}}}},
		{"two groups of one role", FileExtra, `{"instanceGroups":{"TASK":[{"instanceCount":1},{"instanceCount":2}],"core":[{"instanceCount":3}]}}`,
			File{Groups: []Group{{Role: Task, Requested: 1, Counted: true}, {Role: Task, Requested: 2, Counted: true}, {Role: Core, Requested: 3, Counted: true}}}},
		{"fleets", FileJobFlow, `{"instanceFleets":[{"instanceFleetId":"if-1","instanceFleetType":"CORE","targetOnDemandCapacity":8}]}`,
			File{Fleets: true, Groups: []Group{{ID: "if-1", Role: Core}}}},
		{"fleets listed as groups", FileJobFlow, `{"instanceGroups":[{"instanceGroupId":"if-1","instanceRole":"Core","requestedInstanceCount":8}]}`,
			File{Fleets: true, Groups: []Group{{ID: "if-1", Role: Core, Requested: 8, Counted: true}}}},
		{"a fleet's node", fileInstance, `{"instanceFleetId":"if-1","isMaster":false}`, File{Fleets: true, GroupID: "if-1", IsMaster: new(false)}},
		{"protobuf text", fileState, "a { b { instanceRole: \"core\" } } jobFlowId: \"j-1\" c: { instanceRole: \"task\" } region : 'eu-west-1'\ninstanceRole: CORE # core",
			File{ClusterID: "j-1", Region: "eu-west-1", Role: Core}},
		{"several entries of the core role are a fleet", FileExtra, `{"instanceGroups":{"CORE":[{"instanceCount":8},{"instanceCount":4}],"MASTER":[{"instanceCount":1}]}}`,
			File{Fleets: true, Groups: []Group{{Role: Core, Requested: 8, Counted: true}, {Role: Core, Requested: 4, Counted: true}, {Role: Master, Requested: 1, Counted: true}}}},
		{"several entries of the master role are a fleet", FileJobFlow, `{"instanceGroups":[{"instanceRole":"MASTER","requestedInstanceCount":1},{"instanceRole":"Master","requestedInstanceCount":1}]}`,
			File{Fleets: true, Groups: []Group{{Role: Master, Requested: 1, Counted: true}, {Role: Master, Requested: 1, Counted: true}}}},
		{"the role in localInstance", fileState, "jobFlowId: \"j-1\"\nlocalInstance {\n  instanceRole: \"MASTER\"\n  jobFlowId: \"j-2\"\n  peer { instanceRole: \"core\" }\n}\nother { localInstance { instanceRole: \"task\" } }",
			File{ClusterID: "j-1", Role: Master}},
		{"localInstance takes precedence", fileState, "localInstance: < instanceRole: 'core' >\ninstanceRole: \"task\"", File{Role: Core}},
		{"an unknown role in localInstance", fileState, "instanceRole: \"task\" localInstance { instanceRole: \"x\" }", File{Role: Task}},
		{"EMR 8", FileExtra, `{"jobFlowId":"j-1","releaseLabel":"emr-spark-8.1.0","instanceRole":"CORE"}`, File{ClusterID: "j-1", Release: "emr-spark-8.1.0", Role: Core}},
		{"the last value counts", fileState, "instanceRole: \"core\"\ninstanceRole: \"task\"", File{Role: Task}},
		{"damaged protobuf text", fileState, "jobFlowId: \"j-1\ninstanceRole: \"core\\\"\"\n}}} releaseLabel: \"emr-6.1.0\" region: :",
			File{ClusterID: "j-1", Release: "emr-6.1.0"}},
	}
	messages := golden.Open(t, "file-problems.txt")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := parseFile(test.file, []byte(test.content))
			var problems []string
			for _, p := range got.Problems {
				problems = append(problems, p.Error())
			}
			messages.Is(t, test.name, strings.Join(problems, "\n"))
			want := test.want
			if got.Err != nil || got.ClusterID != want.ClusterID || got.GroupID != want.GroupID || got.Role != want.Role || got.Region != want.Region ||
				got.Release != want.Release || got.Fleets != want.Fleets || !slices.Equal(got.Groups, want.Groups) ||
				!equalBool(got.IsMaster, want.IsMaster) || !equalBool(got.HA, want.HA) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func equalBool(a, b *bool) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

func TestRequested(t *testing.T) {
	ha := `{"haEnabled":true,"instanceGroups":{"MASTER":[{"instanceCount":3}],"CORE":[{"instanceCount":5}]}}`
	tests := []struct {
		name                     string
		files                    map[string]string // below /mnt/var/lib/info
		cores, masters           int
		coresKnown, mastersKnown bool
	}{
		{"nothing", nil, 0, 1, false, false},
		{"job-flow.json", map[string]string{FileJobFlow: jobFlow}, 2, 1, true, true},
		{"extraInstanceData.json", map[string]string{FileExtra: extraMaster}, 2, 1, true, true},
		{"both: job-flow.json", map[string]string{FileJobFlow: jobFlow, FileExtra: ha}, 2, 3, true, true},
		{"three masters", map[string]string{FileExtra: ha}, 5, 3, true, true},
		{"three masters by their group", map[string]string{FileJobFlow: `{"instanceGroups":[{"instanceRole":"MASTER","requestedInstanceCount":3}]}`}, 0, 3, true, true},
		{"three masters by the flag alone", map[string]string{FileExtra: `{"haEnabled":true}`}, 0, 3, false, true},
		{"job-flow.json without counts", map[string]string{FileJobFlow: `{"instanceGroups":[{"instanceRole":"CORE"}]}`, FileExtra: ha}, 5, 3, true, true},
		{"fleets have units, not nodes", map[string]string{FileJobFlow: jobFlow, fileInstance: `{"instanceFleetId":"if-1"}`}, 0, 1, false, false},
		{"several core entries are a fleet", map[string]string{FileExtra: `{"instanceGroups":{"CORE":[{"instanceCount":8},{"instanceCount":4}],"MASTER":[{"instanceCount":1}]}}`}, 0, 1, false, false},
		{"a fleet with three masters", map[string]string{FileExtra: `{"haEnabled":true,"instanceGroups":{"CORE":[{"instanceCount":8},{"instanceCount":4}],"MASTER":[{"instanceCount":3}]}}`}, 0, 3, false, true},
		{"damaged", map[string]string{FileJobFlow: `{"instanceGroups":{}}`}, 0, 1, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			below := map[string]string{}
			for name, content := range test.files {
				below["/mnt/var/lib/info/"+name] = content
			}
			files := ReadFiles(emrTree(t, below))
			cores, from := files.Requested(Core)
			if cores != test.cores || (from != "") != test.coresKnown {
				t.Errorf("core: %d from %q, want %d", cores, from, test.cores)
			}
			masters, from := files.Masters()
			if masters != test.masters || (from != "") != test.mastersKnown {
				t.Errorf("masters: %d from %q, want %d", masters, from, test.masters)
			}
		})
	}
}

func TestFilesDisagree(t *testing.T) {
	files := ReadFiles(emrTree(t, map[string]string{
		"/mnt/var/lib/info/job-flow.json": `{"jobFlowId":"j-NEW"}`,
		"/var/lib/info/job-flow.json":     `{"jobFlowId":"j-OLD"}`,
		"/var/lib/info/instance.json":     `{"instanceGroupId":"ig-1"}`,
	}))
	problems := files.Problems()
	if len(problems) != 1 {
		t.Fatalf("got %v, want one problem", problems)
	}
	golden.Is(t, "disagree.txt", problems[0].Error()+"\n")
	if id, _ := files.ClusterID(); id != "j-NEW" {
		t.Errorf("cluster %s", id)
	}
}

// FuzzEMRFile: whatever is in a file, what is taken from it is well formed, bounded and harmless.
func FuzzEMRFile(f *testing.F) {
	for _, seed := range []string{
		extraMaster, jobFlow, jobFlowState, instanceMaster, "", "null", "[]", "{}", `{"instanceGroups":[{}]}`, `{"instanceGroups":{"":[{}]}}`,
		`{"isMaster":null}`, "a:<b:[", `jobFlowId: "j-1\`, `instanceRole: "`, "{\"region\":\"\\u001b\"}", strings.Repeat("[", 20000),
		`{"instanceGroups":[{"requestedInstanceCount":1e99}]}`,
	} {
		for kind := range uint8(4) {
			f.Add(kind, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		name := []string{FileExtra, FileJobFlow, fileState, fileInstance}[kind%4]
		got := parseFile(name, data)
		if got.ClusterID != "" && !clusterIDForm().Fits(got.ClusterID) || got.GroupID != "" && !groupIDForm().Fits(got.GroupID) {
			t.Fatalf("ids %q, %q", got.ClusterID, got.GroupID)
		}
		for _, s := range []string{got.Region, got.Release} {
			if text.Clean(s, 64) != s {
				t.Fatalf("%q", s)
			}
		}
		if _, err := ParseRole(string(got.Role)); got.Role != "" && err != nil {
			t.Fatal(err)
		}
		for _, g := range got.Groups {
			if _, err := ParseRole(string(g.Role)); g.Role != "" && err != nil || g.Requested < 0 || g.Requested > 1e6 {
				t.Fatalf("%+v", g)
			}
		}
		if len(got.Problems) > 3*text.MaxProblems {
			t.Fatalf("%d problems", len(got.Problems))
		}
		for _, err := range append(got.Problems, got.Err) {
			if err != nil && text.Clean(err.Error(), 1000) != err.Error() {
				t.Fatalf("%q", err)
			}
		}
		all := Files{Files: []File{got}}
		if n, _ := all.Masters(); n < 1 {
			t.Fatalf("%d masters", n)
		}
	})
}
