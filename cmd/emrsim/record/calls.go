package record

import (
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// addCalls adds the calls of the recording's nodes to AWS.
func (c *Recorder) addCalls(calls []cloud.Call) {
	names := map[string]string{} // by instance
	for _, n := range c.r.Nodes {
		names[n.Instance] = n.Name
	}
	for _, call := range calls {
		node := names[call.Caller]
		if node == "" || call.Service == "imds" {
			continue
		}
		from := call.Began
		if from.IsZero() || from.Before(c.r.Start) {
			from = call.Time
		}
		r := Call{
			Node: node, Service: call.Service, Action: call.Action, Detail: call.Params, From: c.at(from),
			Seconds: call.Took.Seconds(), Result: "ok", Throttled: call.Throttled(), Lost: call.Lost,
		}
		if call.Code != "" {
			r.Result = call.Code
		}
		if call.Fault != cloud.FaultNone {
			r.Fault = call.Fault.String()
		}
		c.r.Calls = append(c.r.Calls, r)
		c.signal(node, r.From, call.Service+":"+call.Action, "")
		if call.Applied {
			c.r.Ledger = append(c.r.Ledger, changes(c.at(call.Time), node, call)...)
		}
	}
	slices.SortStableFunc(c.r.Calls, func(a, b Call) int { return compare(a.From, b.From) })
	byNode := c.r.byNode()
	for _, n := range c.r.Nodes {
		for i := range n.Runs {
			run := &n.Runs[i]
			run.Calls = 0
			for _, call := range byNode[n.Name] {
				if call.From >= run.From && (run.Until < 0 || call.From <= run.Until) {
					run.Calls++
				}
			}
		}
	}
}

// byNode returns the calls of each node.
func (r *Recording) byNode() map[string][]Call {
	calls := map[string][]Call{}
	for _, c := range r.Calls {
		calls[c.Node] = append(calls[c.Node], c)
	}
	return calls
}

// changes returns what a call that took effect has changed.
func changes(at float64, node string, call cloud.Call) (list []Change) {
	add := func(what, address string) {
		if a, err := netip.ParseAddr(address); err == nil {
			list = append(list, Change{at, a, node, what})
		}
	}
	words := strings.FieldsFunc(call.Params, func(r rune) bool { return r == ',' || r == ' ' })
	switch call.Key() {
	case "ec2:AssignPrivateIpAddresses":
		for _, w := range words {
			add(ChangeAssigned, w)
		}
	case "ec2:UnassignPrivateIpAddresses":
		for _, w := range words {
			add(ChangeUnassigned, w)
		}
	case "ssm:PutParameter", "ssm:DeleteParameter":
		for _, w := range words {
			if name, ok := strings.CutPrefix(w, "Name="); ok {
				what := ChangeRecorded
				if call.Action == "DeleteParameter" {
					what = ChangeDeleted
				}
				add(what, path.Base(name))
			}
		}
	}
	return list
}

// ended returns the ends of addresses whose instances ended.
func ended(changes []Change, nodes []*Node) (list []Change) {
	for _, n := range nodes {
		if !n.Ended {
			continue
		}
		holds := map[netip.Addr]bool{}
		for _, ch := range changes {
			if ch.Node == n.Name && (ch.What == ChangeAssigned || ch.What == ChangeUnassigned) {
				holds[ch.Address] = ch.What == ChangeAssigned
			}
		}
		for a, still := range holds {
			if still {
				list = append(list, Change{n.Until, a, n.Name, ChangeEnded})
			}
		}
	}
	return list
}
