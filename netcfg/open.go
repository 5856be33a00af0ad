package netcfg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// host is the kernel of the machine that this process runs on.
type host struct {
	backend  Backend
	auto     bool     // the backend is ours to choose
	program  *program // nil with native nftables
	iptables string   // name or path of the program
	lockWait time.Duration
}

// Open finds the backend and returns the kernel of this machine, as the calling thread's network
// namespace shows it. It changes nothing there.
func Open(ctx context.Context, o Options) (Kernel, error) {
	h := &host{lockWait: o.LockWait}
	if h.lockWait <= 0 {
		h.lockWait = defaultLockWait
	}
	if h.iptables = o.Iptables; h.iptables == "" {
		h.iptables = "iptables"
	}
	switch o.Backend {
	case "", "auto":
		h.auto = true
	case "iptables", "nftables":
	default:
		return nil, fmt.Errorf("backend %q is not one of auto, iptables, nftables", clean(o.Backend))
	}
	native, err := hasNftables(ctx)
	switch {
	case errors.Is(err, syscall.EPERM): // a plan without root names what root would probably use
		native = true
	case err != nil:
		return nil, err
	}
	if native && (o.Backend == "nftables" || h.auto && kernelSorts()) {
		h.backend = Nftables
		return h, nil
	}
	p, err := findProgram(ctx, h.iptables, h.lockWait)
	switch {
	case ctx.Err() != nil && err != nil:
		return nil, err
	case err == nil && o.Backend == "nftables":
		return nil, fmt.Errorf("%w: the kernel has no nf_tables; %s works here: --nat-backend iptables", ErrBackend, p.version)
	case err == nil:
		h.program, h.backend = p, p.variant
		return h, nil
	case native && h.auto:
		h.backend = Nftables
		return h, nil
	case native:
		return nil, fmt.Errorf("%w; nf_tables works here: --nat-backend nftables", err)
	case absent(err):
		return nil, errors.Join(ErrNoBackend, err)
	}
	return nil, err
}

// kernelSorts reports whether the kernel keeps nat chains of iptables and nf_tables side by side,
// sorted by priority. It does since 4.18; what is older takes the first that comes.
func kernelSorts() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var major, minor int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); n != 2 {
		return false
	}
	return major > 4 || major == 4 && minor >= 18
}

// Backend names what holds the rules.
func (h *host) Backend() string {
	if h.program != nil {
		return h.program.version
	}
	return "nftables over netlink"
}

// Observe reads links, addresses, and what all three backends hold of ours.
func (h *host) Observe(ctx context.Context, mac net.HardwareAddr, gone ...netip.Addr) (Observed, error) {
	links, err := readLinks(ctx)
	if err != nil {
		return Observed{}, err
	}
	link, others, err := FindLink(links, mac)
	if err != nil {
		return Observed{}, err
	}
	o, err := h.observeRules(ctx)
	if err == nil && o.Unusable != nil && h.auto && h.backend == IptablesNFT {
		h.backend, h.program = Nftables, nil
		o, err = h.observeRules(ctx)
	}
	if err != nil {
		return Observed{}, err
	}
	o.Link, o.Others = link, others
	if o.Conntrack, err = readConntrack(); err != nil {
		return Observed{}, err
	}
	o.Translated, err = countTranslated(ctx, gone)
	return o, err
}

// observeRules reads what all backends hold of ours, and what comes before it.
func (h *host) observeRules(ctx context.Context) (o Observed, err error) {
	o = Observed{Backend: h.backend, Strays: map[Backend]RuleSet{}}
	v, err := nfLook(ctx)
	if err != nil {
		return Observed{}, err
	}
	legacyMasks := false
	for _, b := range []Backend{IptablesLegacy, IptablesNFT, Nftables} {
		set, err := h.read(ctx, b, v, &o)
		switch {
		case err == nil:
		case ctx.Err() != nil, errors.Is(err, ErrBusy), b != IptablesLegacy:
			return Observed{}, fmt.Errorf("reading the %s rules: %w", b, err)
		default: // the others can do their work
			o.Unread = fmt.Errorf("reading the %s rules: %w", b, err)
			if b == h.backend {
				o.Unusable = o.Unread
			} else {
				o.Notes = append(o.Notes, o.Unread.Error())
			}
		}
		legacyMasks = legacyMasks || b == IptablesLegacy && set.masks
		set.masks = false
		if b == h.backend {
			o.Rules = set
		} else if !set.Empty() {
			o.Strays[b] = set
		}
	}
	if o.Before, err = chainsBefore(ctx, h.backend, v); err != nil {
		return Observed{}, err
	}
	if legacyMasks && h.backend == IptablesNFT {
		o.Before = append(o.Before, NATChain{Table: "ip " + natTableName, Chain: postRouting, Priority: iptablesPriority, Legacy: true})
	}
	return o, nil
}

// read returns what one backend holds of ours. It looks in ways that create nothing.
func (h *host) read(ctx context.Context, b Backend, v nfView, o *Observed) (set RuleSet, err error) {
	switch {
	case b == Nftables:
		var dormant bool
		set, dormant, err = readNative(ctx, v)
		o.Dormant = o.Dormant || dormant && b == h.backend
		return set, err
	case b == IptablesNFT && h.backend == IptablesNFT:
		return h.readShown(ctx, v, o)
	case b == IptablesNFT:
		return readNat(ctx, v)
	}
	// The program cannot be asked whether there is a table: asking makes it.
	present, err := legacyTable(natTableName)
	if err != nil || !present {
		return RuleSet{}, err
	}
	p := h.program
	if h.backend != IptablesLegacy {
		p, err = h.legacy(ctx)
		if absent(err) {
			o.Notes = append(o.Notes, "a legacy nat table exists, and no iptables-legacy program to look into it")
			return RuleSet{}, nil
		}
		if err != nil {
			return RuleSet{}, err
		}
	}
	set, err = p.list(ctx)
	if !errors.Is(err, ErrLockFile) {
		return set, err
	}
	set, err2 := p.unlocked().list(ctx)
	if err2 != nil {
		return RuleSet{}, err
	}
	if b == h.backend {
		o.Unusable = err
	} else {
		o.Notes = append(o.Notes, err.Error())
	}
	return set, nil
}

// readShown reads table `ip nat` with the program. If the program cannot show the table, or the
// table is dormant, the backend is of no use: then our part of it is read over netlink, so that it
// can be removed.
func (h *host) readShown(ctx context.Context, v nfView, o *Observed) (RuleSet, error) {
	flags, ok := v.tables[tableKey{unix.NFPROTO_IPV4, natTableName}]
	if !ok {
		return RuleSet{}, nil
	}
	set, err := h.program.list(ctx)
	switch {
	case err == nil && flags&tableDormant == 0:
		return set, nil
	case err == nil:
		o.Dormant = true
		err = errors.New(dormantText(IptablesNFT))
	case ctx.Err() != nil, errors.Is(err, ErrBusy):
		return RuleSet{}, err
	default:
		if set, err2 := readNat(ctx, v); err2 == nil {
			o.Unusable = fmt.Errorf("%w: %w; nf_tables works here: --nat-backend nftables", ErrBackend, err)
			return set, nil
		}
		return RuleSet{}, err
	}
	o.Unusable = fmt.Errorf("%w: %w; --nat-backend nftables uses a table of its own", ErrBackend, err)
	return set, nil
}

// legacy finds the program for the legacy table where it is not the one in use. Where there is one
// variant only, as on Amazon Linux 2, it has the plain name.
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

// legacyTable reports whether a legacy table exists in this namespace. Asking a program would make
// it.
func legacyTable(name string) (bool, error) {
	b, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // the kernel's module is not loaded
	}
	if err != nil {
		return false, fmt.Errorf("looking for a legacy table %s: %w", name, err)
	}
	return slices.Contains(strings.Fields(string(b)), name), nil
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
	case ForgetConnections:
		return forgetConnections(ctx, c.Addr)
	case SetRules:
		if err := h.setRules(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.Summary(), errors.Join(err, h.giveWay(ctx, err)))
		}
		return nil
	default:
		return fmt.Errorf("applying a change of unknown type %T", c)
	}
}

// setRules writes the rules. Where conntrack is off, it is turned on first and given time.
func (h *host) setRules(ctx context.Context, c SetRules) error {
	if !c.Want.Empty() && !conntrackOn(ctx) {
		quiet := SetRules{c.Backend, c.Have, c.Want.suspended()}
		if err := h.write(ctx, quiet, false); err != nil {
			return err
		}
		if err := watchFlows(ctx); err != nil {
			return err
		}
		c.Have = quiet.Want
	}
	return h.write(ctx, c, false)
}

// Try reports what would keep Apply from setting these rules.
func (h *host) Try(ctx context.Context, c SetRules) error {
	err := h.write(ctx, c, true)
	if err == nil || h.giveWay(ctx, err) != nil || c.Backend == h.backend {
		return err
	}
	return h.write(ctx, SetRules{Backend: h.backend, Want: c.Want.For(h.backend)}, true)
}

// Translation looks the connection up.
func (h *host) Translation(ctx context.Context, c Connection) (Translation, error) {
	return lookUp(ctx, c)
}

// giveWay takes an iptables program instead of native nftables, if the backend is ours to choose
// and the kernel says that it lacks something that the native rules need. The next round uses it.
func (h *host) giveWay(ctx context.Context, err error) error {
	lacking := unsupported(err) || errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EBUSY)
	if !h.auto || h.backend != Nftables || !lacking {
		return nil
	}
	p, err := findProgram(ctx, h.iptables, h.lockWait)
	if err != nil {
		return err
	}
	h.program, h.backend = p, p.variant
	return nil
}

// write makes or tries one transaction.
func (h *host) write(ctx context.Context, c SetRules, trial bool) error {
	switch {
	case c.Backend == Nftables:
		return writeNative(ctx, c.Want, trial)
	case c.Backend == IptablesNFT && c.Want.Empty():
		return removeNat(ctx)
	case c.Backend == IptablesLegacy && c.Want.Empty():
		p, err := h.legacy(ctx)
		if err != nil {
			return err
		}
		err = p.transact(ctx, renderRestore(c.Have, c.Want), trial)
		if errors.Is(err, ErrLockFile) {
			err = p.unlocked().transact(ctx, renderRestore(c.Have, c.Want), trial)
		}
		return err
	case c.Backend == h.backend:
		return h.program.transact(ctx, renderRestore(c.Have, c.Want), trial)
	default:
		return fmt.Errorf("backend %s is not in use", c.Backend)
	}
}
