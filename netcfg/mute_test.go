package netcfg_test

import (
	"net/netip"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// A configuration in which no connection leaves with the static IP is mute, and no other one is.
func TestMute(t *testing.T) {
	networks := func(list ...string) (prefixes []netip.Prefix) {
		for _, p := range list {
			prefixes = append(prefixes, netip.MustParsePrefix(p))
		}
		return prefixes
	}
	private := networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
	for _, tt := range []struct {
		scope         netcfg.Scope
		only, exclude []netip.Prefix
		mute          bool
	}{
		{netcfg.ScopeExternal, nil, nil, false},
		{netcfg.ScopeExternal, nil, networks("192.168.0.0/16"), false},
		{netcfg.ScopeExternal, nil, networks("0.0.0.0/0"), true},
		{netcfg.ScopeAll, nil, networks("0.0.0.0/0"), true},
		{netcfg.ScopeExternal, networks("10.5.0.0/16"), networks("10.5.0.0/16"), true},
		{netcfg.ScopeExternal, networks("10.5.0.0/16"), networks("10.5.0.0/17"), false},
		{netcfg.ScopeExternal, networks("10.5.0.0/16", "10.6.0.0/16"), networks("10.5.0.0/16"), false},
		{netcfg.ScopeExternal, networks("10.5.0.0/16", "10.6.0.0/16"), networks("10.4.0.0/14"), true},
		{netcfg.ScopeAll, networks("10.0.0.0/16"), nil, false},
		{netcfg.ScopePrivate, nil, private, true},
		{netcfg.ScopePrivate, nil, private[1:], false},
	} {
		c := netcfg.Config{Scope: tt.scope, VPC: networks("10.0.0.0/16"), Only: tt.only, Exclude: tt.exclude}
		if got := c.Mute(); got != tt.mute {
			t.Errorf("scope %s, only %v, exclude %v: %t", tt.scope, tt.only, tt.exclude, got)
		}
	}
}
