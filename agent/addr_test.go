package agent

import (
	"net/netip"
	"strings"
)

// addrList are the addresses of a text, separated by blanks.
func addrList(text string) []netip.Addr {
	var all []netip.Addr
	for _, s := range strings.Fields(text) {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

// addrRange is n consecutive addresses.
func addrRange(first string, n int) []netip.Addr {
	var all []netip.Addr
	for a := netip.MustParseAddr(first); len(all) < n; a = a.Next() {
		all = append(all, a)
	}
	return all
}

func prefixList(texts string) (list []netip.Prefix) {
	for text := range strings.FieldsSeq(texts) {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}
