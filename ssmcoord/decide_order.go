package ssmcoord

import (
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
)

// Member is a living instance of the node's cluster, by EC2.
type Member struct {
	Instance  string
	Role      string
	Addresses []netip.Addr // of its primary ENI, the primary IP included
}

// Pools are the addresses offered to each role; a role without a pool gets no address.
type Pools map[string][]netip.Addr

// roleOrder is the order in which the roles of one launch take their turn: the master is what an operator
// waits for.
var roleOrder = map[string]int{"MASTER": 0, "CORE": 1, "TASK": 2}

// needy lists the members that have a pool and carry no address of it, in the order of their turns.
func needy(members []Member, pools Pools) []Member {
	var list []Member
	for _, m := range members {
		pool := pools[m.Role]
		carries := func(a netip.Addr) bool { return slices.Contains(pool, a) }
		if len(pool) > 0 && !slices.ContainsFunc(m.Addresses, carries) {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b Member) int {
		if d := roleOrder[a.Role] - roleOrder[b.Role]; d != 0 {
			return d
		}
		return strings.Compare(a.Instance, b.Instance)
	})
	return list
}

// Turn is the node's place among all members that still need an address: the number of PutParameter calls to leave room for before its
// own. A node that EC2 does not list yet takes a place by its instance id.
func Turn(self Self, members []Member, pools Pools) int {
	list := needy(members, pools)
	for i, m := range list {
		if m.Instance == self.Instance {
			return i
		}
	}
	if len(list) == 0 {
		return 0
	}
	return int(scatter(self.Instance) % uint32(len(list)+1))
}

// Order is the pool in the order in which the node tries it: first the addresses that no member of its cluster carries, beginning with the one of
// the node's rank among the members of its role that need one.
//
// The i-th needy member begins with the i-th free address. When a pair has found each other, both leave their lists, and
// the others' pairs stay as they are: nodes that look at different times still choose differently.
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
	rank := 0
	for _, m := range needy(members, pools) {
		if m.Role != self.Role {
			continue
		}
		if m.Instance == self.Instance {
			start = rank % len(free)
			break
		}
		rank++
	}
	return slices.Concat(free[start:], free[:start], rest)
}

// scatter spreads nodes that cannot know their rank.
func scatter(s string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(s))
	return h.Sum32()
}

// chunks cuts list into pieces of at most n.
func chunks[T any](list []T, n int) [][]T {
	return slices.Collect(slices.Chunk(list, n))
}
