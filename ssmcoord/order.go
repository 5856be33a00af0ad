package ssmcoord

import (
	"cmp"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Member is a living instance of the node's cluster, by EC2.
type Member struct {
	Instance  string
	Role      string
	Launched  time.Time    // by EC2; zero where EC2 does not list it yet
	Addresses []netip.Addr // of its primary ENI, the primary IP included
	// Unranked is set for the node itself if EC2 does not say which other instances are members.
	Unranked bool
}

// Pools are the addresses offered to each role; a role without a pool gets no address.
type Pools map[string][]netip.Addr

// roleOrder is the order in which the roles of one launch take their turn: an operator waits for
// the master.
var roleOrder = map[string]int{"MASTER": 0, "CORE": 1, "TASK": 2}

// needy lists the members that have a pool and carry no address of it, in the order of their turns.
func needy(members []Member, pools Pools) []Member {
	var list []Member
	for _, m := range members {
		pool := pools[m.Role]
		carries := func(a netip.Addr) bool { return slices.Contains(pool, a) }
		if len(pool) > 0 && !m.Unranked && !slices.ContainsFunc(m.Addresses, carries) {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, byTurn)
	return list
}

func byTurn(a, b Member) int {
	return cmp.Or(cmp.Compare(roleOrder[a.Role], roleOrder[b.Role]), strings.Compare(a.Instance, b.Instance))
}

// Turn returns the node's place, from 0, among the members that were launched together with it (see
// launchSpan) and have a pool. It is the same in every view, also after some of them have an
// address: it says how many calls of other nodes to leave room for. A node that EC2 does not list
// yet gets a place by its instance id.
func Turn(self Self, members []Member, pools Pools) int {
	own := self.among(members)
	var list []Member
	for _, m := range members {
		together := own < 0 || m.Launched.Sub(members[own].Launched).Abs() <= launchSpan
		if together && len(pools[m.Role]) > 0 {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, byTurn)
	if place := self.among(list); place >= 0 {
		return place
	}
	return int(scatter(self.Instance) % uint32(len(list)+1))
}

// among returns the node's index in a list, or -1.
func (s Self) among(list []Member) int {
	return slices.IndexFunc(list, func(m Member) bool { return m.Instance == s.Instance })
}

// Order returns the node's pool in the order in which the node tries it. The addresses that no
// other member carries come first. They begin with the one of the node's rank among the members of
// its role that need an address.
//
// The i-th needy member begins with the i-th free address. When a member has got its address, both
// leave their lists, and the others' pairs stay the same. So nodes that look at different times
// still choose different addresses.
func Order(self Self, members []Member, pools Pools) []netip.Addr {
	pool := pools[self.Role]
	used := map[netip.Addr]bool{}
	for _, m := range members {
		if m.Instance == self.Instance {
			continue
		}
		for _, a := range m.Addresses {
			used[a] = true
		}
	}
	var free, rest []netip.Addr
	for _, a := range pool {
		if used[a] {
			rest = append(rest, a)
		} else {
			free = append(free, a)
		}
	}
	if len(free) == 0 {
		return rest
	}
	start := int(scatter(self.Instance) % uint32(len(free)))
	peers := slices.DeleteFunc(needy(members, pools), func(m Member) bool { return m.Role != self.Role })
	if rank := self.among(peers); rank >= 0 {
		start = rank % len(free)
	}
	return slices.Concat(free[start:], free[:start], rest)
}

// scatter returns a number that spreads nodes which do not know their rank.
func scatter(s string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(s))
	return h.Sum32()
}
