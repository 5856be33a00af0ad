package lab

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// Failures of AWS: permissions, endpoints, the metadata service.

// permissionFailures deny each action that apply and release use.
func permissionFailures() []failure {
	denied := func(action string, more failure) failure {
		f := more
		f.name, f.code = "denied "+strings.ReplaceAll(action, ":", " "), 4
		prepare := more.prepare
		f.prepare = func(t *testing.T, s *site) {
			if prepare != nil {
				prepare(t, s)
			}
			s.deny(action)
		}
		return f
	}
	assigned := func(t *testing.T, s *site) {
		// The program checks the room on the interface only if there is a second address.
		s.assignOne(t)
	}
	return []failure{
		denied("ssm:GetParameters", failure{}),
		denied("ssm:PutParameter", failure{changed: true, after: goesOn}),
		denied("ec2:DescribeInstances", failure{}),
		denied("ec2:DescribeInstanceTypes", failure{prepare: assigned}),
		denied("ec2:AssignPrivateIpAddresses", failure{after: goesOn}),
		denied("ec2:DescribeNetworkInterfaces", failure{prepare: applied, after: goesOn}),
		denied("ec2:UnassignPrivateIpAddresses", failure{prepare: applied, args: []string{"release"}, changed: true, after: goesOn}),
		denied("ssm:DeleteParameter", failure{prepare: applied, args: []string{"release"}, changed: true, after: goesOn}),
		// Like every release it takes rules and address out of the kernel before it calls AWS.
		denied("ssm:GetParametersByPath", failure{args: []string{"release"}, changed: true, after: goesOn, prepare: func(t *testing.T, s *site) {
			applied(t, s)
			s.inside(t, func() error { return os.Remove(stateFile) }) // a release then reads the ledger
		}}),
		{name: "clock wrong", code: 4, cluster: func(s *ClusterSpec) { s.Account.ClockSkew = 12 * time.Minute }},
		{ // The Name tag is optional: the node gets its address without it.
			name: "denied ec2 CreateTags", changed: true,
			prepare: func(_ *testing.T, s *site) { s.deny("ec2:CreateTags") },
			after:   func(t *testing.T, s *site, got Result) { expectDone(t, s.Cluster, s.core, got) },
		},
		{ // The same holds for the tag of a suppressed failure. A later run removes it as soon as that is allowed.
			name: "denied ec2 DeleteTags", changed: true,
			prepare: func(t *testing.T, s *site) {
				s.deny("ssm:PutParameter")
				got := start(t, s.Cluster, s.core, Command{Args: append([]string{"--on-error", "continue"}, list...)})
				if got.ExitCode != 0 || errorTag(s.Cluster, s.core) == "" {
					t.Fatalf("exit code %d, tag %q\n%s", got.ExitCode, errorTag(s.Cluster, s.core), got.Stderr)
				}
				s.deny("ec2:DeleteTags")
			},
			after: func(t *testing.T, s *site, got Result) {
				expectDone(t, s.Cluster, s.core, got)
				if errorTag(s.Cluster, s.core) == "" {
					t.Error("the tag was removed although the action is denied")
				}
				goesOn(t, s, got)
				if errorTag(s.Cluster, s.core) != "" {
					t.Error("the tag was not removed although the action is allowed")
				}
			},
		},
	}
}

// goesOn runs the agent again with nothing denied. The node must get its address.
func goesOn(t *testing.T, s *site, _ Result) {
	s.deny("")
	expectDone(t, s.Cluster, s.core, start(t, s.Cluster, s.core, Command{Args: list, Quiet: true}))
}

// endpointFailures are endpoints that do not answer: packets are dropped, nothing listens, or the
// name is unknown.
func endpointFailures() []failure {
	var all []failure
	for _, service := range []string{"ssm", "ec2"} {
		variable := "AWS_ENDPOINT_URL_" + strings.ToUpper(service)
		all = append(all,
			failure{name: service + " black-holed", code: 5, env: []string{variable + "=http://10.0.0.77"}, within: 8 * time.Second},
			failure{name: service + " refused", code: 5, env: []string{variable + "=http://10.0.0.10:81"}, within: 4 * time.Second},
			failure{name: service + " without DNS", code: 5, env: []string{variable + "=https://" + service + ".us-east-1.amazonaws.com"}, within: 4 * time.Second},
			// The connection is made, but no answer comes, as with a faulty proxy or a wrong MTU.
			failure{name: service + " silent", code: 5, within: 8 * time.Second,
				prepare: func(_ *testing.T, s *site) { s.faults(ofService(service), cloud.FaultAction{Kind: cloud.FaultHang}) }},
		)
	}
	for _, status := range []int{408, 429} { // once for each action, without a code that the SDK knows
		all = append(all, failure{name: fmt.Sprintf("one answer with HTTP %d", status), changed: true,
			prepare: func(_ *testing.T, s *site) {
				var once sync.Map
				s.faults(func(call cloud.Call) bool {
					_, again := once.LoadOrStore(call.Key(), true)
					return call.Service != "imds" && !again
				}, cloud.FaultAction{Kind: cloud.FaultFail, Status: status, Code: "Unknown", Message: "slower"})
			},
			after: func(t *testing.T, s *site, got Result) { expectDone(t, s.Cluster, s.core, got) }})
	}
	return append(all,
		failure{name: "endpoint that the rules cut off", code: 5, cluster: func(s *ClusterSpec) { s.Shape.Public = true }, changed: true,
			// The name is written beside the record, and may come first.
			args: []string{"--only-cidr", "0.0.0.0/0", "--no-name-tag", "10.0.1.10", "10.0.1.11"},
			after: func(t *testing.T, s *site, _ Result) {
				if left := s.Secondary(s.core); len(left) > 0 {
					t.Errorf("EC2 still has %v", left)
				}
			}},
		failure{name: "no endpoint, no DNS at all", code: 5, env: []string{"AWS_ENDPOINT_URL="}, within: 4 * time.Second},
		failure{name: "something else answers for ec2", code: 5, within: 4 * time.Second, env: []string{"AWS_ENDPOINT_URL_EC2=http://10.0.0.11:8080"},
			prepare: portal},
	)
}

func ofService(name string) func(cloud.Call) bool {
	return func(call cloud.Call) bool { return call.Service == name }
}

func ofAction(key string) func(cloud.Call) bool {
	return func(call cloud.Call) bool { return call.Key() == key }
}

// identityFailures are a metadata service that is late, silent or refuses, and a node whose role is
// unknown.
func identityFailures() []failure {
	token := func(action cloud.FaultAction) func(*testing.T, *site) {
		return func(_ *testing.T, s *site) { s.faults(ofAction("imds:PutToken"), action) }
	}
	refused := func(status int) func(*testing.T, *site) {
		return token(cloud.FaultAction{Kind: cloud.FaultFail, Status: status, Message: "no"})
	}
	// IMDS has the roles' names in a list, and the credentials below the name.
	credentials := func(is func(name string) bool, action cloud.FaultAction) func(*testing.T, *site) {
		return func(_ *testing.T, s *site) {
			s.faults(func(call cloud.Call) bool {
				_, name, found := strings.Cut(call.Params, "/iam/security-credentials")
				return call.Service == "imds" && found && is(strings.Trim(name, "/"))
			}, action)
		}
	}
	short := append(slices.Clip(list), "--imds-timeout", "2s")
	return []failure{
		{name: "IMDS late", cluster: func(s *ClusterSpec) { s.IMDSDelay = 2e9 }, changed: true,
			after: func(t *testing.T, s *site, got Result) { expectDone(t, s.Cluster, s.core, got) }},
		{name: "IMDS never comes", cluster: func(s *ClusterSpec) { s.IMDSDelay = 3600e9 }, args: short, code: 5},
		{name: "IMDS hop limit", prepare: token(cloud.FaultAction{Kind: cloud.FaultHang}), args: short, code: 5},
		{name: "IMDS switched off", prepare: refused(403), args: short, code: 3},
		{name: "IMDS version 1 only, 404", prepare: refused(404), args: short, code: 3},
		{name: "IMDS version 1 only, 405", prepare: refused(405), args: short, code: 3},
		{name: "IMDS fails", args: short, code: 3,
			prepare: func(_ *testing.T, s *site) {
				s.faults(func(call cloud.Call) bool {
					return call.Service == "imds" && strings.HasSuffix(call.Params, "/subnet-id")
				}, cloud.FaultAction{Kind: cloud.FaultFail})
			}},
		{name: "role that EC2 may not assume", code: 4, within: 20 * time.Second,
			prepare: credentials(func(name string) bool { return name != "" }, cloud.FaultAction{Kind: cloud.FaultFail, Status: 200,
				Message: `{"Code":"AssumeRoleUnauthorizedAccess","Message":"EC2 cannot assume the role EMR_EC2_DefaultRole."}`})},
		{name: "instance without a role", code: 4, within: 20 * time.Second,
			prepare: credentials(func(name string) bool { return name == "" }, cloud.FaultAction{Kind: cloud.FaultFail, Status: 404, Message: "Not Found"})},
		{name: "role not to be told", code: 3,
			prepare: func(t *testing.T, s *site) { s.outsideEMR(t, nil) }},
		{name: "role not to be told from unreadable files", code: 3,
			prepare: func(t *testing.T, s *site) {
				s.outsideEMR(t, map[string][]byte{"/mnt/var/lib/info/job-flow.json": []byte("\x1b[2J{"), "/mnt/var/lib/info/instance.json": nil})
			}},
		{name: "role unknown and the tag denied", code: 4,
			prepare: func(t *testing.T, s *site) {
				s.emrFiles(t, "")
				s.deny("ec2:DescribeInstances")
			}},
		{name: "role from the tag, files unreadable", changed: true,
			prepare: func(t *testing.T, s *site) { s.emrFiles(t, "not JSON") },
			after:   func(t *testing.T, s *site, got Result) { expectDone(t, s.Cluster, s.core, got) }},
	}
}
