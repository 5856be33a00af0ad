package agent

import (
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/state"
)

// unsaid lists the reasons that no item has said already.
func (s *Status) unsaid() (reasons []string) {
	said := map[string]bool{}
	for _, i := range s.items() {
		said[i.Trouble()] = true
	}
	for _, reason := range s.Reasons {
		if !said[reason] {
			reasons = append(reasons, reason)
		}
	}
	return reasons
}

// items lists everything that was looked at.
func (s *Status) items() []Item {
	list := slices.Concat(s.Kernel, s.Units)
	for _, i := range []*Item{s.IMDS, s.EC2, s.Ledger} {
		if i != nil {
			list = append(list, *i)
		}
	}
	return list
}

// remedy says what to do: one line, the most urgent first.
func (s *Status) remedy() {
	has := func(items []Item, fits func(Item) bool) bool {
		return slices.ContainsFunc(items, func(i Item) bool { return i.Trouble() != "" && fits(i) })
	}
	all := func(Item) bool { return true }
	var cloud []Item
	for _, i := range []*Item{s.IMDS, s.EC2, s.Ledger} {
		if i != nil {
			cloud = append(cloud, *i)
		}
	}
	switch {
	case s.Verdict == VerdictInOrder:
	case s.Verdict == VerdictSettling:
		s.Remedy = "nothing; look again in a minute (emr-static-ip status --wait 1m)"
	case s.Verdict == VerdictNotConfigured:
		s.Remedy = "emr-static-ip MASTER_IP CORE_IP... gives this node a static IP"
	case s.Verdict == VerdictWithdrawn:
		s.Remedy = "emr-static-ip, to get an address of the list again; or emr-static-ip release"
	case s.takingBack:
		s.Remedy = "emr-static-ip, without arguments"
	case s.Phase == state.Released, s.Phase == state.Releasing:
		s.Remedy = "emr-static-ip release"
	case has(s.Kernel, func(i Item) bool { return strings.HasPrefix(i.What, "link ") }):
		s.Remedy = "ip link set " + s.Link + " up"
	case has(s.Kernel, func(i Item) bool { return i.What == itemTracking }):
		s.Remedy = "remove the rule that keeps the traffic from connection tracking, or let it spare what is to have the static IP"
	case has(s.Kernel, func(i Item) bool { return i.What == itemWayOut }):
		s.Remedy = WayOutRemedy
	case has(cloud, all):
		s.Remedy = "emr-static-ip, without arguments: it asks EC2 for the address again; emr-static-ip doctor says who has it"
	case s.Phase != state.Programmed, len(s.Pending) > 0, s.unfinished, s.LastError != nil, has(s.Units, all):
		s.Remedy = "emr-static-ip, without arguments"
	case has(s.Kernel, func(i Item) bool { return strings.HasPrefix(i.What, "rules ") || strings.HasPrefix(i.What, "backend ") }):
		s.Remedy = "emr-static-ip --nat-backend nftables: its rules come first"
	case has(s.Kernel, all) && s.otherBackend != "":
		s.Remedy = "emr-static-ip --nat-backend " + s.otherBackend + " changes the backend; emr-static-ip status without --nat-backend compares with the last run's"
	case has(s.Kernel, all):
		s.Remedy = "emr-static-ip restore"
	default:
		s.Remedy = "emr-static-ip doctor"
	}
}
