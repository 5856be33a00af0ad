package netcfg

import (
	"net/netip"
	"testing"
)

func TestTranslates(t *testing.T) {
	prefixes := func(list ...string) (p []netip.Prefix) {
		for _, s := range list {
			p = append(p, netip.MustParsePrefix(s))
		}
		return p
	}
	base := Config{Primary: netip.MustParseAddr("10.0.1.5"), Static: netip.MustParseAddr("10.0.1.20"), VPC: prefixes("10.0.0.0/16", "10.7.0.0/16")}
	all, only, exclude, everything, private, some := base, base, base, base, base, base
	private.Scope = ScopePrivate
	private.Exclude = prefixes("192.168.9.0/24")
	some.Scope, some.Only = ScopePrivate, prefixes("192.168.50.0/24", "172.0.0.0/8")
	all.Scope = ScopeAll
	only.Only = prefixes("192.168.0.0/16", "172.16.0.0/12")
	exclude.Exclude = prefixes("192.168.9.0/24")
	everything.Only = prefixes("0.0.0.0/0")
	for _, test := range []struct {
		name   string
		config Config
		to     string
		want   bool
	}{
		{"external", base, "192.168.50.10", true},
		{"external", base, "10.7.1.1", false},
		{"external", base, "169.254.169.254", false},
		{"external", base, "224.0.0.1", false},
		{"all", all, "10.7.1.1", true},
		{"all", all, "169.254.169.254", false},
		{"only", only, "192.168.50.10", true},
		{"only", only, "172.31.0.1", true},
		{"only", only, "8.8.8.8", false},
		{"only", only, "10.0.0.1", false},
		{"exclude", exclude, "192.168.9.1", false},
		{"exclude", exclude, "192.168.8.1", true},
		{"private", private, "192.168.50.10", true},
		{"private", private, "172.31.0.1", true},
		{"private", private, "10.9.0.1", true},
		{"private", private, "100.64.0.2", true},
		{"private", private, "10.0.2.1", false},
		{"private", private, "10.7.2.1", false},
		{"private", private, "192.168.9.1", false},
		{"private", private, "172.32.0.1", false},
		{"private", private, "198.51.100.10", false},
		{"private and only", some, "192.168.50.10", true},
		{"private and only", some, "192.168.51.10", false},
		{"private and only", some, "172.16.0.1", true},
		{"private and only", some, "172.1.0.1", false},
		{"only everything", everything, "8.8.8.8", true},
	} {
		if got := test.config.Translates(netip.MustParseAddr(test.to)); got != test.want {
			t.Errorf("%s: %s: %t", test.name, test.to, got)
		}
	}
}
