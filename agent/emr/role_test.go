package emr

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestDetectRole(t *testing.T) {
	const (
		info     = "/mnt/var/lib/info/"
		core     = `{"instanceGroupId":"ig-2CORE","isMaster":false}`
		task     = `{"instanceGroupId":"ig-3TASK","isMaster":false}`
		later    = `{"instanceGroupId":"ig-4LATER","isMaster":false}` // a group that job-flow.json does not list
		onlyCore = `{"instanceGroups":[{"instanceGroupId":"ig-1MASTER","instanceRole":"Master"},{"instanceGroupId":"ig-2CORE","instanceRole":"Core"}]}`
		onlyTask = `{"instanceGroups":[{"instanceGroupId":"ig-1MASTER","instanceRole":"Master"},{"instanceGroupId":"ig-3TASK","instanceRole":"Task"}]}`
	)
	tag := func(value string) map[string]string { return map[string]string{RoleTag: value, "Name": "x"} }
	denied := errors.New("denied")
	tests := []struct {
		name     string
		given    Role
		files    map[string]string
		tags     map[string]string
		tagErr   error
		want     Role
		source   string
		asked    bool     // whether EC2 is asked
		warnings []string // a part of each
		err      []string // parts of the error
	}{
		{name: "--role goes before everything", given: Task, files: map[string]string{info + FileExtra: extraMaster, info + fileInstance: instanceMaster},
			want: Task, source: "--role", warnings: []string{
				"role TASK is taken from --role, but extraInstanceData.json says MASTER",
				"role TASK is taken from --role, but instance.json says isMaster: true"}},
		{name: "--role on something that is no EMR node", given: Core, want: Core, source: "--role"},
		{name: "extraInstanceData.json", files: map[string]string{info + FileExtra: extraMaster}, want: Master, source: FileExtra},
		{name: "extraInstanceData.json, any case", files: map[string]string{"/mnt/var/lib/instance-controller/" + FileExtra: `{"instanceRole":"cOrE"}`},
			want: Core, source: "/mnt/var/lib/instance-controller/" + FileExtra},
		{name: "extraInstanceData.json before job-flow.json", files: map[string]string{info + FileExtra: `{"instanceRole":"TASK"}`, info + fileInstance: core, info + FileJobFlow: jobFlow},
			want: Task, source: FileExtra, warnings: []string{"but job-flow.json says CORE"}},
		{name: "job-flow.json, master", files: map[string]string{info + fileInstance: instanceMaster, info + FileJobFlow: jobFlow}, want: Master, source: FileJobFlow},
		{name: "job-flow.json, core", files: map[string]string{info + fileInstance: core, info + FileJobFlow: jobFlow}, want: Core, source: FileJobFlow},
		{name: "job-flow.json, task", files: map[string]string{info + fileInstance: task, info + FileJobFlow: jobFlow}, want: Task, source: FileJobFlow},
		{name: "job-flow.json in another directory", files: map[string]string{"/var/lib/info/" + fileInstance: task, "/emr/instance-controller/lib/info/" + FileJobFlow: jobFlow},
			want: Task, source: "/emr/instance-controller/lib/info/job-flow.json"},
		{name: "job-flow.json against isMaster", files: map[string]string{info + fileInstance: `{"instanceGroupId":"ig-2CORE","isMaster":true}`, info + FileJobFlow: jobFlow},
			want: Core, source: FileJobFlow, warnings: []string{"instance.json says isMaster: true"}},
		{name: "job-flow-state.txt", files: map[string]string{info + fileState: jobFlowState}, want: Master, source: fileState},
		{name: "the group is in no list: the tag", files: map[string]string{info + fileInstance: later, info + FileJobFlow: jobFlow}, tags: tag("TASK"),
			want: Task, source: "the EC2 tag " + RoleTag, asked: true},
		{name: "the tag against isMaster", files: map[string]string{info + fileInstance: instanceMaster}, tags: tag("CORE"),
			want: Core, source: "the EC2 tag " + RoleTag, asked: true, warnings: []string{"isMaster: true"}},
		{name: "no file, the tag", tags: tag("MASTER"), want: Master, source: "the EC2 tag " + RoleTag, asked: true},
		{name: "isMaster", files: map[string]string{info + fileInstance: instanceMaster}, want: Master, source: "instance.json (isMaster)", asked: true},
		{name: "isMaster, the tag cannot be read", files: map[string]string{info + fileInstance: instanceMaster}, tagErr: denied,
			want: Master, source: "instance.json (isMaster)", asked: true, warnings: []string{"reading the EC2 tag " + RoleTag + ": denied"}},
		{name: "not master, nothing else known", files: map[string]string{info + fileInstance: core},
			want: Core, source: "instance.json (isMaster: false, and no task group is known)", asked: true, warnings: []string{"only inferred"}},
		{name: "not master, core group under another id", files: map[string]string{info + fileInstance: later, info + FileJobFlow: onlyCore},
			want: Task, source: "instance.json (isMaster: false, and the core group is another one than this node's ig-4LATER)", asked: true},
		{name: "not master, own group unknown, no task group", files: map[string]string{info + fileInstance: `{"isMaster":false}`, info + FileJobFlow: onlyCore},
			want: Core, source: "instance.json (isMaster: false, and no task group is known)", asked: true, warnings: []string{"only inferred"}},
		{name: "not master, own group unknown, task group", files: map[string]string{info + fileInstance: `{"isMaster":false}`, info + FileJobFlow: jobFlow},
			asked: true, err: []string{"nothing distinguishes a core node from a task node"}},
		{name: "not master, no core group, task group under another id", files: map[string]string{info + fileInstance: later, info + FileJobFlow: onlyTask}, tagErr: denied,
			asked: true, err: []string{"nothing distinguishes a core node from a task node", "denied"}},
		{name: "nothing at all", asked: true, err: []string{"is this an EMR node?"}},
		{name: "files that say nothing", files: map[string]string{info + FileJobFlow: "{}"}, asked: true, err: []string{"none of EMR's files names it"}},
		{name: "files that cannot be read are not missing", files: map[string]string{info + FileExtra: "{", info + fileInstance + "/x": ""}, asked: true, err: []string{
			"none of EMR's files names it", "reading /mnt/var/lib/info/extraInstanceData.json: is not a JSON object", "reading /mnt/var/lib/info/instance.json: is not a regular file"}},
		{name: "an odd tag is no role", tags: tag("GATEWAY"), asked: true, err: []string{`"GATEWAY" is not a role`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			asked := false
			got, err := DetectRole(t.Context(), test.given, ReadFiles(emrTree(t, test.files)), func(context.Context) (map[string]string, error) {
				asked = true
				return test.tags, test.tagErr
			})
			if asked != test.asked {
				t.Errorf("EC2 asked: %t, want %t", asked, test.asked)
			}
			if test.err != nil {
				unknown := (*RoleError)(nil)
				if !errors.As(err, &unknown) || test.tagErr != nil && !errors.Is(unknown.Tag, test.tagErr) || got.Role != "" {
					t.Fatalf("role %q, %#v", got.Role, err)
				}
				for _, part := range test.err {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("error\n%v\nlacks %q", err, part)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Role != test.want || got.Source != test.source {
				t.Errorf("got %s from %s, want %s from %s", got.Role, got.Source, test.want, test.source)
			}
			if len(got.Warnings) != len(test.warnings) {
				t.Fatalf("warnings %q, want %q", got.Warnings, test.warnings)
			}
			for i, part := range test.warnings {
				if !strings.Contains(got.Warnings[i], part) {
					t.Errorf("warning %q lacks %q", got.Warnings[i], part)
				}
			}
		})
	}
}

func TestDetectRoleEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	_, err := DetectRole(ctx, "", ReadFiles(emrTree(t, map[string]string{"/mnt/var/lib/info/instance.json": instanceMaster})),
		func(ctx context.Context) (map[string]string, error) {
			cancel(stop)
			return nil, ctx.Err()
		})
	if !errors.Is(err, stop) {
		t.Errorf("got %v: isMaster must not decide after the run was told to end", err)
	}
}
