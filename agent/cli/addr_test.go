package cli

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
