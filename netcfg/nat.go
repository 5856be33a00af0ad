package netcfg

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Rules of the iptables-nft variant live in table `ip nat` of nf_tables. Here they are found and
// removed over netlink. That needs no program, creates nothing, and works whatever else the table
// holds, also where iptables cannot show it. The built-in chains that iptables makes when they are
// first used stay behind, empty.

// natTableName is the table that iptables-nft fills.
const natTableName = "nat"

// nonRecursive makes the kernel refuse to delete a chain that is not empty (NLM_F_NONREC).
const nonRecursive = 0x100

// nfReadNat reads table `ip nat`. It returns nil if the table has nothing of ours. Without a chain
// of ours there is no jump to one, so the rules of others are not read then.
func nfReadNat(ctx context.Context, v nfView) (*nfTable, error) {
	t := v.table(natTableName)
	if t == nil || !slices.ContainsFunc(t.chains, func(c nfChain) bool { return ownChain(c.name) }) {
		return nil, nil
	}
	return t, t.readRules(ctx)
}

// readNat finds our chains and the jumps to them. The rules in our chains are only counted.
func readNat(ctx context.Context, v nfView) (set RuleSet, err error) {
	t, err := nfReadNat(ctx, v)
	if t == nil || err != nil {
		return RuleSet{}, err
	}
	for _, c := range t.chains {
		if !ownChain(c.name) {
			continue
		}
		chain := Chain{Name: c.name}
		for _, r := range t.rules {
			if r.chain == c.name {
				chain.Rules = append(chain.Rules, Rule{Unknown: fmt.Sprintf(hiddenRule+"%d)", r.handle)})
			}
		}
		set.Chains = append(set.Chains, chain)
	}
	place := map[string]int{}
	for _, r := range t.rules {
		place[r.chain]++
		if to := jumpOf(r.exprs); ownChain(to) && !ownChain(r.chain) {
			set.Jumps = append(set.Jumps, Jump{r.chain, place[r.chain], to, jumpText(netip.Prefix{}, to)})
		}
	}
	set.sort()
	return set, nil
}

// removeNat removes our jumps and chains in one transaction. It has two messages for each chain,
// however many rules there are.
func removeNat(ctx context.Context) error {
	v, err := nfLook(ctx)
	if err != nil {
		return err
	}
	t, err := nfReadNat(ctx, v)
	if t == nil || err != nil {
		return err
	}
	messages, err := natRemoval(t)
	if err == nil {
		err = nfBatch(ctx, messages, false)
	}
	if err != nil {
		return fmt.Errorf("removing our chains from nf_tables table ip %s: %w", natTableName, err)
	}
	return nil
}

// natRemoval returns the messages that delete the jumps, empty our chains, and delete them.
func natRemoval(t *nfTable) (messages []nfMessage, err error) {
	var errs []error
	add := func(kind, flags int, attrs ...netlink.Attribute) {
		m, err := nftMessage(kind, flags, unix.NFPROTO_IPV4, attrs...)
		messages = append(messages, m)
		errs = append(errs, err)
	}
	for _, r := range t.rules {
		if ownChain(jumpOf(r.exprs)) && !ownChain(r.chain) {
			add(unix.NFT_MSG_DELRULE, 0, nfString(unix.NFTA_RULE_TABLE, t.name), nfString(unix.NFTA_RULE_CHAIN, r.chain),
				netlink.Attribute{Type: unix.NFTA_RULE_HANDLE, Data: binary.BigEndian.AppendUint64(nil, r.handle)})
		}
	}
	for _, c := range t.chains {
		if ownChain(c.name) { // without a handle: all rules of the chain
			add(unix.NFT_MSG_DELRULE, 0, nfString(unix.NFTA_RULE_TABLE, t.name), nfString(unix.NFTA_RULE_CHAIN, c.name))
		}
	}
	for _, c := range t.chains {
		if ownChain(c.name) {
			add(unix.NFT_MSG_DELCHAIN, nonRecursive, nfString(unix.NFTA_CHAIN_TABLE, t.name), nfString(unix.NFTA_CHAIN_NAME, c.name))
		}
	}
	return messages, errors.Join(errs...)
}
