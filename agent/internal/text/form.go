package text

import (
	"errors"
	"net/netip"
	"strings"
)

// Form describes what a value must look like to be used. Values end up in parameter names and in
// messages.
type Form struct {
	Name string // in messages: "a cluster id (j-...)"
	Fits func(string) bool
}

// EMRID is an identifier of EMR. It has a prefix of a letter or two and a dash, then capital
// letters and digits, today 13 of them.
func EMRID(name string, prefixes ...string) Form {
	return Form{name, func(s string) bool {
		for _, p := range prefixes {
			rest, ok := strings.CutPrefix(s, p)
			if ok && rest != "" && len(rest) <= 32 && strings.Trim(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == "" {
				return true
			}
		}
		return false
	}}
}

// EC2ID is an identifier of EC2. It has the prefix and 8 to 17 hexadecimal digits; it may
// have 1 to 40 of them.
func EC2ID(prefix string) Form {
	return Form{prefix + " and hexadecimal digits", func(s string) bool {
		rest, ok := strings.CutPrefix(s, prefix)
		return ok && len(rest) >= 1 && len(rest) <= 40 && strings.Trim(rest, "0123456789abcdef") == ""
	}}
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
