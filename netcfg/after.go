package netcfg

import (
	"net/netip"
	"slices"
)

// Without is what is left of o when the changes of PlanRemoval have been made: for a plan of what comes after a removal.
func (o Observed) Without(static []netip.Addr) Observed {
	made := o.Rules.made()
	built := slices.DeleteFunc(slices.Clone(o.Rules.Built), func(name string) bool { return slices.Contains(made, name) })
	o.Rules, o.Strays = RuleSet{Built: built}, nil
	o.Link.Addrs = slices.DeleteFunc(slices.Clone(o.Link.Addrs), func(a Address) bool { return slices.Contains(static, a.Prefix.Addr()) })
	return o
}
