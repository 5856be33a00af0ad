package ssmcoord

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Op is one change to EC2 or the ledger.
type Op string

// The changes that a node makes.
const (
	OpAssign   Op = "assign"    // ask EC2 for the address
	OpRecord   Op = "record"    // write the record of the node's address
	OpGiveBack Op = "give back" // delete the record of another address, and unassign it
)

// Step is one change, to be made.
type Step struct {
	Op     Op
	Addr   netip.Addr
	Reason string
	// Sure says that EC2 showed the address on the node's ENI, and that no earlier run was giving
	// it back.
	Sure bool
	// Recorded and Assigned say whether a record and an assignment of an address that is given back
	// were seen.
	Recorded, Assigned bool
}

// Plan is what a run does in EC2 and the ledger. apply carries it out, and plan prints it.
type Plan struct {
	Addr    netip.Addr // the zero value: every address is taken
	Kept    bool       // the node's ENI carries it
	Reason  string     // why this address
	Claim   []Step     // before the kernel is programmed
	Settle  []Step     // after it
	Notes   []string   // what was seen and is left alone
	Skipped []Skipped  // the addresses before it in the node's order

	record    EventKind // what OpRecord is called
	notBefore time.Time // for OpRecord: see RecreateAfter
	looked    time.Time // when it was not
	Doubt     bool      // the address in use was not on the ENI
	claimed   bool      // and its record names another node
	again     bool      // look once more
}

// Skipped is an address that a node cannot have, and why.
type Skipped struct {
	Addr   netip.Addr
	Reason string
}

// Steps describes steps in words, for an operator.
func (l *Ledger) Steps(steps []Step, eni string) []string {
	var lines []string
	for _, s := range steps {
		switch s.Op {
		case OpAssign:
			if !s.Sure { // else EC2 is only asked whether it is still there
				lines = append(lines, fmt.Sprintf("assign %s to %s", s.Addr, eni))
			}
		case OpRecord:
			lines = append(lines, fmt.Sprintf("write the record %s (%s)", l.Name(s.Addr), s.Reason))
		case OpGiveBack:
			if s.Recorded {
				lines = append(lines, fmt.Sprintf("delete the record %s (%s)", l.Name(s.Addr), s.Reason))
			}
			if s.Assigned {
				lines = append(lines, fmt.Sprintf("unassign %s from %s", s.Addr, eni))
			}
		}
	}
	return lines
}

// keepsLast reports whether the address in use is one of the pool, still on the ENI, and not
// recorded by another node, which may have got it since.
func (c *Coordinator) keepsLast(v *View) bool {
	last := c.Past.Last
	return slices.Contains(v.Own, last) && slices.Contains(c.Pools[c.Self.Role], last) && !c.isOthers(v.Entries[last])
}

// isOthers reports whether e is a record of another node.
func (c *Coordinator) isOthers(e Entry) bool { return e.State == Claimed && !c.Self.owns(e) }

func (c *Coordinator) inPool(list []netip.Addr) []netip.Addr {
	pool := c.Pools[c.Self.Role]
	return slices.DeleteFunc(slices.Clone(list), func(a netip.Addr) bool { return !slices.Contains(pool, a) })
}

// candidate is an address that the node may have.
type candidate struct {
	addr netip.Addr
	Verdict
}

// order returns the pool as this round tries it: first the addresses that the node's ENI carries,
// then those that earlier runs may have assigned, then the node's own order.
func (c *Coordinator) order(v *View) []netip.Addr {
	carried := c.inPool(v.Own)
	slices.SortStableFunc(carried, func(a, b netip.Addr) int { return c.preference(v, b) - c.preference(v, a) })
	return union(union(carried, c.inPool(c.past())), Order(c.Self, v.Members, c.Pools))
}

// preference ranks several addresses on the ENI, of which one stays: the one in use comes first,
// then one whose record names this node.
func (c *Coordinator) preference(v *View, a netip.Addr) int {
	switch {
	case a == c.Past.Last:
		return 2
	case c.Self.owns(v.Entries[a]):
		return 1
	}
	return 0
}

// held reports whether EC2 shows the address on another ENI.
func (c *Coordinator) held(v *View, a netip.Addr) bool {
	h, held := v.Holders[a]
	if !held || h.ENI == c.Self.ENI || slices.Contains(v.Own, a) {
		return false
	}
	reason := c.inUse(h, a)
	if free := h.Unassign(a); free != "" && !c.besideSelf(h) && !slices.ContainsFunc(v.Members, func(m Member) bool { return m.Instance == h.Instance }) {
		reason += "; to free it: " + free
	}
	c.of(a).skipped = reason
	return true
}

// inUse says who holds an address. If that is another interface of this node, nothing frees the
// address by itself, and waiting does not help: inUse names the command.
func (c *Coordinator) inUse(h Holder, a netip.Addr) string {
	if !c.besideSelf(h) {
		return "in use by " + h.String()
	}
	reason := "in use by " + h.ENI + ", another interface of this node"
	if free := h.Unassign(a); free != "" {
		return reason + "; to free it: " + free
	}
	return reason + ", as the primary IP of that interface"
}

// besideSelf reports whether the holder is an interface of this node beside the primary one.
func (c *Coordinator) besideSelf(h Holder) bool {
	return h.Instance != "" && h.Instance == c.Self.Instance && h.ENI != c.Self.ENI
}

// verdict is what a run may do about an address that was read.
//
// The describe call may be older than a release of this node. So a living owner's record counts
// until it cannot be late any more; EC2 is asked in any case.
func (c *Coordinator) verdict(v *View, a netip.Addr) Verdict {
	verdict, e := v.Judge(c.Self, a), v.Entries[a]
	if verdict.Action == Keep && a != c.Past.Last && e.State == Claimed && time.Since(c.began) < DescribeLag {
		if other := Judge(c.Self, e, Holder{}, v.Lives[e.Record.Instance], v.Now); other.Action == Skip {
			return other
		}
	}
	return verdict
}

// judge returns the addresses that the node may have, and remembers why it passed the others over.
func (c *Coordinator) judge(v *View, addrs []netip.Addr) []candidate {
	var found []candidate
	for _, a := range addrs {
		known, verdict := c.of(a), c.verdict(v, a)
		// A look may be older than EC2's refusal.
		recent := !known.refused.IsZero() && time.Since(known.refused) < DescribeLag
		switch {
		case verdict.Action == Skip:
			known.skipped = verdict.Reason
			if v.Entries[a].State == Unreadable {
				known.skipped += "; to repair it: " + c.Ledger.Repair(a)
			}
		case recent && verdict.Action != Keep: // for the reason that EC2 gave
		default:
			known.skipped = ""
			found = append(found, candidate{a, verdict})
		}
	}
	return found
}

// planFor returns the steps to one address, and those to give back what else this node has.
func (c *Coordinator) planFor(v *View, pick candidate, order []netip.Addr) Plan {
	a := pick.addr
	p := Plan{Addr: a, Kept: pick.Action == Keep, Reason: pick.Reason}
	for _, b := range order[:slices.Index(order, a)] {
		p.Skipped = append(p.Skipped, Skipped{b, c.of(b).skipped})
	}
	if !p.Kept || a != c.Past.Last || c.isOthers(v.Entries[a]) {
		p.Claim = []Step{{Op: OpAssign, Addr: a, Reason: pick.Reason, Sure: p.Kept}}
	}
	c.planRecord(v, &p)
	for _, b := range c.others(v, a) {
		switch own := slices.Contains(v.Own, b); {
		case slices.Contains(c.past(), b), c.Self.owns(v.Entries[b]):
			sure := own && b == c.Past.Last
			p.Settle = append(p.Settle, Step{
				Op: OpGiveBack, Addr: b, Sure: sure, Reason: "this node uses " + a.String(),
				Recorded: v.Entries[b].State == Claimed && (sure || c.Self.owns(v.Entries[b])), Assigned: own,
			})
		default:
			p.Notes = append(p.Notes, fmt.Sprintf("the network interface also carries %s of the pool, which this tool did not assign; it is left there", b))
		}
	}
	return p
}

// others lists the addresses beside a that the node has or may have: those of the pool on its ENI,
// those of earlier runs, and those whose records name it.
func (c *Coordinator) others(v *View, a netip.Addr) []netip.Addr {
	owned := slices.SortedFunc(maps.Keys(v.Entries), netip.Addr.Compare)
	owned = slices.DeleteFunc(owned, func(b netip.Addr) bool { return !c.Self.owns(v.Entries[b]) })
	all := union(union(c.inPool(v.Own), c.past()), owned)
	return slices.DeleteFunc(all, func(b netip.Addr) bool { return a == b })
}

// written reports whether a record of a that names this node can be trusted. If an earlier run was
// interrupted, or has just given the address back, the read may be older than a deletion.
func (c *Coordinator) written(a netip.Addr) bool {
	if slices.Contains(c.past(), a) {
		return c.Past.Recorded
	}
	return time.Since(c.Past.Released) > ReadLag
}

// planRecord adds the record of the chosen address, unless it is right already.
func (c *Coordinator) planRecord(v *View, p *Plan) {
	e := v.Entries[p.Addr]
	step := Step{Op: OpRecord, Addr: p.Addr}
	kept := p.Kept || p.Addr == c.Past.Last
	switch {
	case e.State == Unreadable: // only an address that the ENI carries comes here with one
		p.Notes = append(p.Notes, fmt.Sprintf("the record %s cannot be read (%v) and is left as it is; the address is this node's by EC2. To repair it: %s",
			c.Ledger.Name(p.Addr), e.Problem, c.Ledger.Repair(p.Addr)))
		return
	case c.Self.owns(e) && kept && c.written(p.Addr):
		return
	case kept && e.State == Absent:
		p.record, step.Reason = EventRepaired, "there is none"
	case kept:
		p.record, step.Reason = EventRepaired, "it names "+e.Record.Owner()
	case e.State == Absent || c.Self.owns(e):
		p.record, step.Reason = EventRecorded, "it will name this node"
		if !c.of(p.Addr).record.IsZero() || time.Since(c.Past.Released) < RecreateAfter {
			p.notBefore = time.Now().Add(RecreateAfter)
		}
	default:
		p.record, step.Reason = EventTakenOver, "it names "+e.Record.Owner()+", which is gone"
	}
	p.Settle = append(p.Settle, step)
}
