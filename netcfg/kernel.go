package netcfg

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// Errors that callers branch on.
var (
	// ErrBusy means that another program kept the xtables lock for the whole of Options.LockWait.
	ErrBusy = errors.New("another program holds the xtables lock")
	// ErrLockFile means that the xtables lock cannot be opened: a directory is in its place, or it
	// cannot be made.
	ErrLockFile = errors.New("the xtables lock cannot be opened")
	// ErrNoBackend means that the node has no way to translate addresses: neither an iptables
	// program nor nf_tables.
	ErrNoBackend = errors.New("no iptables program was found and the kernel has no nf_tables")
	// ErrBackend means that the backend that was asked for cannot do the work, and another one can.
	// The text names it.
	ErrBackend = errors.New("the backend cannot be used")
	// ErrNotConverged means that the state still differed after the changes: something else keeps
	// rewriting it.
	ErrNotConverged = errors.New("the kernel still differs from the wanted state")
	// ErrInTheWay means that an address of the node is in a place where the program cannot work
	// with it and may not change it. The text names the place.
	ErrInTheWay = errors.New("an address is in the way")
	// ErrNoEffect means that a network of Config.Only never sees the static IP in the scope.
	ErrNoEffect = errors.New("a network has no effect")
	// ErrTooMany means that a configuration names more than MaxNetworks networks.
	ErrTooMany = errors.New("too many networks")
)

// Kernel is one node's network state.
//
// The real one acts in the network namespace of the calling thread, and starts no goroutines.
type Kernel interface {
	// Observe reads everything that Plan needs. What cannot be read is an error, never "absent".
	// Gone are addresses that the node gives up: their translated connections are counted.
	Observe(ctx context.Context, mac net.HardwareAddr, gone ...netip.Addr) (Observed, error)
	// Apply makes one change. After an error its outcome is unknown: observe again.
	Apply(ctx context.Context, c Change) error
	// Try reports what would keep Apply from setting these rules. It changes nothing.
	Try(ctx context.Context, c SetRules) error
	// Translation returns what conntrack makes of a connection, looked up by the addresses that the
	// connection's first packet had when its sender sent it.
	Translation(ctx context.Context, c Connection) (Translation, error)
	// Redirections lists, for people, the rules of others that give packets to the address another
	// destination.
	Redirections(ctx context.Context, to netip.Addr) ([]string, error)
	// Untracked lists the rules of others that keep from connection tracking what the wanted rules
	// would translate on the link. What cannot be read is an error, never "none".
	Untracked(ctx context.Context, want Config, link string) ([]Untracking, error)
	// Route returns the way to an address, for a socket that is bound to nothing. It returns
	// the zero Route if there is no way.
	Route(ctx context.Context, to netip.Addr) (Route, error)
	// Backend names what holds the rules, for people: "iptables v1.8.9 (nf_tables)".
	Backend() string
}

// Options choose how the kernel is reached.
type Options struct {
	// Backend is auto (or empty), iptables or nftables. Auto takes nftables, because only there the
	// static IP goes before the rules of others whoever programs first, and takes an iptables
	// program where the kernel cannot do that.
	Backend  string
	LockWait time.Duration // how long the xtables lock is waited for; 0: 5 s. Rounded up to seconds
	// Iptables is the program's name or path; empty: "iptables". Its sister, the same name with
	// "-restore", must be beside it. The program says which variant it is.
	Iptables string
}
