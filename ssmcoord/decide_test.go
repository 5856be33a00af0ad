package ssmcoord

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	clock = time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	self  = Self{Instance: "i-0aaa", ENI: "eni-0aaa", Cluster: "j-SELF", Role: "CORE"}
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func claimedBy(instance string, age time.Duration) Entry {
	return Entry{State: Claimed, Modified: clock.Add(-age), Record: Record{Version: 1, Instance: instance, ENI: "eni-0bbb", Cluster: "j-OTHER", Role: "CORE", Time: clock.Add(-age)}}
}

// Every combination of what the ledger says, who carries the address and whether the owner lives, against the action
// that is safe. The expectation is written out by the rule, not by the code.
func TestJudge(t *testing.T) {
	unreadable := Entry{State: Unreadable, Modified: clock.Add(-time.Hour), Problem: errors.New("no JSON")}
	own := Holder{ENI: "eni-0aaa", Instance: "i-0aaa"}
	other := Holder{ENI: "eni-0ccc", Instance: "i-0ccc"}
	primary := Holder{ENI: "eni-0ccc", Instance: "i-0ccc", Primary: true}
	for _, tt := range []struct {
		name     string
		entry    Entry
		holder   Holder
		life     Life
		reassign bool
		want     Action
		giveUp   bool
		reason   string
	}{
		{name: "free", want: Create},
		{name: "own claim, not attached", entry: claimedBy("i-0aaa", time.Minute), want: Resume},
		{name: "own claim, attached", entry: claimedBy("i-0aaa", time.Minute), holder: own, want: Keep},
		{name: "no claim, attached here", holder: own, want: Keep},
		{name: "claim of a living node, attached here", entry: claimedBy("i-0bbb", time.Minute), holder: own, life: Living, want: Keep},
		{name: "unreadable, attached here", entry: unreadable, holder: own, want: Keep},
		{name: "living owner", entry: claimedBy("i-0bbb", 100*time.Hour), life: Living, want: Skip, reason: "claimed by i-0bbb of cluster j-OTHER"},
		{name: "terminated owner", entry: claimedBy("i-0bbb", time.Second), life: Terminated, want: TakeOver},
		{name: "terminated owner, carried elsewhere", entry: claimedBy("i-0bbb", time.Hour), holder: other, life: Terminated, want: Skip, reason: "in use by i-0ccc (eni-0ccc)"},
		{name: "unseen owner, old claim", entry: claimedBy("i-0bbb", UnseenGrace), life: Unseen, want: TakeOver},
		{name: "unseen owner, fresh claim", entry: claimedBy("i-0bbb", UnseenGrace-time.Second), life: Unseen, want: Skip, reason: "does not list yet"},
		{name: "unreadable", entry: unreadable, want: Skip, reason: "cannot be read: no JSON"},
		{name: "unreadable, with reassignment", entry: unreadable, holder: other, reassign: true, want: Skip},
		{name: "held outside the ledger", holder: other, want: Skip, reason: "in use by i-0ccc (eni-0ccc)"},
		{name: "held outside, own claim", entry: claimedBy("i-0aaa", time.Minute), holder: other, want: Skip, giveUp: true},
		{name: "held outside, reassignment", holder: other, reassign: true, want: Create},
		{name: "held outside, own claim, reassignment", entry: claimedBy("i-0aaa", time.Minute), holder: other, reassign: true, want: Resume},
		{name: "held as a primary address, reassignment", holder: primary, reassign: true, want: Skip, reason: "primary"},
		{name: "living owner, carried, reassignment", entry: claimedBy("i-0ccc", time.Minute), holder: other, life: Living, reassign: true, want: Skip},
		{name: "terminated owner, carried, reassignment", entry: claimedBy("i-0bbb", time.Minute), holder: other, life: Terminated, reassign: true, want: Skip},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := Judge(self, tt.entry, tt.holder, tt.life, clock, tt.reassign)
			if v.Action != tt.want || v.GiveUp != tt.giveUp || !strings.Contains(v.Reason, tt.reason) {
				t.Errorf("got %s, give up %t, %q; want %s, give up %t, %q", v.Action, v.GiveUp, v.Reason, tt.want, tt.giveUp, tt.reason)
			}
			if v.Reason == "" {
				t.Error("a verdict without a reason")
			}
		})
	}
}

func pool(n int) []netip.Addr {
	list := make([]netip.Addr, n)
	for i := range list {
		list[i] = netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(i%250 + 4)})
	}
	return list
}

// launch is a cluster of one master and n-1 core nodes of which none has an address.
func launch(n int) ([]Member, Pools) {
	addrs := pool(n)
	members := make([]Member, n)
	for i := range members {
		members[i] = Member{Instance: fmt.Sprintf("i-%04x", (i*7919)%65536), Role: "CORE", Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 9, byte(i / 250), byte(i % 250)})}}
	}
	members[0].Role = "MASTER"
	return members, Pools{"MASTER": addrs[:1], "CORE": addrs[1:]}
}

// In a launch no two nodes begin with the same address, each has its own turn, and that stays so however far the others have come.
func TestOrderNeverMeets(t *testing.T) {
	members, pools := launch(60)
	r := rand.New(rand.NewPCG(1, 2))
	for done := 0; done < len(members); done++ {
		first, turns := map[netip.Addr]string{}, map[int]bool{}
		var without []int
		for i, m := range members {
			if len(m.Addresses) == 2 {
				continue
			}
			without = append(without, i)
			me := Self{Instance: m.Instance, Role: m.Role}
			order := Order(me, members, pools)
			if len(order) != len(pools[m.Role]) {
				t.Fatalf("%d of %d addresses in the order", len(order), len(pools[m.Role]))
			}
			if other, met := first[order[0]]; met {
				t.Fatalf("with %d nodes done, %s and %s both begin with %s", done, m.Instance, other, order[0])
			}
			first[order[0]] = m.Instance
			turn := Turn(me, members, pools)
			if turns[turn] || turn >= len(members)-done {
				t.Fatalf("with %d nodes done, turn %d of %s is not its own", done, turn, m.Instance)
			}
			turns[turn] = true
		}
		// Any of them comes to have the address that is its own by this view.
		i := without[r.IntN(len(without))]
		me := Self{Instance: members[i].Instance, Role: members[i].Role}
		members[i].Addresses = append(slices.Clone(members[i].Addresses), Order(me, members, pools)[0])
	}
}

// What one view calls a node's own address, an older or newer view calls so too, as long as the others take theirs.
func TestOrderAgreesOverTime(t *testing.T) {
	members, pools := launch(40)
	me := Self{Instance: members[20].Instance, Role: "CORE"}
	want := Order(me, members, pools)[0]
	for i, m := range members {
		if i == 20 {
			continue
		}
		members[i].Addresses = append(slices.Clone(m.Addresses), Order(Self{Instance: m.Instance, Role: m.Role}, members, pools)[0])
		if got := Order(me, members, pools)[0]; got != want {
			t.Fatalf("after %d others: %s, before: %s", i, got, want)
		}
	}
}

func TestOrderOfANodeEC2DoesNotListYet(t *testing.T) {
	members, pools := launch(5)
	order := Order(Self{Instance: "i-ffff", Role: "CORE"}, members, pools)
	if len(order) != 4 {
		t.Errorf("order %v", order)
	}
	if turn := Turn(Self{Instance: "i-ffff", Role: "CORE"}, members, pools); turn < 0 || turn > 5 {
		t.Errorf("turn %d", turn)
	}
	if got := Order(Self{Instance: "i-ffff", Role: "TASK"}, members, pools); len(got) != 0 {
		t.Errorf("a role without a pool is offered %v", got)
	}
}

func TestPickKept(t *testing.T) {
	a, b, c := ip("10.0.0.4"), ip("10.0.0.5"), ip("10.0.0.6")
	mine := map[netip.Addr]Entry{b: claimedBy("i-0aaa", time.Minute), a: claimedBy("i-0bbb", time.Minute)}
	for _, tt := range []struct {
		name    string
		last    netip.Addr
		entries map[netip.Addr]Entry
		want    netip.Addr
	}{
		{"the one in use", c, mine, c},
		{"the one that is claimed", netip.Addr{}, mine, b},
		{"the one in use is gone", ip("10.0.0.9"), mine, b},
		{"the first", netip.Addr{}, nil, a},
	} {
		if got := pickKept(self, []netip.Addr{a, b, c}, tt.last, tt.entries); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestParseRecord(t *testing.T) {
	good := Record{Version: 1, Instance: "i-0123456789abcdef0", ENI: "eni-0123456789abcdef0", Cluster: "j-2AXXXXXXGAPLF", Role: "CORE", Time: clock}
	if got, err := ParseRecord(good.Render()); err != nil || got != good {
		t.Fatalf("round trip: %+v, %v", got, err)
	}
	if _, err := ParseRecord(strings.TrimSuffix(good.Render(), "}") + `,"later":{"x":1}}`); err != nil {
		t.Errorf("a field of a later release: %v", err)
	}
	edit := func(f func(*Record)) string { r := good; f(&r); return r.Render() }
	for name, value := range map[string]string{
		"empty":                 "",
		"blank, as the script":  "blank",
		"an address":            "10.0.1.11",
		"null":                  "null",
		"a list":                "[]",
		"something behind it":   good.Render() + "{}",
		"a later version":       strings.Replace(good.Render(), `"v":1`, `"v":2`, 1),
		"no version":            strings.Replace(good.Render(), `"v":1,`, ``, 1),
		"no instance":           edit(func(r *Record) { r.Instance = "" }),
		"an instance from hell": edit(func(r *Record) { r.Instance = "i-\x1b[2J" }),
		"no interface":          edit(func(r *Record) { r.ENI = "eni-" }),
		"a strange cluster":     edit(func(r *Record) { r.Cluster = "j-../x" }),
		"a strange role":        edit(func(r *Record) { r.Role = "core" }),
		"no time":               edit(func(r *Record) { r.Time = time.Time{} }),
		"too long":              `{"x":"` + strings.Repeat("x", maxRecord) + `"}`,
	} {
		if r, err := ParseRecord(value); err == nil {
			t.Errorf("%s: accepted as %+v", name, r)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add(Record{Version: 1, Instance: "i-0a", ENI: "eni-0a", Cluster: "j-A1", Role: "TASK", Time: clock}.Render())
	f.Add("blank")
	f.Add(`{"v":1,"instance":"i-0a","eni":"eni-0a","time":"2026-11-21T03:00:00+05:30"}`)
	f.Add(`{"v":1}{"v":1}`)
	f.Fuzz(func(t *testing.T, value string) {
		r, err := ParseRecord(value)
		if err != nil {
			return
		}
		again, err := ParseRecord(r.Render())
		if err != nil {
			t.Fatalf("%q is a record, what it renders to is not: %v", value, err)
		}
		if !again.Time.Equal(r.Time.Truncate(time.Second)) || again.Instance != r.Instance || again.ENI != r.ENI || again.Cluster != r.Cluster || again.Role != r.Role {
			t.Fatalf("%+v becomes %+v", r, again)
		}
		if judged := Judge(self, Entry{State: Claimed, Record: r, Modified: clock}, Holder{}, Living, clock, false); r.Instance != self.Instance && judged.Action != Skip {
			t.Fatalf("the claim of a living owner is not skipped: %+v", judged)
		}
	})
}
