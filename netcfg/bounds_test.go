package netcfg_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// networks returns n networks outside the VPC.
func networks(n int) (list []netip.Prefix) {
	for i := range n {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i / 250), byte(i % 250), 0}), 25))
	}
	return list
}

// As many networks as are allowed can be programmed, changed and removed in every backend. One more
// is refused, and nothing is changed.
func TestManyNetworks(t *testing.T) {
	eachKernel(t, func(t *testing.T, n *node) {
		before := n.dump()
		c := config()
		c.Exclude = networks(netcfg.MaxNetworks - len(c.VPC))
		n.ensure(t, c, 2)
		c.Only, c.Exclude = c.Exclude, nil
		n.ensure(t, c, 1)
		full := n.dump()
		c.Exclude = networks(1)
		r, err := netcfg.Ensure(bounded(t), n, c, nil)
		if !errors.Is(err, netcfg.ErrTooMany) || !strings.Contains(err.Error(), fmt.Sprint(netcfg.MaxNetworks+1)) || len(r.Changes) > 0 {
			t.Errorf("one more: changes %v, error %v", r.Changes, err)
		}
		if err := netcfg.Preflight(bounded(t), n, c, []netip.Addr{static}, true); !errors.Is(err, netcfg.ErrTooMany) {
			t.Errorf("preflight: %v", err)
		}
		if n.dump() != full {
			t.Error("refused, and something is changed")
		}
		n.ensure(t, config(), 1)
		c.Exclude = nil
		n.ensure(t, c, 1)
		n.removeAll(t, 2, static)
		if got := n.dump(); got != before {
			t.Errorf("after the removal:\n%s\nbefore:\n%s", got, before)
		}
	})
}

// Root of a user namespace cannot enlarge a socket's buffer beyond the kernel's default.
func TestManyNetworksWithoutPrivilege(t *testing.T) {
	enter(t, "unshare")
	script := `unshare -rn sh -euc 'ip link set lo up; { echo "table ip x {"; echo " chain y {"; i=0
while [ $i -lt 5 ]; do echo "ip daddr 192.0.2.$i counter return"; i=$((i+1)); done; echo " }"; echo "}"; } | nft -f -'`
	if out, err := trySh(script); err != nil {
		t.Skipf("no user namespaces here: %v %s", err, out)
	}
	if size := netcfg.NativeSize(config().MAC, netcfg.MaxNetworks); size > 2*212992 {
		t.Errorf("a transaction of %d networks is %d bytes long, and the kernel takes %d by default", netcfg.MaxNetworks, size, 2*212992)
	}
}

// More rules than this version would make, as an earlier one did, can be removed.
func TestRemovalOfManyRules(t *testing.T) {
	for _, v := range variants[:2] {
		t.Run(v.name, func(t *testing.T) {
			enter(t, v.program)
			n := realNode(t, v.options, v.program)
			before := n.dump()
			n.ensure(t, config(), 2)
			sh(t, `{ echo '*nat'; i=0; while [ $i -lt 5000 ]; do echo "-A EMR-STATIC-IP-OUT -d 11.$((i/250)).$((i%250)).0/24 -j RETURN"; i=$((i+1)); done; echo COMMIT; } | `+v.program+`-restore --noflush -w 5`)
			auto, err := netcfg.Open(bounded(t), autoOptions)
			if err != nil {
				t.Fatal(err)
			}
			if v.name == "legacy" {
				auto = n
			}
			if _, err := netcfg.Remove(bounded(t), auto, mac, []netip.Addr{static}, nil); err != nil {
				t.Fatal(err)
			}
			if got := n.dump(); got != before {
				t.Error("the removal leaves something")
			}
		})
	}
}

// Many rules of others make a run longer, and break nothing.
func TestManyForeignRules(t *testing.T) {
	rules := 140_000
	if testing.Short() {
		rules = 10_000
	}
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			enter(t, v.program)
			n := realNode(t, v.options, v.program)
			sh(t, fmt.Sprintf(`{ echo '*nat'; for c in $(seq 100); do echo ":KUBE-SVC-$c - [0:0]"; done
seq %d | awk '{ printf "-A KUBE-SVC-%%d -d 172.20.%%d.%%d/32 -p tcp -m tcp --dport %%d -j RETURN\n", $1%%100+1, $1/250%%250, $1%%250, $1%%60000+1 }'
echo COMMIT; } | %s-restore --noflush -w 5`, rules, v.program))
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			began := time.Now()
			for _, want := range []int{2, 0} {
				if r, err := netcfg.Ensure(ctx, n, config(), nil); err != nil || len(r.Changes) != want {
					t.Fatalf("%d changes, %v", len(r.Changes), err)
				}
				t.Logf("ensure: %v", time.Since(began))
				began = time.Now()
			}
			if r, err := netcfg.Remove(ctx, n, mac, []netip.Addr{static}, nil); err != nil || len(r.Changes) != 2 {
				t.Fatalf("%d changes, %v", len(r.Changes), err)
			}
			t.Logf("remove: %v", time.Since(began))
		})
	}
}
