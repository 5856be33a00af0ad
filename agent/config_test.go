package agent

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
	"github.com/emr-static-ip/emr-static-ip/internal/tag"
)

func TestRepeating(t *testing.T) {
	last := testSettings()
	c := DefaultConfig()
	if got := c.Repeating(last).Settings(); !reflect.DeepEqual(got, last) {
		t.Errorf("without arguments: got %+v, want %+v", got, last)
	}
	named := c
	named.Pools = Pools{Master: netiptest.Addrs("10.0.1.77")}
	if got := named.Repeating(last); !reflect.DeepEqual(got, named) {
		t.Errorf("with addresses: got %+v, want %+v", got, named)
	}
	// Each flag that was given wins over the last run, and nothing else changes.
	given := c
	given.Role, given.Scope, given.Backend, given.Prefix, given.PutRate = RoleTask, "external", "auto", "/emr-static-ip", 3
	given.Only, given.Exclude = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}, nil
	for name, test := range map[string]struct {
		given Given
		set   func(*Settings)
	}{
		"Role":    {Given{Role: true}, func(s *Settings) { s.Role = given.Role }},
		"Scope":   {Given{Scope: true}, func(s *Settings) { s.Scope = given.Scope }},
		"Only":    {Given{Only: true}, func(s *Settings) { s.Only = given.Only }},
		"Exclude": {Given{Exclude: true}, func(s *Settings) { s.Exclude = given.Exclude }},
		"Backend": {Given{Backend: true}, func(s *Settings) { s.Backend = given.Backend }},
		"Prefix":  {Given{Prefix: true}, func(s *Settings) { s.Prefix = given.Prefix }},
		"PutRate": {Given{PutRate: true}, func(s *Settings) { s.PutRate = given.PutRate }},
		"NameTag": {Given{NameTag: true}, func(s *Settings) { s.NameTag = false }},
		"Verify":  {Given{Verify: true}, func(s *Settings) { s.Verify = nil }},
		"Tags":    {Given{ClaimTags: true}, func(s *Settings) { s.ClaimTags = nil }},
	} {
		c := given
		c.Given = test.given
		c.NameTag = !test.given.NameTag
		want := last
		test.set(&want)
		if got := c.Repeating(last).Settings(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

// testSettings has a value in every field, so that a test notices one that is not repeated.
func testSettings() Settings {
	return Settings{
		Pools: Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11 10.0.1.12"), Task: netiptest.Addrs("10.0.1.20")},
		Role:  RoleCore, Scope: "all", ScopeFrom: ScopeAsked, Only: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")},
		Exclude: []netip.Prefix{netip.MustParsePrefix("192.168.9.0/24")}, Backend: "iptables", Prefix: "/x", NameTag: true, NoUnits: true, PutRate: 5,
		Verify:           targetList("192.168.50.10:8020", "nn.example.com:443"),
		NoShutdownAction: true, ClaimTags: []tag.Tag{{Key: "team", Value: "data"}},
	}
}
