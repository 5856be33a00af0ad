package pool

import (
	"net/netip"
	"reflect"
	"testing"
)

func TestIn(t *testing.T) {
	p, err := Parse(Args{Master: []string{"10.0.1.10,10.0.2.10,10.1.3.10"}, Core: []string{"10.0.1.20-10.0.1.21,10.0.2.20-10.0.2.21"}, Task: []string{"192.168.0.1,10.0.1.30"}})
	if err != nil {
		t.Fatal(err)
	}
	p.MasterOnly = true
	list := func(texts ...string) (out []netip.Addr) {
		for _, s := range texts {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	vpc := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("10.1.0.0/16")}
	got := p.In(netip.MustParsePrefix("10.0.2.0/24"), vpc)
	want := Placement{
		Own:     Pools{Master: list("10.0.2.10"), Core: list("10.0.2.20", "10.0.2.21"), MasterOnly: true},
		Others:  Pools{Master: list("10.0.1.10", "10.1.3.10"), Core: list("10.0.1.20", "10.0.1.21"), Task: list("10.0.1.30")},
		Outside: Pools{Task: list("192.168.0.1")},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
