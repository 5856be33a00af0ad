package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// status compares the kernel with what is wanted; with nothing where the node uses no static IP.
// former are the addresses that it must not keep.
func (k *kernel) status(ctx context.Context, s *Status, former []netip.Addr, active bool) error {
	o, err := k.observe(ctx)
	if err != nil {
		return err
	}
	s.Link, s.Backend, s.Conntrack = o.Link.Name, k.session.Kernel.Backend(), o.Conntrack
	s.Notes = append(s.Notes, o.Notes...)
	s.Kernel = KernelItems(o, k.wanted(s.Static, former), active)
	if !active {
		return nil
	}
	items, notes := UntrackedItems(ctx, k.session.Kernel, k.wanted(s.Static, nil), o.Link.Name)
	s.Kernel, s.Notes = append(s.Kernel, items...), append(s.Notes, notes...)
	items, notes = WayOutItems(ctx, k.session.Kernel, k.wanted(s.Static, nil), o.Link.Name)
	s.Kernel, s.Notes = append(s.Kernel, items...), append(s.Notes, notes...)
	others, err := k.session.Kernel.Redirections(ctx, s.Static)
	if err != nil {
		others = []string{"the rules of others for " + s.Static.String() + " could not be read: " + err.Error()}
	}
	s.Notes = append(s.Notes, text.Limited(others)...)
	return nil
}

// itemTracking is about rules of others that keep packets from connection tracking.
const itemTracking = "connection tracking"

// UntrackedItems says which rules of others keep the node's traffic from connection tracking, so
// that it is not translated. A rule that only may do so is a note. A table that could not be read
// is unknown.
func UntrackedItems(ctx context.Context, k netcfg.Kernel, want netcfg.Config, link string) (items []Item, notes []string) {
	rules, err := k.Untracked(ctx, want, link)
	for _, u := range rules {
		if u.Sure && len(items) < text.MaxProblems {
			items = append(items, Item{What: itemTracking, State: itemDiffers, Detail: u.String()})
		} else {
			notes = append(notes, u.String())
		}
	}
	if err != nil {
		items = append(items, Item{What: itemTracking, State: itemUnknown, Detail: text.Line(err.Error())})
	}
	return items, text.Limited(notes)
}

// itemWayOut is about the node's routes.
const itemWayOut = "way out"

// WayOutRemedy says what to do about routes that leave the static IP nothing.
const WayOutRemedy = "let the networks that are to see the static IP leave by the primary interface (ip route, ip rule)"

// WayOutItems says what the node's routes keep from getting the static IP. If they leave it
// nothing, that is a difference: nobody sees the static IP, whatever the rules are. If they lead
// elsewhere in part, as those of a VPN do, that may be the operator's will: a note.
func WayOutItems(ctx context.Context, k netcfg.Kernel, want netcfg.Config, link string) (items []Item, notes []string) {
	out, err := netcfg.FindWayOut(ctx, k, want, link)
	switch {
	case err != nil:
		notes = append(notes, "the routes could not be read: "+text.Line(err.Error()))
	case out.None:
		items = append(items, Item{What: itemWayOut, State: itemDiffers, Detail: out.Notes[0]})
		out.Notes = out.Notes[1:]
	}
	return items, append(notes, out.Notes...)
}

// KernelItems compares what the kernel has with what is wanted of it: want if the static IP is in
// use (active), and otherwise nothing.
func KernelItems(o netcfg.Observed, want netcfg.Config, active bool) (items []Item) {
	add := func(what, state, detail string) {
		items = append(items, Item{What: what, State: state, Detail: detail})
	}
	rules := netcfg.RuleSet{}
	former := want.Former
	want.Former = nil
	if active {
		rules = want.Desired(o.Link.Name).For(o.Backend)
	}
	if want.Static.IsValid() {
		entries := o.Link.Find(want.Static)
		switch {
		case active && len(entries) == 0:
			add("address "+want.Static.String(), itemMissing, "")
		case active:
			add("address "+entries[0].Prefix.String(), itemPresent, "")
		case len(entries) > 0:
			add("address "+entries[0].Prefix.String(), itemForeign, "")
		}
	}
	for _, f := range former {
		for _, e := range o.Link.Find(f) {
			add("address "+e.Prefix.String(), itemForeign, "a former static IP")
		}
	}
	_, same := o.Rules.Differences(rules)
	if same > 0 {
		add(fmt.Sprintf("%d of %d chains and jumps (%s)", same, len(rules.Chains)+len(rules.Jumps), o.Backend), itemPresent, "")
	}
	findings := o.Rules.Findings(rules)
	if hidden := hiddenChains(o.Rules); active && o.Unusable != nil && len(hidden) > 0 {
		findings = slices.DeleteFunc(findings, func(f netcfg.Finding) bool {
			return f.Kind != netcfg.NotFirst && slices.Contains(hidden, chainOf(f.What))
		})
		if n := len(hidden) - 2; n > 1 {
			hidden = append(hidden[:2], fmt.Sprintf("%d more chains", n))
		}
		add("rules of "+strings.Join(hidden, " and "), itemUnknown, "they are there, and the backend does not show them")
	}
	for _, f := range netcfg.Shorten(findings) {
		add(f.What, string(f.Kind), f.Detail)
	}
	if active && o.Link.Down {
		add("link "+o.Link.Name, itemDiffers, "it is down")
	}
	if v := want.Judge(o); active && (v.Condition == netcfg.Overtaken || v.Condition == netcfg.Dormant) {
		add("rules "+string(v.Condition), itemDiffers, v.Detail)
	}
	if o.Unusable != nil && !o.Dormant {
		add("backend "+string(o.Backend), itemDiffers, text.Line(o.Unusable.Error()))
	}
	for _, b := range []netcfg.Backend{netcfg.IptablesLegacy, netcfg.IptablesNFT, netcfg.Nftables} {
		if stray := o.Strays[b]; !stray.Empty() {
			for _, f := range netcfg.Shorten(stray.Findings(netcfg.RuleSet{})) {
				add(f.What, itemForeign, "in "+string(b)+", which is not in use")
			}
		}
	}
	return items
}

// hiddenChains returns the chains with rules that could not be read. They may be those that are
// wanted.
func hiddenChains(rules netcfg.RuleSet) (names []string) {
	for _, c := range rules.Chains {
		if slices.ContainsFunc(c.Rules, netcfg.Rule.Hidden) {
			names = append(names, c.Name)
		}
	}
	return names
}

// chainOf returns the chain of a rule in the words of iptables, "-A CHAIN ...".
func chainOf(rule string) string {
	if words := strings.Fields(rule); len(words) > 1 {
		return words[1]
	}
	return ""
}
