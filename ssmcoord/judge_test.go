package ssmcoord

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

var (
	clock = time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	self  = Self{Instance: "i-0aaa", ENI: "eni-0aaa", Cluster: "j-SELF", Role: "CORE"}
)

func claimedBy(instance string, age time.Duration) Entry {
	return Entry{State: Claimed, Modified: clock.Add(-age), Record: Record{Version: 1, Instance: instance, ENI: "eni-0bbb", Cluster: "j-OTHER", Role: "CORE", Time: clock.Add(-age)}}
}

// Every combination of what the ledger says, who carries the address, and whether the owner lives,
// against the action that is safe. The expectation is written out by the rule, not by the code.
func TestJudge(t *testing.T) {
	messages := golden.Open(t, "judge.txt")
	unreadable := Entry{State: Unreadable, Modified: clock.Add(-time.Hour), Problem: errors.New("no JSON")}
	own := Holder{ENI: "eni-0aaa", Instance: "i-0aaa"}
	other := Holder{ENI: "eni-0ccc", Instance: "i-0ccc"}
	for _, tt := range []struct {
		name   string
		entry  Entry
		holder Holder
		life   Life
		want   Action
	}{
		{name: "free", want: Take},
		{name: "own record, not assigned", entry: claimedBy("i-0aaa", time.Minute), want: Take},
		{name: "own record, assigned", entry: claimedBy("i-0aaa", time.Minute), holder: own, want: Keep},
		{name: "no record, assigned here", holder: own, want: Keep},
		{name: "record of a living node, assigned here", entry: claimedBy("i-0bbb", time.Minute), holder: own, life: Living, want: Keep},
		{name: "unreadable, assigned here", entry: unreadable, holder: own, want: Keep},
		{name: "living owner", entry: claimedBy("i-0bbb", 100*time.Hour), life: Living, want: Skip},
		{name: "terminated owner", entry: claimedBy("i-0bbb", time.Second), life: Terminated, want: TakeOver},
		{name: "terminated owner, carried elsewhere", entry: claimedBy("i-0bbb", time.Hour), holder: other, life: Terminated, want: Skip},
		{name: "unseen owner, old record", entry: claimedBy("i-0bbb", DescribeLag), life: Unseen, want: TakeOver},
		{name: "unseen owner, fresh record", entry: claimedBy("i-0bbb", DescribeLag-time.Second), life: Unseen, want: Skip},
		{name: "unreadable", entry: unreadable, want: Skip},
		{name: "unreadable, carried elsewhere", entry: unreadable, holder: other, want: Skip},
		{name: "held outside the ledger", holder: other, want: Skip},
		{name: "held outside, own record", entry: claimedBy("i-0aaa", time.Minute), holder: other, want: Skip},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := Judge(self, tt.entry, tt.holder, tt.life, clock)
			if v.Action != tt.want {
				t.Errorf("got %s, want %s", v.Action, tt.want)
			}
			messages.Is(t, tt.name, v.Action.String()+": "+v.Reason)
		})
	}
}

// An address on another interface of the node itself is not freed by waiting: the reason names the
// command that does it, although the node is a member of the cluster.
func TestInUseBesideSelf(t *testing.T) {
	c := New(Options{Self: Self{Instance: "i-1", ENI: "eni-1", Cluster: "j-1"}})
	a := netip.MustParseAddr("10.0.1.20")
	texts := golden.Open(t, "in-use.txt")
	for name, holder := range map[string]Holder{
		"another interface of this node":                    {ENI: "eni-2", Instance: "i-1", Cluster: "j-1"},
		"another interface of this node, as its primary IP": {ENI: "eni-2", Instance: "i-1", Primary: true},
		"a stranger":          {ENI: "eni-2", Instance: "i-2"},
		"a member that ended": {ENI: "eni-2", Instance: "i-3", Cluster: "j-1"},
	} {
		v := &View{Holders: map[netip.Addr]Holder{a: holder}, Members: []Member{{Instance: "i-1"}, {Instance: "i-3"}}}
		if !c.held(v, a) {
			t.Errorf("%s: not in use", name)
		}
		texts.Is(t, name, c.of(a).skipped)
	}
}

// A record may be younger than the server's clock says, which has whole seconds.
func TestExhaustedByAYoungRecord(t *testing.T) {
	e := &ExhaustedError{Role: "CORE", now: clock, Addresses: []HeldAddress{{Addr: netip.MustParseAddr("10.0.1.20"), Reason: "taken", Since: clock.Add(900 * time.Millisecond)}}}
	if text := e.Error(); !strings.HasSuffix(text, "taken, for 0s") {
		t.Error(text)
	}
}
