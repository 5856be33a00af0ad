package netcfg

import (
	"context"
	"errors"
	"net"
	"time"
)

// Errors that callers branch on.
var (
	// ErrBusy says that another program kept the xtables lock for the whole of Options.LockWait.
	ErrBusy = errors.New("another program keeps the xtables lock")
	// ErrNoBackend says that the node has no way to translate addresses: neither an iptables program nor nf_tables.
	ErrNoBackend = errors.New("no iptables program was found and the kernel has no nf_tables")
	// ErrNotConverged says that the state still differed after the changes: something else keeps rewriting it.
	ErrNotConverged = errors.New("the kernel still differs from the wanted state")
)

// Kernel is one node's network state.
//
// The real one acts in the network namespace of the calling thread, and starts no goroutines.
type Kernel interface {
	// Observe reads everything that Plan needs. What cannot be read is an error, never "absent".
	Observe(ctx context.Context, mac net.HardwareAddr) (Observed, error)
	// Apply makes one change. After an error its outcome is unknown: observe again.
	Apply(ctx context.Context, c Change) error
	// Backend names what holds the rules, for people: "iptables v1.8.9 (nf_tables)".
	Backend() string
}

// Options choose how the kernel is reached.
type Options struct {
	// Backend is auto (or empty), iptables or nftables. Auto takes iptables where the program is found, because then other
	// software of the node uses it too, and nftables otherwise.
	Backend  string
	LockWait time.Duration // how long the xtables lock is waited for; 0: 5 s. Rounded up to seconds
	// Iptables is the program's name or path; empty: "iptables". Its sister, the same name with "-restore", must be beside
	// it. Which variant it is, it tells itself.
	Iptables string
}
