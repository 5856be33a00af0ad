package ssmcoord

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

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

// In a launch no two nodes begin with the same address, and each has its own turn, however far the
// others have come.
func TestOrderNeverMeets(t *testing.T) {
	members, pools := launch(60)
	r := rand.New(rand.NewPCG(1, 2))
	before := map[string]int{} // the turns, which stay
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
			if turns[turn] || turn >= len(members) || done > 0 && turn != before[m.Instance] {
				t.Fatalf("with %d nodes done, turn %d of %s is not its own", done, turn, m.Instance)
			}
			before[m.Instance] = turn
			turns[turn] = true
		}
		// Any of them comes to have the address that is its own by this view.
		i := without[r.IntN(len(without))]
		me := Self{Instance: members[i].Instance, Role: members[i].Role}
		members[i].Addresses = append(slices.Clone(members[i].Addresses), Order(me, members, pools)[0])
	}
}

// Nodes of which EC2 does not say that they belong together spread over the list. Each has its own
// place, which stays.
func TestOrderOfUnrankedNodes(t *testing.T) {
	pools := Pools{"": pool(50)}
	first := map[netip.Addr]int{}
	for i := range 20 {
		me := Self{Instance: fmt.Sprintf("i-%04x", (i*7919)%65536)}
		members := []Member{{Instance: me.Instance, Unranked: true}}
		order := Order(me, members, pools)
		if len(order) != 50 || !slices.Equal(order, Order(me, members, pools)) {
			t.Fatalf("%s: %v", me.Instance, order)
		}
		first[order[0]]++
	}
	if len(first) < 12 { // 20 draws from 50 have 16.6 different ones on average
		t.Errorf("20 nodes begin with %d addresses", len(first))
	}
}

// A node begins with the same address in an older and in a newer view, as long as the others take
// theirs.
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

// Members of another launch need no room: a node that is added later waits for nobody.
func TestTurnIsOfOneLaunch(t *testing.T) {
	members, pools := launch(60)
	for i := range members {
		members[i].Launched = clock
	}
	added := Member{Instance: "i-fffff", Role: "CORE", Launched: clock.Add(time.Hour)}
	if turn := Turn(Self{Instance: added.Instance, Role: "CORE"}, append(members, added), pools); turn != 0 {
		t.Errorf("turn %d", turn)
	}
}
