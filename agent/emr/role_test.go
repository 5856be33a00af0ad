package emr

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
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
		name   string
		given  Role
		files  map[string]string
		tags   map[string]string
		tagErr error
		want   Role

		asked   bool // whether EC2 is asked
		refused bool
	}{
		{name: "--role goes before everything", given: Task, files: map[string]string{info + FileExtra: extraMaster, info + fileInstance: instanceMaster},
			want: Task},
		{name: "--role on something that is no EMR node", given: Core, want: Core},
		{name: "extraInstanceData.json", files: map[string]string{info + FileExtra: extraMaster}, want: Master},
		{name: "extraInstanceData.json, any case", files: map[string]string{"/mnt/var/lib/instance-controller/" + FileExtra: `{"instanceRole":"cOrE"}`},
			want: Core},
		{name: "extraInstanceData.json before job-flow.json", files: map[string]string{info + FileExtra: `{"instanceRole":"TASK"}`, info + fileInstance: core, info + FileJobFlow: jobFlow},
			want: Task},
		{name: "job-flow.json, master", files: map[string]string{info + fileInstance: instanceMaster, info + FileJobFlow: jobFlow}, want: Master},
		{name: "job-flow.json, core", files: map[string]string{info + fileInstance: core, info + FileJobFlow: jobFlow}, want: Core},
		{name: "job-flow.json, task", files: map[string]string{info + fileInstance: task, info + FileJobFlow: jobFlow}, want: Task},
		{name: "job-flow.json in another directory", files: map[string]string{"/var/lib/info/" + fileInstance: task, "/emr/instance-controller/lib/info/" + FileJobFlow: jobFlow},
			want: Task},
		{name: "job-flow.json against isMaster", files: map[string]string{info + fileInstance: `{"instanceGroupId":"ig-2CORE","isMaster":true}`, info + FileJobFlow: jobFlow},
			want: Core},
		{name: "job-flow-state.txt", files: map[string]string{info + fileState: jobFlowState}, want: Master},
		{name: "the group is in no list: the tag", files: map[string]string{info + fileInstance: later, info + FileJobFlow: jobFlow}, tags: tag("TASK"),
			want: Task, asked: true},
		{name: "the tag against isMaster", files: map[string]string{info + fileInstance: instanceMaster}, tags: tag("CORE"),
			want: Core, asked: true},
		{name: "no file, the tag", tags: tag("MASTER"), want: Master, asked: true},
		{name: "isMaster", files: map[string]string{info + fileInstance: instanceMaster}, want: Master, asked: true},
		{name: "isMaster, the tag cannot be read", files: map[string]string{info + fileInstance: instanceMaster}, tagErr: denied,
			want: Master, asked: true},
		{name: "not master, nothing else known", files: map[string]string{info + fileInstance: core},
			want: Core, asked: true},
		{name: "not master, core group under another id", files: map[string]string{info + fileInstance: later, info + FileJobFlow: onlyCore},
			want: Task, asked: true},
		{name: "not master, own group unknown, no task group", files: map[string]string{info + fileInstance: `{"isMaster":false}`, info + FileJobFlow: onlyCore},
			want: Core, asked: true},
		{name: "not master, own group unknown, task group", files: map[string]string{info + fileInstance: `{"isMaster":false}`, info + FileJobFlow: jobFlow},
			asked: true, refused: true},
		{name: "not master, no core group, task group under another id", files: map[string]string{info + fileInstance: later, info + FileJobFlow: onlyTask}, tagErr: denied,
			asked: true, refused: true},
		{name: "nothing at all", asked: true, refused: true},
		{name: "files that say nothing", files: map[string]string{info + FileJobFlow: "{}"}, asked: true, refused: true},
		{name: "files that cannot be read are not missing", files: map[string]string{info + FileExtra: "{", info + fileInstance + "/x": ""}, asked: true, refused: true},
		{name: "an odd tag is no role", tags: tag("GATEWAY"), asked: true, refused: true},
	}
	messages := golden.Open(t, "role.txt")
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
			if test.refused {
				unknown := (*RoleError)(nil)
				if !errors.As(err, &unknown) || test.tagErr != nil && !errors.Is(unknown.Tag, test.tagErr) || got.Role != "" {
					t.Fatalf("role %q, %#v", got.Role, err)
				}
				messages.Is(t, test.name, err.Error())
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Role != test.want {
				t.Errorf("got %s from %s, want %s", got.Role, got.Source, test.want)
			}
			messages.Is(t, test.name, strings.Join(append([]string{string(got.Role) + " from " + got.Source}, got.Warnings...), "\n"))
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
