package ssmcoord

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// EC2 is what the protocol asks of EC2. Package agent implements it with the SDK.
type EC2 interface {
	// Survey lists the living members of the node's cluster, always with the node itself.
	Survey(ctx context.Context) ([]Member, error)
	// Own lists all addresses of the node's primary ENI.
	Own(ctx context.Context) ([]netip.Addr, error)
	// Holders returns which ENI of the subnet carries each of the addresses. An address that no ENI
	// carries is not in the map.
	Holders(ctx context.Context, addrs []netip.Addr) (map[netip.Addr]Holder, error)
	// Lives returns what EC2 says of the instances. One that EC2 does not list is Unseen.
	Lives(ctx context.Context, instances []string) (map[string]Life, error)
	// Assign asks EC2 to give a to the node's primary ENI. It never takes a from another ENI. The
	// error is nil if the ENI certainly has the address, a *RefusedError if another ENI has it, and
	// an *ImpossibleError if the node can never have it. The ENI may have the address already.
	// perhaps says that an earlier run may have assigned it, so that a refusal may be about the
	// node's own ENI.
	Assign(ctx context.Context, a netip.Addr, perhaps bool) error
	// Unassign takes a from the node's primary ENI. It returns false if the ENI did not have it.
	Unassign(ctx context.Context, a netip.Addr) (bool, error)
}

// RefusedError is EC2's definite answer that another ENI has the address.
type RefusedError struct {
	Addr   netip.Addr
	Holder Holder // zero: EC2 did not name it
	Text   string // EC2's words
	// Repeated is set if EC2 refused a repeated attempt. The answer to an earlier attempt was lost,
	// so that attempt may still have its effect.
	Repeated bool
	// Every is set if EC2's words do not tell a refusal of this address from one of every address.
	// It is the error of a run that gets the same Code for another attempt.
	Every error
	Code  string
}

func (e *RefusedError) Error() string {
	if e.Holder.ENI == "" {
		return fmt.Sprintf("EC2 refused %s: %s", e.Addr, e.Text)
	}
	return fmt.Sprintf("EC2 refused %s: it is in use by %s (%s)", e.Addr, e.Holder, e.Text)
}

// ImpossibleError is EC2's definite answer that this node cannot have the address, even if it is
// free: the interface is full, or the address is outside the subnet.
type ImpossibleError struct{ Err error }

func (e *ImpossibleError) Error() string { return e.Err.Error() }
func (e *ImpossibleError) Unwrap() error { return e.Err }

// EventKind says what happened to an address.
type EventKind string

// The events that a run reports while it goes on.
const (
	EventKept       EventKind = "kept"
	EventAssigned   EventKind = "assigned"
	EventRefused    EventKind = "refused" // another ENI has it
	EventSkipped    EventKind = "skipped"
	EventRecorded   EventKind = "recorded"
	EventTakenOver  EventKind = "taken over" // the record of an owner that is gone was overwritten
	EventRepaired   EventKind = "repaired"   // the record of an address in use names its node again
	EventReleased   EventKind = "released"   // the record was deleted
	EventUnassigned EventKind = "unassigned"
	EventWaiting    EventKind = "waiting"
	EventPacing     EventKind = "pacing"
)

// Event is one line for the operator.
type Event struct {
	Kind   EventKind
	Addr   netip.Addr // may be zero
	Detail string
	Change bool // something outside the node was changed
}

// Line returns the event for people, in a line, with this form of its detail.
func (e Event) Line(detail string) string {
	line := string(e.Kind)
	if e.Addr.IsValid() {
		line += " " + e.Addr.String()
	}
	if !strings.HasPrefix(detail, "to ") && !strings.HasPrefix(detail, "from ") {
		line += ":"
	}
	return line + " " + detail
}

// Past is what earlier runs of this node have left, by its state file.
type Past struct {
	// Last is the address that the node has in use: assigned by an earlier run and not given back.
	Last netip.Addr
	// Intents are addresses that an earlier run may have assigned or recorded, Last among them.
	Intents []netip.Addr
	// Used are those of the intents that may have a record.
	Used []netip.Addr
	// Written is when an earlier run last stored what it has. A look much later shows that run's
	// changes.
	Written time.Time
	// Released is when an earlier run had given back everything. It is zero if none has.
	Released time.Time
	// Recorded says that the record of Last was written and not deleted since, or that nothing is
	// known of earlier runs. Otherwise a read that shows a record of this node may be late.
	Recorded bool
}

// Options are the node's side of the protocol.
type Options struct {
	Ledger *Ledger
	EC2    EC2
	Self   Self
	Pools  Pools
	Past   Past
	// Quick is set if a node that finds Past.Last on its ENI needs no other answer of EC2.
	Quick bool

	// Intend stores the addresses that this node may have assigned or recorded, durably, before it
	// returns. asked is the address that EC2 is asked for next, if EC2 did not show it on the
	// node's ENI, or the zero Addr.
	Intend func(ctx context.Context, intents []netip.Addr, asked netip.Addr) error
	// Lost withdraws Past.Last: EC2 no longer assigns it to this node.
	Lost func(ctx context.Context) error

	PutRate float64 // PutParameter calls a second that a launch may use; 0: no pacing
	Rand    func() float64
	Notify  func(Event)
}

// Coordinator is one node's side of the protocol, for one run. It is used by one goroutine.
type Coordinator struct {
	Options
	intents []netip.Addr
	known   map[netip.Addr]*address

	began     time.Time
	confirmed time.Time // when EC2 said that Past.Last is the node's
	turn      int       // see Turn; 0 for a node that has its address
	losses    int       // addresses that EC2 refused
	vague     string    // code of a refusal that may be about every address
	exhausted bool      // a scan saw every address taken, and none was to be had since
	waited    string    // for whom, as it was told
}

// address is what this run knows of one address of the pool.
type address struct {
	skipped string    // why it was passed over last
	told    string    // the part of it that was reported
	refused time.Time // when EC2 refused it
	lost    bool      // and the answer to an attempt to get it was lost
	record  time.Time // when a read last showed a record that names another node
}

// New returns the coordinator of a run. It calls nothing.
func New(o Options) *Coordinator {
	return &Coordinator{Options: o, intents: slices.Clone(o.Past.Intents), known: map[netip.Addr]*address{}, began: time.Now()}
}

// Intents returns the addresses that this or an earlier run may have assigned or recorded, and that
// were not given back.
func (c *Coordinator) Intents() []netip.Addr { return slices.Clone(c.intents) }

func (c *Coordinator) of(a netip.Addr) *address {
	if c.known[a] == nil {
		c.known[a] = &address{}
	}
	return c.known[a]
}

// intend stores a before EC2 is asked for it. shown says that EC2 showed a on the node's ENI.
func (c *Coordinator) intend(ctx context.Context, a netip.Addr, shown bool) error {
	known := slices.Contains(c.intents, a)
	if !known {
		c.intents = append(c.intents, a)
	}
	switch {
	case !shown:
		return c.Intend(ctx, c.Intents(), a)
	case !known:
		return c.Intend(ctx, c.Intents(), netip.Addr{})
	}
	return nil
}

func (c *Coordinator) forget(ctx context.Context, a netip.Addr) error {
	if !slices.Contains(c.intents, a) {
		return nil
	}
	c.intents = slices.DeleteFunc(c.Intents(), func(b netip.Addr) bool { return a == b })
	return c.Intend(ctx, c.Intents(), netip.Addr{})
}

func (c *Coordinator) notify(kind EventKind, a netip.Addr, change bool, format string, args ...any) {
	if c.Notify != nil {
		c.Notify(Event{Kind: kind, Addr: a, Detail: fmt.Sprintf(format, args...), Change: change})
	}
}
