package netcfg

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Rules of the iptables-nft variant live in table `ip nat` of nf_tables. Here they are found and removed over netlink: that needs no
// program, creates nothing, and does in one transaction what iptables-nft-restore cannot, namely to take away the table and the
// built-in chains that were made for us.

// natTableName is the table that iptables-nft fills.
const natTableName = "nat"

// nonRecursive makes the kernel refuse to delete what is not empty (NLM_F_NONREC).
const nonRecursive netlink.HeaderFlags = 0x100

// readNat finds our chains and the jumps to them. The rules in our chains are only counted.
func readNat(ctx context.Context) (set RuleSet, err error) {
	t, err := nfRead(ctx, natTableName)
	if t == nil || err != nil {
		return RuleSet{}, err
	}
	for _, c := range t.chains {
		if !ownChain(c.name) {
			continue
		}
		chain := Chain{Name: clean(c.name)}
		for _, r := range t.rules {
			if r.chain == c.name {
				chain.Rules = append(chain.Rules, Rule{Unknown: fmt.Sprintf("(rule handle %d)", r.handle)})
			}
		}
		set.Chains = append(set.Chains, chain)
	}
	place := map[string]int{}
	for _, r := range t.rules {
		place[r.chain]++
		if to := jumpOf(r.exprs); ownChain(to) && !ownChain(r.chain) {
			set.Jumps = append(set.Jumps, Jump{r.chain, place[r.chain], to, jumpText(to)})
		}
	}
	set.sort()
	return set, nil
}

// builtChains lists what exists of table nat itself: see RuleSet.Built.
func builtChains(ctx context.Context) (names []string, err error) {
	t, err := nfRead(ctx, natTableName)
	if t == nil || err != nil {
		return nil, err
	}
	names = []string{madeTable}
	for _, c := range t.chains {
		if c.base {
			names = append(names, c.name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// removeNat removes our jumps and chains, and what was made for us where nobody else has begun to use it.
func removeNat(ctx context.Context) error {
	t, err := nfRead(ctx, natTableName)
	if t == nil || err != nil {
		return err
	}
	return removeNatAsRead(ctx, t)
}

func removeNatAsRead(ctx context.Context, t *nfTable) error {
	ours, leftovers, err := natRemoval(t)
	if err != nil {
		return err
	}
	err = nfBatch(ctx, append(slices.Clone(ours), leftovers...))
	if errors.Is(err, syscall.EBUSY) && len(leftovers) > 0 {
		err = nfBatch(ctx, ours) // somebody has just put a rule there: it stays, and so does its chain
	}
	if err != nil {
		return fmt.Errorf("removing our chains from nf_tables table ip %s: %w", natTableName, err)
	}
	return nil
}

// natRemoval gives the messages that remove our rules and chains, and those that remove what was made for us.
func natRemoval(t *nfTable) (ours, leftovers []netlink.Message, err error) {
	var errs []error
	add := func(list *[]netlink.Message, kind int, flags netlink.HeaderFlags, attrs ...netlink.Attribute) {
		m, err := nfMessage(kind, netlink.Acknowledge|flags, attrs...)
		*list = append(*list, m)
		errs = append(errs, err)
	}
	others := map[string]int{} // rules that stay, by chain
	made := map[string]bool{}
	for _, r := range t.rules {
		if r.chain == ChainNew {
			if name, ok := madeComment(r); ok {
				made[name] = true
			}
		}
		if !ownChain(r.chain) && !ownChain(jumpOf(r.exprs)) {
			others[r.chain]++
			continue
		}
		add(&ours, unix.NFT_MSG_DELRULE, 0, nfString(unix.NFTA_RULE_TABLE, t.name), nfString(unix.NFTA_RULE_CHAIN, r.chain),
			netlink.Attribute{Type: unix.NFTA_RULE_HANDLE, Data: binary.BigEndian.AppendUint64(nil, r.handle)})
	}
	left := 0
	for _, c := range t.chains {
		attrs := []netlink.Attribute{nfString(unix.NFTA_CHAIN_TABLE, t.name), nfString(unix.NFTA_CHAIN_NAME, c.name)}
		switch {
		case ownChain(c.name):
			add(&ours, unix.NFT_MSG_DELCHAIN, nonRecursive, attrs...)
		case made[c.name] && c.base && others[c.name] == 0 && c.accept:
			add(&leftovers, unix.NFT_MSG_DELCHAIN, nonRecursive, attrs...)
		default:
			left++
		}
	}
	if made[madeTable] && left == 0 {
		add(&leftovers, unix.NFT_MSG_DELTABLE, nonRecursive, nfString(unix.NFTA_TABLE_NAME, t.name))
	}
	return ours, leftovers, errors.Join(errs...)
}

// madeComment finds the name in a comment of ChainNew. iptables-nft keeps comments in a match or in the user data, by version.
func madeComment(r nfRule) (string, bool) {
	places := [][]byte{r.user}
	for _, e := range r.exprs {
		places = append(places, e.data)
	}
	for _, name := range madeNames {
		for _, p := range places {
			if bytes.Contains(p, []byte(Tag+":"+name+"\x00")) {
				return name, true
			}
		}
	}
	return "", false
}
