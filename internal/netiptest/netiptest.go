// Package netiptest writes the addresses and networks of a test as text. Only tests import it.
package netiptest

import (
	"net/netip"
	"strings"
)

// Addrs returns the addresses of a text, separated by blanks.
func Addrs(text string) (list []netip.Addr) {
	for s := range strings.FieldsSeq(text) {
		list = append(list, netip.MustParseAddr(s))
	}
	return list
}

// Range returns n consecutive addresses.
func Range(first string, n int) (list []netip.Addr) {
	for a := netip.MustParseAddr(first); len(list) < n; a = a.Next() {
		list = append(list, a)
	}
	return list
}

// Prefixes returns the networks of a text, separated by blanks.
func Prefixes(text string) (list []netip.Prefix) {
	for s := range strings.FieldsSeq(text) {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}
