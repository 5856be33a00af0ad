package agent

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// Rules that the backend does not show are unknown. They are not missing and foreign at once.
func TestRulesThatTheBackendHides(t *testing.T) {
	want := netcfg.Config{Primary: netip.MustParseAddr("10.0.1.5"), Static: netip.MustParseAddr("10.0.1.20"), VPC: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}}
	t.Run("few", func(t *testing.T) { hides(t, want) })
	for i := range 200 {
		want.Only = append(want.Only, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(i), 0}), 25))
	}
	t.Run("many", func(t *testing.T) { hides(t, want) })
}

func hides(t *testing.T, want netcfg.Config) {
	o := netcfg.Observed{Backend: netcfg.IptablesNFT, Unusable: errors.New("table nat is incompatible")}
	o.Rules = want.Desired(o.Link.Name).For(o.Backend)
	for i := range o.Rules.Chains {
		o.Rules.Chains[i].Rules = []netcfg.Rule{{Unknown: "(rule handle 22)"}, {Unknown: "(rule handle 23)"}}
	}
	states := func(items []Item) (list []string) {
		for _, item := range items {
			list = append(list, item.State+" "+item.What)
		}
		return list
	}
	got := states(KernelItems(o, want, true))
	bad := func(s string) bool {
		return strings.Contains(s, "handle") || strings.HasPrefix(s, itemMissing+" -A") || strings.HasPrefix(s, itemForeign)
	}
	hidden := func(s string) bool {
		return strings.HasPrefix(s, itemUnknown) && strings.Contains(s, "EMR-STATIC-IP-IN") && strings.Contains(s, "EMR-STATIC-IP-OUT")
	}
	long := func(s string) bool { return len(s) > 200 }
	if slices.ContainsFunc(got, bad) || !slices.ContainsFunc(got, hidden) || slices.ContainsFunc(got, long) {
		t.Errorf("in use: %q", got)
	}
	if got := states(KernelItems(o, want, false)); !slices.ContainsFunc(got, bad) || len(got) > 50 {
		t.Errorf("after a release: %q", got)
	}
	o.Unusable = nil
	if got := states(KernelItems(o, want, true)); !slices.ContainsFunc(got, bad) {
		t.Errorf("a backend that works: %q", got)
	}
}
