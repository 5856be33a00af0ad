package ssmcoord

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// EC2 is what the protocol asks of the arbiter. Package agent implements it with the SDK.
type EC2 interface {
	// Survey lists the living members of the node's cluster, always with the node itself.
	Survey(ctx context.Context) ([]Member, error)
	// Holders tells which ENI of the subnet carries each of the addresses; one that no ENI carries is not in the map.
	Holders(ctx context.Context, addrs []netip.Addr) (map[netip.Addr]Holder, error)
	// Lives tells what EC2 says of the instances; one that EC2 does not list is Unseen.
	Lives(ctx context.Context, instances []string) (map[string]Life, error)
	// Node tells what the EMR tags of an instance say of it, which are empty outside EMR. False: EC2 does not list it.
	Node(ctx context.Context, instance string) (Node, bool, error)
	// Attach gives a to the node's primary ENI. nil: EC2 accepted it. *RefusedError: another ENI has it, for certain. It does not
	// return any other error while the outcome is unknown and can still be found out; *ImpossibleError: it will never be. It may
	// be called for an address that is attached. move takes the address from the ENI that has it.
	Attach(ctx context.Context, a netip.Addr, move bool) error
	// Confirm waits until EC2 shows a on the node's primary ENI, and returns all addresses of that ENI.
	Confirm(ctx context.Context, a netip.Addr) ([]netip.Addr, error)
	// Detach takes a from the node's primary ENI. False: it was not there.
	Detach(ctx context.Context, a netip.Addr) (bool, error)
}

// RefusedError is EC2's definite answer that another ENI has the address.
type RefusedError struct {
	Addr   netip.Addr
	Holder Holder // zero: EC2 did not say whose
	Text   string // EC2's words
}

func (e *RefusedError) Error() string {
	if e.Holder.ENI == "" {
		return fmt.Sprintf("EC2 refused %s: %s", e.Addr, e.Text)
	}
	return fmt.Sprintf("EC2 refused %s: it is in use by %s (%s)", e.Addr, e.Holder, e.Text)
}

// ImpossibleError is EC2's definite answer that this node cannot have the address, whoever has it: the interface is full, or the
// address is not one of the subnet.
type ImpossibleError struct{ Err error }

func (e *ImpossibleError) Error() string { return e.Err.Error() }
func (e *ImpossibleError) Unwrap() error { return e.Err }

// EventKind says what happened to an address.
type EventKind string

// The events a run reports while it goes on.
const (
	EventKept       EventKind = "kept"
	EventClaimed    EventKind = "claimed"
	EventTakingOver EventKind = "taking over"
	EventTakenOver  EventKind = "taken over"
	EventAttached   EventKind = "attached"
	EventDetached   EventKind = "detached"
	EventSkipped    EventKind = "skipped"
	EventLost       EventKind = "lost" // another node was faster
	EventGivenUp    EventKind = "given up"
	EventRepaired   EventKind = "repaired" // the record now names this node
	EventReleased   EventKind = "released"
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

// Coordinator is one node's side of the protocol. It is used by one goroutine.
type Coordinator struct {
	Ledger *Ledger
	EC2    EC2
	Self   Self
	Pools  Pools
	// Last is the address that the node's last run attached and has not given back since, from its state file. Whatever else EC2 shows on the node's
	// ENI may be older than the moment at which the node gave it back, and is asked for again.
	Last netip.Addr
	// Recorded tells that the last run has left the record of Last in this ledger. Otherwise a read that shows one may be older than its deletion.
	Recorded bool
	// Gone, if not nil, is asked in each round in which Last was not kept. It takes the address out of use where EC2 does not give it to this node any
	// more, and returns what is Last then.
	Gone func(ctx context.Context) (netip.Addr, error)
	// Intents are addresses that this or an earlier run of this node may have claimed or attached. Intend must have stored a new
	// one durably before it returns.
	Intents []netip.Addr
	Intend  func(ctx context.Context, intents []netip.Addr) error

	Reassign bool    // take addresses from ENIs outside the ledger and outside EMR
	PutRate  float64 // PutParameter calls a second that a launch may use; 0: no pacing
	Rand     func() float64
	Notify   func(Event)

	began     time.Time
	exhausted bool                  // a scan has looked at every address and found none, and what a later one found was lost to others
	skipped   map[netip.Addr]string // why each address was passed over last
	reported  map[netip.Addr]string // and what of it the operator was told
	refused   map[netip.Addr]time.Time
	wrote     map[netip.Addr]bool // records that this run has written: a read that shows another is late, or somebody has written since
	deleted   map[netip.Addr]bool // own claims that this run has deleted: a read that shows one is late
	unsure    map[netip.Addr]bool // of these, those whose deletion had to be repeated: it may have removed another node's record
	waited    string              // last progress line
	waitLog   time.Time           // and when
}

// Result is what Acquire ends with: EC2 has confirmed Addr on the node's own ENI.
type Result struct {
	Addr    netip.Addr
	Kept    bool         // the ENI carried it before
	Surplus []netip.Addr // further addresses of the pool on the ENI
}

func (c *Coordinator) notify(kind EventKind, a netip.Addr, change bool, format string, args ...any) {
	if c.Notify != nil {
		c.Notify(Event{Kind: kind, Addr: a, Detail: fmt.Sprintf(format, args...), Change: change})
	}
}
