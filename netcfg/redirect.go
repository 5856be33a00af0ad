package netcfg

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// destinationOffset is where an IPv4 header has the destination.
const destinationOffset = 16

// destinationTargets are the targets of iptables that change the destination.
var destinationTargets = []string{"DNAT", "REDIRECT", "NETMAP"}

// Redirections lists the rules of others that name the address as a destination and give packets to
// it another one. They go before the rules of this program: what they match is theirs. That may be
// meant, as for a container's port that is published on this address alone.
func (h *host) Redirections(ctx context.Context, to netip.Addr) (list []string, err error) {
	tables, ok, err := nfTables(ctx)
	if err != nil {
		return nil, err
	}
	if ok {
		chains, err := nfChains(ctx, unix.NFPROTO_UNSPEC)
		if err != nil {
			return nil, err
		}
		for _, c := range chains {
			key := tableKey{c.family, c.table}
			switch {
			case key == tableKey{unix.NFPROTO_IPV4, Tag}, ownChain(c.name), tables[key]&tableDormant != 0,
				c.family != unix.NFPROTO_IPV4 && c.family != unix.NFPROTO_INET, c.base && c.kind != "nat":
				continue
			}
			rules, err := nfRules(ctx, c)
			if err != nil {
				return nil, err
			}
			for _, r := range rules {
				if r.redirects(to) {
					list = append(list, fmt.Sprintf("table %s chain %s has a rule (handle %d) that gives packets to %s another destination", key, clean(c.name), r.handle, to))
				}
			}
		}
	}
	err = h.legacyLines(ctx, natTableName, func(line string) {
		if redirects(line, to) {
			list = append(list, fmt.Sprintf("table ip nat of iptables-legacy has %q, which gives packets to %s another destination", clean(line), to))
		}
	})
	if absent(err) {
		return list, nil // said by Observe
	}
	return list, err
}

// legacyLines calls each for the lines of a legacy table as `iptables -S` prints them, if there is
// such a table. The lock is done without where it cannot be opened.
func (h *host) legacyLines(ctx context.Context, table string, each func(line string)) error {
	present, err := legacyTable(table)
	if err != nil || !present {
		return err
	}
	p := h.program
	if p == nil || p.variant != IptablesLegacy {
		if p, err = h.legacy(ctx); err != nil {
			return fmt.Errorf("a legacy table %s exists and cannot be read: %w", table, err)
		}
	}
	read := func(p *program) ([]string, error) {
		var rules []string
		out := &lines{left: maxOutput, each: func(line string) error {
			if strings.HasPrefix(line, "-A ") {
				rules = append(rules, line)
			}
			return nil
		}}
		err := p.run(ctx, p.path, "", out, "-w", fmt.Sprint(p.wait), "-t", table, "-S")
		return rules, err
	}
	rules, err := read(p)
	if errors.Is(err, ErrLockFile) {
		rules, err = read(p.unlocked())
	}
	if err != nil {
		return fmt.Errorf("reading table %s with %s: %w", table, p.path, err)
	}
	for _, line := range rules {
		each(line)
	}
	return nil
}

// redirects reports whether a line of `iptables -S` is a rule of somebody else's that names the
// address as a destination and changes it.
func redirects(line string, to netip.Addr) bool {
	words, err := splitWords(line)
	if err != nil || len(words) < 2 || words[0] != "-A" || ownChain(words[1]) {
		return false
	}
	named, changes := false, false
	for i := 2; i+1 < len(words); i++ {
		switch words[i] {
		case "--comment":
			i++
		case "-d":
			p, ok := parsePrefix(words[i+1])
			named = ok && p.Contains(to) && words[i-1] != "!"
		case "-j":
			changes = slices.Contains(destinationTargets, words[i+1])
		}
	}
	return named && changes
}

// redirects is the function of that name, for a rule of nf_tables. It sees a match on the one
// address, which is how nft, iptables and Docker write it.
func (r nfRule) redirects(to netip.Addr) bool {
	named, changes := false, false
	loaded := false // the destination is in the register
	for _, e := range r.exprs {
		switch decoded, _ := decodeExpr(e); x := decoded.(type) {
		case *expr.Payload:
			loaded = x.Base == expr.PayloadBaseNetworkHeader && x.Offset == destinationOffset && x.Len == 4
		case *expr.Cmp:
			named = named || loaded && x.Op == expr.CmpOpEq && string(x.Data) == string(to.AsSlice())
		}
		changes = changes || e.changesDestination()
	}
	return named && changes
}

// changesDestination reports whether the expression gives a packet another destination.
func (e nfExpr) changesDestination() bool {
	ad, err := nfDecoder(e.data)
	if err != nil {
		return false
	}
	find := func(kind uint16) (found *netlink.AttributeDecoder) {
		for ad.Next() {
			if ad.Type() == kind {
				return ad
			}
		}
		return nil
	}
	switch e.name {
	case "redir":
		return true
	case "nat":
		a := find(unix.NFTA_NAT_TYPE)
		return a != nil && a.Uint32() == unix.NFT_NAT_DNAT
	case "target": // of iptables
		a := find(unix.NFTA_TARGET_NAME)
		return a != nil && slices.Contains(destinationTargets, a.String())
	}
	return false
}
