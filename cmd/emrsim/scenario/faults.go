package scenario

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/pflag"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
)

// faultCommands are failures of AWS, of the network to it, and of nodes in the middle of a run.
func faultCommands() map[string]Command {
	return map[string]Command{
		"when":     {Usage: "when [--nth N] NODES CALL|log:PATTERN kill|kill-before|lose|break|throttle|fail|deny|cut SERVICE", About: "Arms a fault for the next call of each node: CALL is SERVICE:ACTION as in IAM policies, imds:GetMetadata, or any. With log:PATTERN it waits for a line of the node's log that matches a regular expression, as after a change of the kernel, and the fault can only be kill. kill ends all programs of the node when the call has had its effect, kill-before ends them before it. lose loses the answer, break ends it in the middle. cut SERVICE answers nothing more from then on.", least: 3, most: 4, flags: whenFlags},
		"cut":      {Usage: "cut NODES SERVICE...", About: "Answers no call of nodes to ssm, ec2 or imds any more.", least: 2, most: -1, parse: parseCut},
		"heal":     {Usage: "heal [NODES]", About: "Ends all faults, of nodes or of all nodes: cut, when, deny.", most: 1, parse: parseHeal},
		"deny":     {Usage: "deny ACTION...", About: "Lets IAM deny actions to all nodes: ec2:CreateTags.", least: 1, most: -1, parse: parseDeny},
		"throttle": {Usage: "throttle BUCKET RATE", About: "Lets other users of the account use RATE calls per second of a quota from now on, and empties it now: ssm:PutParameter 2.5.", least: 2, most: 2, parse: parseThrottle},
	}
}

// faults decides about every call to AWS.
type faults struct {
	mu     sync.Mutex
	cut    map[string][]string // services that do not answer, by instance
	armed  []*armed
	denied []string
}

// armed is a fault that waits for a call.
type armed struct {
	node   *lab.Node
	call   string
	nth    int
	action string
	cut    string
	log    *regexp.Regexp // waits for a line and not for a call, if not nil
}

// services are those that can be cut off.
var services = []string{"ssm", "ec2", "imds"}

// decide is the model's fault hook.
func (f *faults) decide(call cloud.Call) cloud.FaultAction {
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.Contains(f.cut[call.Caller], call.Service) {
		return cloud.FaultAction{Kind: cloud.FaultHang}
	}
	for i, a := range f.armed {
		if a.log != nil || a.node.Instance != call.Caller || (a.call != "any" && a.call != call.Key()) {
			continue
		}
		if a.nth--; a.nth > 0 {
			continue
		}
		f.armed = slices.Delete(f.armed, i, i+1)
		switch a.action {
		case "kill":
			return cloud.FaultAction{Kind: cloud.FaultHangAfter, Then: a.node.Kill}
		case "kill-before":
			go a.node.Kill()
			return cloud.FaultAction{Kind: cloud.FaultHang}
		case "lose":
			return cloud.FaultAction{Kind: cloud.FaultLose}
		case "break":
			return cloud.FaultAction{Kind: cloud.FaultBreak}
		case "fail":
			return cloud.FaultAction{Kind: cloud.FaultFail}
		case "deny":
			return cloud.FaultAction{Kind: cloud.FaultFail, Status: 400, Code: "AccessDeniedException", Message: "User is not authorized to perform: " + call.Key()}
		case "throttle":
			if call.Service == "ec2" {
				return cloud.FaultAction{Kind: cloud.FaultFail, Status: 503, Code: "RequestLimitExceeded", Message: "Request limit exceeded."}
			}
			return cloud.FaultAction{Kind: cloud.FaultFail, Status: 400, Code: "ThrottlingException", Message: "Rate exceeded"}
		case "cut":
			f.cut[call.Caller] = append(f.cut[call.Caller], a.cut)
			if call.Service == a.cut {
				return cloud.FaultAction{Kind: cloud.FaultHangAfter}
			}
		}
		return cloud.FaultAction{}
	}
	return cloud.FaultAction{}
}

// heard is called for each line that a node prints.
func (f *faults) heard(e lab.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, a := range f.armed {
		if a.log == nil || a.node.Name != e.Node || !a.log.MatchString(e.Text) {
			continue
		}
		if a.nth--; a.nth > 0 {
			continue
		}
		f.armed = slices.Delete(f.armed, i, i+1)
		a.node.Kill()
		return
	}
}

// authorize is the account's policy beside those of the nodes.
func (f *faults) authorize(r cloud.AccessRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Caller.InstanceID != "" && slices.Contains(f.denied, r.Action) {
		return fmt.Errorf("the scenario denies %s", r.Action)
	}
	return nil
}

func whenFlags(f *pflag.FlagSet) reader {
	nth := f.Int("nth", 1, "")
	return func(words []string) (step, error) { return parseWhen(*nth, words) }
}

func parseWhen(nth int, words []string) (step, error) {
	var err error
	a := armed{call: words[1], nth: nth, action: words[2]}
	if pattern, isLog := strings.CutPrefix(a.call, "log:"); isLog {
		if a.log, err = regexp.Compile(pattern); err != nil {
			return nil, err
		}
		if a.action != "kill" {
			return nil, fmt.Errorf("%s after a line of the log: only kill", a.action)
		}
	} else if service, action, found := strings.Cut(a.call, ":"); a.call != "any" && (!found || action == "" || !slices.Contains(services, service)) {
		return nil, fmt.Errorf("%q is no call: SERVICE:ACTION with one of %v, or any", a.call, services)
	}
	if nth < 1 {
		return nil, fmt.Errorf("--nth %d: from 1", nth)
	}
	switch a.action {
	case "cut":
		if len(words) != 4 || !slices.Contains(services, words[3]) {
			return nil, fmt.Errorf("cut what? one of %v", services)
		}
		a.cut = words[3]
	case "kill", "kill-before", "lose", "break", "throttle", "fail", "deny":
		if len(words) == 4 {
			return nil, fmt.Errorf("%q after %s", words[3], a.action)
		}
	default:
		return nil, fmt.Errorf("%q: kill, kill-before, lose, break, throttle, fail, deny or cut", a.action)
	}
	return func(p *play) error {
		nodes, err := p.nodes(words[0])
		if err != nil {
			return err
		}
		p.faults.mu.Lock()
		defer p.faults.mu.Unlock()
		for _, n := range nodes {
			one := a
			one.node = n
			p.faults.armed = append(p.faults.armed, &one)
		}
		return nil
	}, nil
}

func parseCut(words []string) (step, error) {
	for _, s := range words[1:] {
		if !slices.Contains(services, s) {
			return nil, fmt.Errorf("%q: one of %v", s, services)
		}
	}
	return func(p *play) error {
		nodes, err := p.nodes(words[0])
		if err != nil {
			return err
		}
		p.faults.mu.Lock()
		defer p.faults.mu.Unlock()
		for _, n := range nodes {
			p.faults.cut[n.Instance] = append(p.faults.cut[n.Instance], words[1:]...)
		}
		return nil
	}, nil
}

func parseHeal(words []string) (step, error) {
	return func(p *play) error {
		pattern := "all"
		if len(words) == 1 {
			pattern = words[0]
		}
		nodes, err := p.nodes(pattern)
		if err != nil {
			return err
		}
		p.faults.mu.Lock()
		defer p.faults.mu.Unlock()
		for _, n := range nodes {
			delete(p.faults.cut, n.Instance)
			p.faults.armed = slices.DeleteFunc(p.faults.armed, func(a *armed) bool { return a.node.Instance == n.Instance })
		}
		if pattern == "all" {
			p.faults.denied = nil
		}
		return nil
	}, nil
}

func parseDeny(words []string) (step, error) {
	return func(p *play) error {
		p.faults.mu.Lock()
		defer p.faults.mu.Unlock()
		p.faults.denied = append(p.faults.denied, words...)
		return nil
	}, nil
}

func parseThrottle(words []string) (step, error) {
	rate, err := strconv.ParseFloat(words[1], 64)
	if err != nil || rate < 0 {
		return nil, fmt.Errorf("%q calls per second", words[1])
	}
	return onCluster(func(p *play, c *lab.Cluster) error {
		if quotas := p.spec.Account.Quotas; quotas[words[0]] == (cloud.Quota{}) {
			return errors.New("the account has no quota " + words[0])
		}
		c.Cloud.Drain(words[0], rate)
		c.Cloud.Exhaust(words[0])
		return nil
	}), nil
}
