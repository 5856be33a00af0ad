package cloud

import (
	"net"
	"net/netip"
	"slices"
	"time"
)

// eni is a network interface. held has the addresses that EC2 has assigned, which is the truth.
// shown says when describe calls and IMDS show an address.
type eni struct {
	id, attachID string
	mac          net.HardwareAddr
	subnet       *subnet
	instance     *instance
	device       int
	description  string
	managed      bool // requester-managed: created by EMR
	created      time.Time
	deleted      time.Time  // zero while it exists; may be in the future
	public       netip.Addr // mapped to the primary address; the zero Addr: none
	foreign      bool       // another account's, in a subnet that it shares with this one
	held         []netip.Addr
	shown        []span
	tags         tagSet
}

// span is the time in which an address of an ENI is shown. A zero end is open.
type span struct {
	addr               netip.Addr
	from, until        time.Time // in describe calls
	imdsFrom, imdsGone time.Time
	primary            bool
}

type dueRelease struct {
	at  time.Time
	eni *eni
}

func within(t, from, until time.Time) bool {
	return !t.Before(from) && (until.IsZero() || t.Before(until))
}

// listed reports whether describe calls of this account show the interface as of t. Participants
// of a shared VPC do not see each other's interfaces.
// https://docs.aws.amazon.com/vpc/latest/userguide/vpc-sharing.html
func (e *eni) listed(t time.Time) bool { return e.exists(t) && !e.foreign }

func (e *eni) exists(t time.Time) bool { return within(t, e.created, e.deleted) }

func (e *eni) primary() netip.Addr { return e.held[0] }

// addresses returns the addresses that describe calls show as of t, the primary one first.
func (e *eni) addresses(t time.Time) []netip.Addr {
	out := make([]netip.Addr, 0, len(e.shown))
	for i := range e.shown {
		if s := &e.shown[i]; within(t, s.from, s.until) && !slices.Contains(out, s.addr) {
			out = append(out, s.addr)
		}
	}
	return out
}

// imdsAddresses returns the addresses that IMDS shows at t.
func (e *eni) imdsAddresses(t time.Time) []netip.Addr {
	out := make([]netip.Addr, 0, len(e.shown))
	for i := range e.shown {
		if s := &e.shown[i]; within(t, s.imdsFrom, s.imdsGone) && !slices.Contains(out, s.addr) {
			out = append(out, s.addr)
		}
	}
	return out
}

// assign assigns an address to the ENI now. Describe calls and IMDS show it later.
func (e *eni) assign(a netip.Addr, now time.Time, shownAfter, imdsAfter time.Duration) {
	e.held = append(e.held, a)
	e.subnet.owner[a] = e
	e.touch()
	from := now.Add(shownAfter)
	e.shown = append(e.shown, span{addr: a, from: from, imdsFrom: from.Add(imdsAfter), primary: len(e.held) == 1})
}

// unassign removes an address from the ENI now. Describe calls and IMDS show this later.
func (e *eni) unassign(a netip.Addr, now time.Time, shownAfter, imdsAfter time.Duration) {
	e.held = slices.DeleteFunc(e.held, func(h netip.Addr) bool { return h == a })
	if e.subnet.owner[a] == e {
		delete(e.subnet.owner, a)
	}
	e.touch()
	until := now.Add(shownAfter)
	for i := range e.shown {
		if s := &e.shown[i]; s.addr == a && s.until.IsZero() {
			// A span never ends before it begins: an address assigned and removed quickly is never
			// shown.
			s.until = later(until, s.from)
			s.imdsGone = later(until.Add(imdsAfter), s.imdsFrom)
		}
	}
	e.prune(now)
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// touch is called when the description of the ENI's instance changes.
func (e *eni) touch() {
	if e.instance != nil {
		e.instance.touch()
	}
}

// prune drops spans that are too old even for stale reads.
func (e *eni) prune(now time.Time) {
	if len(e.shown) < 32 {
		return
	}
	e.shown = slices.DeleteFunc(e.shown, func(s span) bool {
		return !s.imdsGone.IsZero() && now.Sub(s.imdsGone) > 10*time.Minute && now.Sub(s.until) > 10*time.Minute
	})
}

// newENI makes an interface with its primary address. The lock must be held.
func (c *Cloud) newENI(s *subnet, primary netip.Addr, now time.Time) *eni {
	r := c.nextRand("mac")
	x := r.Uint64()
	e := &eni{
		id:       c.newID("eni"),
		attachID: c.newID("eni-attach"),
		mac:      net.HardwareAddr{0x02, byte(x), byte(x >> 8), byte(x >> 16), byte(x >> 24), byte(x >> 32)},
		subnet:   s,
		created:  now,
	}
	e.assign(primary, now, 0, 0)
	c.enis = append(c.enis, e)
	c.eniByID[e.id] = e
	return e
}

// endENI schedules the end of an interface: its addresses become free at t.
func (c *Cloud) endENI(e *eni, t time.Time) {
	e.deleted = t
	e.touch()
	i, _ := slices.BinarySearchFunc(c.due, t, func(d dueRelease, t time.Time) int {
		if d.at.After(t) {
			return 1
		}
		return -1
	})
	c.due = slices.Insert(c.due, i, dueRelease{t, e})
}

// settle frees the addresses of interfaces that have ended by now.
func (c *Cloud) settle(now time.Time) {
	for len(c.due) > 0 && !c.due[0].at.After(now) {
		e := c.due[0].eni
		c.due = c.due[1:]
		for _, a := range e.held {
			if e.subnet.owner[a] == e {
				delete(e.subnet.owner, a)
			}
		}
		e.held = e.held[:0:0]
	}
}
