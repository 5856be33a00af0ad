// Package verify connects to the services of --verify, to show that the static IP works.
package verify

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// MaxTargets limits how many services one run connects to.
const MaxTargets = 16

// Target is a TCP service that --verify connects to. Its text is host:port.
type Target struct {
	Host string // an IPv4 address, or a host name in lower case
	Port uint16 // not 0
}

// String returns host:port.
func (t Target) String() string { return t.Host + ":" + strconv.Itoa(int(t.Port)) }

// MarshalText returns the form in which the state file has a target.
func (t Target) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText is ParseTarget.
func (t *Target) UnmarshalText(value []byte) error {
	v, err := ParseTarget(string(value))
	if err != nil {
		return fmt.Errorf("target %s %w", text.Quote(string(value)), err)
	}
	*t = v
	return nil
}

// ParseTarget reads host:port. An error is a predicate that says what is wrong with value.
func ParseTarget(value string) (Target, error) {
	host, port, ok := strings.Cut(value, ":")
	switch {
	case strings.Contains(value, "://"):
		return Target{}, errors.New("is a URL; expected host:port, such as 192.168.50.10:8020")
	case strings.HasPrefix(value, "["), strings.Contains(port, ":"):
		return Target{}, errors.New("is IPv6; static IPs are IPv4, and so is what they connect to")
	case !ok:
		return Target{}, errors.New("has no port; expected host:port, such as 192.168.50.10:8020")
	case host == "":
		return Target{}, errors.New("has no host; expected host:port, such as 192.168.50.10:8020")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return Target{}, fmt.Errorf("has the port %s; expected a number from 1 to 65535", text.Quote(port))
	}
	t := Target{Host: strings.ToLower(host), Port: uint16(n)}
	if strings.Trim(host, "0123456789.") == "" {
		a, err := text.IPv4(host)
		switch {
		case err != nil:
			return Target{}, fmt.Errorf("has the host %s, which %w", text.Quote(host), err)
		case a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			return Target{}, fmt.Errorf("names %s, which is no address of another host", a)
		}
		return t, nil
	}
	if err := checkHostName(t.Host); err != nil {
		return Target{}, fmt.Errorf("has the host %s, which %w", text.Quote(host), err)
	}
	return t, nil
}

// checkHostName reports what is wrong with a host name (RFC 1123). It allows underscores, which
// occur in private zones.
func checkHostName(host string) error {
	if len(host) > 253 {
		return errors.New("is longer than the 253 characters of a host name")
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
		outside := strings.ContainsFunc(label, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_')
		})
		if outside || label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return errors.New("is neither an IPv4 address nor a host name")
		}
	}
	return nil
}

// ParseTargets reads the values of --verify. Each has one target, or several separated by commas.
// name is the flag's name in messages.
func ParseTargets(name string, texts []string) ([]Target, error) {
	var targets []Target
	var problems []error
	named := map[Target]bool{}
	for _, value := range texts {
		for item := range strings.SplitSeq(value, ",") {
			t, err := ParseTarget(strings.TrimSpace(item))
			switch {
			case err != nil:
				problems = append(problems, fmt.Errorf("%s %s %w", name, text.Quote(item), err))
			case named[t]:
				problems = append(problems, fmt.Errorf("%s names %s twice", name, t))
			default:
				named[t] = true
				targets = append(targets, t)
			}
		}
	}
	if len(targets) > MaxTargets {
		problems = append(problems, fmt.Errorf("%s names %d services; at most %d are tried", name, len(targets), MaxTargets))
	}
	return targets, errors.Join(text.Limit(problems)...)
}

// Join returns targets separated by commas.
func Join(targets []Target) string {
	texts := make([]string, len(targets))
	for i, t := range targets {
		texts[i] = t.String()
	}
	return strings.Join(texts, ", ")
}
