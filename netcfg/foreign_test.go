package netcfg_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// foreignRules fills nat and filter of a program with rules of somebody else's.
func foreignRules(t testing.TB, program string, n int) {
	t.Helper()
	for _, table := range []string{"nat", "filter"} {
		sh(t, fmt.Sprintf(`{ echo '*%s'; for c in $(seq 100); do echo ":KUBE-SVC-$c - [0:0]"; done
seq %d | awk '{ printf "-A KUBE-SVC-%%d -d 172.20.%%d.%%d/32 -p tcp -m tcp --dport %%d -j RETURN\n", $1%%100+1, $1/250%%250, $1%%250, $1%%60000+1 }'
echo COMMIT; } | %s-restore --noflush -w 5`, table, n, program))
	}
}

const manyRules = 10_000

// The native backend does as much work with 10,000 rules of others as with none: it does not read
// them. What counts is what the kernel's answers make it allocate.
func TestForeignRulesCostNativeNothing(t *testing.T) {
	enter(t, "iptables-nft", "iptables-legacy")
	n := realNode(t, variants[2].options, variants[2].program)
	n.ensure(t, config(), -1)
	ctx := bounded(t)
	look := func() float64 {
		return testing.AllocsPerRun(20, func() {
			if r, err := netcfg.Ensure(ctx, n, config(), nil); err != nil || len(r.Changes) > 0 {
				t.Error(r.Changes, err)
			}
		})
	}
	few := look()
	foreignRules(t, "iptables-nft", manyRules)
	// A hundred chains more are listed in each table, by name, and no rule of theirs.
	if many, chains := look(), 200.0; many > few+20*chains {
		t.Errorf("%v allocations with %d rules of others in two tables, %v before", many, manyRules, few)
	} else {
		t.Logf("%v allocations, %v with the chains of others", few, many)
	}
}

// With iptables a look at the kernel is one listing, and a change one write, however many rules
// there are.
func TestForeignRulesTakeOneListing(t *testing.T) {
	for _, v := range variants[:2] {
		t.Run(v.name, func(t *testing.T) {
			enter(t, v.program)
			dir := t.TempDir()
			log := filepath.Join(dir, "log")
			for _, sister := range []string{"", "-restore"} {
				real, err := exec.LookPath(v.program + sister)
				if err != nil {
					t.Fatal(err)
				}
				script := fmt.Sprintf("#!/bin/sh\necho \"$*\" >>%s\nexec %s \"$@\"\n", log, real)
				if err := os.WriteFile(filepath.Join(dir, "iptables"+sister), []byte(script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			options := v.options
			options.Iptables = filepath.Join(dir, "iptables")
			n := realNode(t, options, v.program)
			foreignRules(t, v.program, manyRules)
			calls := func(changes int) (listings, writes, others int) {
				t.Helper()
				if err := os.WriteFile(log, nil, 0o644); err != nil {
					t.Fatal(err)
				}
				if r, err := netcfg.Ensure(bounded(t), n, config(), nil); err != nil || len(r.Changes) != changes {
					t.Fatal(r.Changes, err)
				}
				data, err := os.ReadFile(log)
				if err != nil {
					t.Fatal(err)
				}
				for line := range strings.Lines(string(data)) {
					switch words := strings.Fields(line); {
					case slices.Contains(words, "-S"):
						listings++
					case slices.Contains(words, "--noflush") && !slices.Contains(words, "--test"):
						writes++
					default:
						others++
					}
				}
				return listings, writes, others
			}
			if l, w, o := calls(2); l != 2 || w > 2 || o > 0 { // before and after; where conntrack was off, two writes
				t.Errorf("a first run makes %d listings, %d writes, %d others", l, w, o)
			}
			if l, w, o := calls(0); l != 1 || w+o > 0 {
				t.Errorf("a run in order makes %d listings, %d writes, %d others; want one listing", l, w, o)
			}
			n.unjump()
			if l, w, o := calls(1); l != 2 || w != 1 || o > 0 {
				t.Errorf("a repair makes %d listings, %d writes, %d others; want 2, 1, 0", l, w, o)
			}
		})
	}
}

// What a run in order costs beside 10,000 rules of others in nat, and as many in filter.
func BenchmarkForeignRules(b *testing.B) {
	for _, v := range variants {
		for _, foreign := range []int{0, manyRules} {
			b.Run(fmt.Sprintf("%s-%d", v.name, foreign), func(b *testing.B) {
				enter(b, v.program)
				n := realNode(b, v.options, v.program)
				ctx := bounded(b)
				if foreign > 0 {
					foreignRules(b, v.program, foreign)
				}
				if _, err := netcfg.Ensure(ctx, n, config(), nil); err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					if r, err := netcfg.Ensure(ctx, n, config(), nil); err != nil || len(r.Changes) > 0 {
						b.Fatal(r.Changes, err)
					}
				}
			})
		}
	}
}
