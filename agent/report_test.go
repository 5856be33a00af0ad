package agent

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/output"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

func TestReportRender(t *testing.T) {
	full := Report{
		Role: RoleCore, RoleSource: "job-flow.json", InstanceID: "i-0a1", ClusterID: "j-1", SubnetID: "subnet-1", ENI: "eni-1", Link: "ens5",
		Backend: "iptables v1.8.9 (nf_tables)", Primary: netip.MustParseAddr("10.0.1.99"), Static: netip.MustParseAddr("10.0.1.11"),
		Changes: []string{"claimed 10.0.1.11", "nft -f - <<EOF\nadd table ip x\nEOF"}, Unchanged: 9,
		Calls: map[string]int{"ssm:PutParameter": 1, "ec2:AssignPrivateIpAddresses": 2}, Throttled: 1, Duration: 1250 * time.Millisecond,
		Notes: []string{"Name is x\x1b[2J"}, Warnings: []string{"careful"},
	}
	tests := []struct {
		name   string
		report Report
	}{
		{"full", full},
		{"left alone", Report{Role: RoleTask, RoleSource: "--role", ENI: "eni-1", LeftAlone: "a task node"}},
	}
	texts := golden.Open(t, "report.txt")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := test.report.Render(&b, "text"); err != nil {
				t.Fatal(err)
			}
			texts.Is(t, test.name, b.String())
			if !strings.HasSuffix(b.String(), "\n"+test.report.Summary()+"\n") {
				t.Error("the summary is not the last line")
			}
		})
	}
}

// TestReportJSON compares the JSON form of a report, on which programs rely.
func TestReportJSON(t *testing.T) {
	for _, test := range []struct {
		report Report
		want   string
	}{
		{Report{}, `{"version":0,"tool_version":"","tool":"","exit_code":0,"dry_run":false,"changes":[],"unchanged":0,"calls":{},"notes":[],"warnings":[],"seconds":0}`},
		{Report{Head: output.Head{Version: 1, ToolVersion: "v1", Tool: "v1", Exit: 4}, Role: RoleCore, RoleSource: "--role", InstanceID: "i-1", ClusterID: "j-1", SubnetID: "subnet-1", ENI: "eni-1", Link: "ens5", Backend: "nftables",
			Primary: netip.MustParseAddr("10.0.1.99"), Static: netip.MustParseAddr("10.0.1.11"), DryRun: true, LeftAlone: "x", Changes: []string{"a <b>\x1b"}, Unchanged: 9,
			Calls: map[string]int{"ssm:PutParameter": 1}, Throttled: 1, Duration: 1250 * time.Millisecond, Notes: []string{"n"}, Warnings: []string{"w"}},
			`{"version":1,"tool_version":"v1","tool":"v1","exit_code":4,"role":"CORE","role_source":"--role","instance":"i-1","cluster":"j-1","subnet":"subnet-1","eni":"eni-1","link":"ens5","backend":"nftables",` +
				`"primary":"10.0.1.99","static":"10.0.1.11","dry_run":true,"left_alone":"x","changes":["a <b>\u001b"],"unchanged":9,"calls":{"ssm:PutParameter":1},"throttled":1,` +
				`"notes":["n"],"warnings":["w"],"seconds":1.25}`},
	} {
		var b bytes.Buffer
		if err := test.report.Render(&b, "json"); err != nil || b.String() != test.want+"\n" {
			t.Errorf("%v\n%s want\n%s", err, &b, test.want)
		}
	}
}

func TestRemedies(t *testing.T) {
	inner := &Error{Code: ExitPermission, Err: errors.New("a"), Remedy: "first"}
	err := fmt.Errorf("all: %w", errors.Join(inner, fmt.Errorf("b: %w", &Error{Code: ExitUsage, Err: inner, Remedy: "second"}), nil, &Error{Err: errors.New("none")}))
	if got, want := exit.Remedies(err), []string{"first", "second"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if exit.Remedies(nil) != nil {
		t.Error("a remedy for nothing")
	}
}

func TestCodes(t *testing.T) {
	inner := &Error{Code: ExitPermission, Err: errors.New("a")}
	if err := exit.With(ExitUsage, fmt.Errorf("b: %w", inner), "x"); CodeOf(err) != ExitPermission {
		t.Errorf("the innermost cause does not decide: %d", CodeOf(err))
	}
	if exit.With(ExitUsage, nil, "x") != nil {
		t.Error("an error of nothing")
	}
	seen := map[string]ExitCode{}
	for _, c := range []ExitCode{ExitOK, ExitUsage, ExitIdentity, ExitPermission, ExitUnreachable, ExitNoAddress, ExitKernel, ExitDeadline, ExitNotRoot, ExitInterrupt} {
		if other, ok := seen[c.Meaning()]; ok || c.Meaning() == "failed" {
			t.Errorf("%d means the same as %d: %s", c, other, c.Meaning())
		}
		seen[c.Meaning()] = c
	}
}

func TestVersionOf(t *testing.T) {
	build := func(version string, settings ...string) *debug.BuildInfo {
		info := &debug.BuildInfo{Main: debug.Module{Version: version}}
		for i := 0; i < len(settings); i += 2 {
			info.Settings = append(info.Settings, debug.BuildSetting{Key: settings[i], Value: settings[i+1]})
		}
		return info
	}
	for _, test := range []struct {
		stamped string
		info    *debug.BuildInfo
		want    string
	}{
		{"v1.2.3", build("v9"), "v1.2.3"},
		{"", nil, "v0.9.0-devel"},
		{"", build("v1.4.0"), "v1.4.0"},
		{"", build("(devel)"), "v0.9.0-devel"},
		{"", build("", "vcs.revision", "0123456789abcdef", "vcs.modified", "true"), "v0.9.0-devel-0123456789ab+changes"},
		{"", build("(devel)", "vcs.revision", "0123", "vcs.modified", "false"), "v0.9.0-devel-0123"},
	} {
		if got := versionOf(test.stamped, test.info); got != test.want {
			t.Errorf("%+v: got %s", test, got)
		}
	}
}
