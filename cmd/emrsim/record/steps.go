package record

import (
	"regexp"
	"slices"
	"strings"
)

// A signal says that a node has come to a step, or that something happened to it.
type signal struct {
	at   float64
	kind string // a step, or stepNone
	text string
	run  bool // a run begins: other steps are parts of a run
}

// stepNone ends the step under way.
const stepNone = "none"

func (c *Recorder) signal(node string, at float64, kind, text string) {
	if node != "" {
		c.signals[node] = append(c.signals[node], signal{at: at, kind: kind, text: text})
	}
}

// logPrefix matches what comes before the text of an agent's log line.
var logPrefix = regexp.MustCompile(`^\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d{4}) +(DEBUG|INFO|WARN|ERROR) +`)

// stepOf returns the step to which a line of the agent's log leads; empty for other lines.
func stepOf(line string) string {
	prefix := logPrefix.FindString(line)
	if prefix == "" {
		return ""
	}
	text := line[len(prefix):]
	for _, s := range logSteps {
		if strings.HasPrefix(text, s.begins) {
			return s.kind
		}
	}
	return ""
}

// logSteps are the beginnings of the agent's lines. Each line is written when a step is done, so it
// leads to the next one.
var logSteps = []struct{ begins, kind string }{
	{"identified the node", StepChoose},
	{"kept ", StepProgram},
	{"assigned ", StepProgram},
	{"refused ", StepChoose},
	{"waiting", StepWait},
	{"pacing", StepWait},
	{"ip addr add", StepProgram},
	{"set the ", StepProgram},
	{"recorded ", StepFinish},
	{"repaired ", StepFinish},
	{"taken over ", StepFinish},
	{"released ", StepRelease},
	{"unassigned ", StepRelease},
}

// stepOfCall returns the step to which a call leads, given the step under way. A call that says
// nothing about the step returns an empty string.
func stepOfCall(service, action, under string) string {
	switch service + ":" + action {
	case "ec2:AssignPrivateIpAddresses":
		return StepAssign
	case "ssm:PutParameter":
		return StepRecord
	case "ssm:DeleteParameter", "ec2:UnassignPrivateIpAddresses":
		return StepRelease
	}
	if (under == StepIdentify || under == StepWait) && (service == "ssm" || service == "ec2") {
		return StepChoose
	}
	return ""
}

// moments are the kinds of steps that take no time. True: the step under way ends with it.
var moments = map[string]bool{StepKilled: true, StepRebooted: true, StepEnded: true, StepFailed: true, StepEvent: false}

// steps makes the steps of one node from its signals. A step lasts until the next signal.
func steps(signals []signal, end float64) []Step {
	signals = slices.Clone(signals)
	slices.SortStableFunc(signals, func(a, b signal) int { return compare(a.at, b.at) })
	var list []Step
	under := -1 // index of the step under way
	for _, s := range signals {
		kind := s.kind
		if service, action, ok := strings.Cut(kind, ":"); ok {
			if under < 0 { // a call of another program on the node
				continue
			}
			if kind = stepOfCall(service, action, list[under].Kind); kind == "" {
				continue
			}
		}
		ends, moment := moments[kind]
		if under < 0 && !moment && !s.run { // a line that comes after its run
			continue
		}
		if under >= 0 && (!moment || ends) && list[under].Kind != kind {
			list[under].Until = s.at
			under = -1
		}
		switch {
		case moment:
			list = append(list, Step{kind, s.at, s.at, s.text})
		case kind != stepNone && under < 0:
			list = append(list, Step{kind, s.at, end, s.text})
			under = len(list) - 1
		}
	}
	return list
}
