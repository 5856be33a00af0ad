package text

import (
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/internal/identifier"
)

// Form describes what a value must look like to be used. Values end up in parameter names and in
// messages.
type Form struct {
	Name string // in messages: "a cluster id (j-...)"
	Fits func(string) bool
}

// EMRID returns the form of an identifier of EMR with one of the prefixes.
func EMRID(name string, prefixes ...string) Form {
	return Form{name, func(s string) bool {
		return slices.ContainsFunc(prefixes, func(prefix string) bool { return identifier.EMR(s, prefix) })
	}}
}

// EC2ID returns the form of an identifier of EC2.
func EC2ID(prefix string) Form {
	return Form{prefix + " and hexadecimal digits", func(s string) bool { return identifier.EC2(s, prefix) }}
}

// Word is the name of a region, a release or an instance type: letters, digits, dots, dashes and
// underscores.
func Word(name string) Form {
	return Form{name, func(s string) bool {
		return s != "" && len(s) <= 64 &&
			strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
	}}
}

// IPv4 reads one address. An error is a predicate that says what s is instead.
func IPv4(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err == nil && a.Is4():
		return a, nil
	case err == nil || strings.Count(s, ":") > 1:
		return netip.Addr{}, errors.New("is IPv6; static IPs are IPv4 addresses of the node's subnet")
	case strings.Contains(s, "."):
		return netip.Addr{}, errors.New("is not an IPv4 address (four numbers from 0 to 255 without leading zeros)")
	default:
		return netip.Addr{}, errors.New("is neither an IPv4 address nor a range nor a CIDR")
	}
}
