package netcfg

import "slices"

// iptables-nft makes table `ip nat` and its built-in chains when they are first used, and never takes them away. So
// that a removal can leave the kernel as it was, the kernel itself keeps the record of what exists because of us: a chain that nothing
// jumps to, with one rule for each built-in chain that we caused. It goes away with the table.
//
//	-N EMR-STATIC-IP-NEW
//	-A EMR-STATIC-IP-NEW -m comment --comment emr-static-ip:TABLE
//	-A EMR-STATIC-IP-NEW -m comment --comment emr-static-ip:POSTROUTING

// madeTable stands for the table itself among the names of built-in chains.
const madeTable = "TABLE"

// madeNames are all names that the record can hold.
var madeNames = []string{madeTable, preRouting, output, postRouting}

// withMade adds that record to the wanted rules: what have says, and what is about to be made.
func (s RuleSet) withMade(have RuleSet) RuleSet {
	made := have.made()
	add := func(name string) {
		if !slices.Contains(made, name) {
			made = append(made, name)
		}
	}
	if !slices.Contains(have.Built, madeTable) {
		add(madeTable)
	}
	for _, j := range s.Jumps {
		if !slices.Contains(have.Built, j.Chain) {
			add(j.Chain)
		}
	}
	if len(made) == 0 {
		return s
	}
	var rules []Rule
	for _, m := range made {
		rules = append(rules, Rule{Made: m})
	}
	s.Chains = []Chain{s.Chains[0], {ChainNew, rules}, s.Chains[1]}
	return s
}

// made lists what the record says: names of built-in chains, and TABLE.
func (s RuleSet) made() (names []string) {
	rules, _ := s.chain(ChainNew)
	for _, r := range rules {
		if r.Made != "" {
			names = append(names, r.Made)
		}
	}
	return names
}

// nftLeftovers are the commands that take away what was made for us, once our rules are gone. They fail, and do no harm, where
// somebody else has begun to use it.
func nftLeftovers(have RuleSet) (commands []string) {
	table := false
	for _, m := range have.made() {
		if m == madeTable {
			table = true
			continue
		}
		commands = append(commands, "delete chain ip nat "+m)
	}
	if table {
		commands = append(commands, "delete table ip nat")
	}
	return commands
}
