package netcfg

import (
	"net"
	"net/netip"
	"strings"
	"time"
)

// ParseRules parses a whole text.
func ParseRules(text string) (RuleSet, error) {
	p := newRuleParser()
	for line := range strings.Lines(text) {
		if err := p.line(line); err != nil {
			return RuleSet{}, err
		}
	}
	p.set.sort()
	return p.set, nil
}

// Settle is how long conntrack watches before the rules translate. Most tests have nothing to
// watch.
func Settle(d time.Duration) (restore func()) {
	before := settle
	settle = d
	return func() { settle = before }
}

// NativeSize returns the size in bytes of a native transaction with so many networks.
func NativeSize(mac net.HardwareAddr, networks int) (size int) {
	c := Config{MAC: mac, Primary: netip.MustParseAddr("10.0.1.5"), Static: netip.MustParseAddr("10.0.1.20")}
	for i := range networks {
		c.Exclude = append(c.Exclude, netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 8), byte(i), 0}), 25))
	}
	messages, err := nativeMessages(c.Desired("eth0").suspended())
	if err != nil {
		panic(err)
	}
	for _, m := range messages {
		size += len(m.append(nil, 0))
	}
	return size
}

// LackNative makes the kernel refuse all native rules, as one without the module for nat chains
// does.
func LackNative() (restore func()) {
	before := nativeHooks
	nativeHooks = map[string]nativeHook{}
	for name, h := range before {
		h.num = 99
		nativeHooks[name] = h
	}
	return func() { nativeHooks = before }
}
