package netcfg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// host is the kernel of the machine that this process runs on.
type host struct {
	backend  Backend
	program  *program // nil with native nftables
	iptables string   // name or path of the program
	lockWait time.Duration
}

// Open finds the back end and returns the kernel of this machine, as the calling thread's network namespace shows it. It changes
// nothing there.
func Open(ctx context.Context, o Options) (Kernel, error) {
	h := &host{lockWait: o.LockWait}
	if h.lockWait <= 0 {
		h.lockWait = defaultLockWait
	}
	if h.iptables = o.Iptables; h.iptables == "" {
		h.iptables = "iptables"
	}
	var missing error
	switch o.Backend {
	case "", "auto", "iptables":
		p, err := findProgram(ctx, h.iptables, h.lockWait)
		if err == nil {
			h.program, h.backend = p, p.variant
			return h, nil
		}
		if o.Backend == "iptables" || !absent(err) {
			return nil, err
		}
		missing = err
	case "nftables":
	default:
		return nil, fmt.Errorf("back end %q is none of auto, iptables, nftables", clean(o.Backend))
	}
	ok, err := hasNftables(ctx)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errors.Join(ErrNoBackend, missing)
	}
	h.backend = Nftables
	return h, nil
}

// Backend names what holds the rules.
func (h *host) Backend() string {
	if h.program != nil {
		return h.program.version
	}
	return "nftables over netlink"
}

// Observe reads links, addresses, and what all three back ends hold of ours.
func (h *host) Observe(ctx context.Context, mac net.HardwareAddr) (Observed, error) {
	links, err := readLinks(ctx)
	if err != nil {
		return Observed{}, err
	}
	o := Observed{Backend: h.backend, Strays: map[Backend]RuleSet{}}
	if o.Link, o.Others, err = FindLink(links, mac); err != nil {
		return Observed{}, err
	}
	for _, b := range []Backend{IptablesLegacy, IptablesNFT, Nftables} {
		set, note, err := h.read(ctx, b)
		if err != nil {
			return Observed{}, fmt.Errorf("reading the %s rules: %w", b, err)
		}
		if note != "" {
			o.Notes = append(o.Notes, note)
		}
		if b == h.backend {
			o.Rules = set
		} else if !set.Empty() {
			o.Strays[b] = set
		}
	}
	return o, nil
}

// read gives what one back end holds of ours. One that is not in use is looked at in ways that create nothing.
func (h *host) read(ctx context.Context, b Backend) (set RuleSet, note string, err error) {
	switch {
	case b == Nftables:
		set, err = readNative(ctx)
	case b == IptablesNFT && h.backend != IptablesNFT:
		set, err = readNat(ctx)
	case b == IptablesNFT:
		if set, err = h.program.list(ctx); err == nil {
			set.Built, err = builtChains(ctx)
		}
	case h.backend == IptablesLegacy:
		set, err = h.program.list(ctx)
	default:
		var present bool
		if present, err = legacyNat(); err != nil || !present {
			return RuleSet{}, "", err
		}
		var p *program
		p, err = h.legacy(ctx)
		if absent(err) {
			return RuleSet{}, "a legacy nat table exists, and no iptables-legacy program to look into it", nil
		}
		if err == nil {
			set, err = p.list(ctx)
		}
	}
	return set, "", err
}

// legacy finds the program for the legacy table where it is not the one in use. Where there is one variant only, as on Amazon
// Linux 2, it has the plain name.
func (h *host) legacy(ctx context.Context) (*program, error) {
	var missing error
	for _, name := range []string{"iptables-legacy", h.iptables} {
		p, err := findProgram(ctx, name, h.lockWait)
		switch {
		case err == nil && p.variant == IptablesLegacy:
			return p, nil
		case err == nil:
		case absent(err):
			missing = errors.Join(missing, err)
		default:
			return nil, err
		}
	}
	return nil, errors.Join(missing, fmt.Errorf("no iptables program of the legacy variant: %w", os.ErrNotExist))
}

// legacyNat says whether the legacy nat table exists in this namespace. The program cannot be asked: asking creates the table.
func legacyNat() (bool, error) {
	b, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // the kernel's module is not loaded
	}
	if err != nil {
		return false, fmt.Errorf("looking for a legacy nat table: %w", err)
	}
	return slices.Contains(strings.Fields(string(b)), "nat"), nil
}

// Apply makes one change.
func (h *host) Apply(ctx context.Context, c Change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	switch c := c.(type) {
	case AddAddress:
		return addAddress(c)
	case DeleteAddress:
		return deleteAddress(c)
	case SetRules:
		if err := h.write(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.Summary(), err)
		}
		return nil
	default:
		return fmt.Errorf("applying a change of unknown type %T", c)
	}
}

func (h *host) write(ctx context.Context, c SetRules) error {
	switch {
	case c.Backend == Nftables:
		return writeNative(ctx, c.Want)
	case c.Backend == IptablesNFT && c.Want.Empty():
		return removeNat(ctx)
	case c.Backend == h.backend:
		return h.program.transact(ctx, renderRestore(c.Have, c.Want))
	case c.Backend == IptablesLegacy && c.Want.Empty():
		p, err := h.legacy(ctx)
		if err != nil {
			return err
		}
		return p.transact(ctx, renderRestore(c.Have, c.Want))
	default:
		return fmt.Errorf("back end %s is not in use", c.Backend)
	}
}
