package netcfg_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// What would keep the rules from coming is said before anything is changed, all of it at once.
func TestPreflight(t *testing.T) {
	t.Run("all is well", func(t *testing.T) {
		eachKernel(t, func(t *testing.T, n *node) {
			before := n.dump()
			c := config()
			c.Static = netip.Addr{}
			for _, changes := range []int{2, 0} {
				if err := netcfg.Preflight(bounded(t), n, c, []netip.Addr{static, former}, true); err != nil {
					t.Error(err)
				}
				if got := n.dump(); got != before {
					t.Fatalf("changed:\n%s\nbefore:\n%s", got, before)
				}
				n.ensure(t, config(), changes)
				before = n.dump()
			}
		})
	})
	t.Run("all is wrong", func(t *testing.T) {
		eachKernel(t, func(t *testing.T, n *node) {
			n.add("eth1", netip.PrefixFrom(static, 32))
			before := n.dump()
			c := config()
			c.Primary = netip.MustParseAddr("10.0.2.5")
			err := netcfg.Preflight(bounded(t), n, c, []netip.Addr{former, static}, true)
			if err == nil {
				t.Fatal("no error")
			}
			golden.Is(t, "preflight.txt", err.Error()+"\n")
			if n.dump() != before {
				t.Error("something is changed")
			}
		})
	})
	enterNative := func(t *testing.T) *node {
		enter(t)
		return realNode(t, autoOptions, "iptables-nft")
	}
	refused := func(t *testing.T, n *node, name string) {
		t.Helper()
		before := n.dump()
		err := netcfg.Preflight(bounded(t), n, config(), []netip.Addr{static}, true)
		if !errors.Is(err, netcfg.ErrInTheWay) {
			t.Fatalf("error %v", err)
		}
		golden.Is(t, name, err.Error()+"\n")
		if r, err := netcfg.Ensure(bounded(t), n, config(), nil); !errors.Is(err, netcfg.ErrInTheWay) || len(r.Changes) > 0 {
			t.Errorf("and it is done all the same: %v, %v", r.Changes, err)
		}
		if n.dump() != before {
			t.Error("something is changed")
		}
	}
	t.Run("the interface is a port of a bridge", func(t *testing.T) {
		n := enterNative(t)
		sh(t, "ip link add br0 type bridge; ip link set eth0 master br0; ip addr flush dev eth0; ip addr add 10.0.1.5/24 dev br0; ip link set br0 address 02:00:00:00:00:05 up")
		refused(t, n, "preflight-bridge.txt")
	})
	t.Run("the address has a peer", func(t *testing.T) {
		n := enterNative(t)
		sh(t, "ip addr add 10.0.1.20 peer 10.0.1.1/32 dev eth0")
		refused(t, n, "preflight-peer.txt")
	})
	// The kernel checks the rules and keeps nothing of them.
	t.Run("the kernel refuses the rules", func(t *testing.T) {
		for _, v := range variants[2:] {
			enter(t)
			n := realNode(t, v.options, v.program)
			before := n.dump()
			want := config().Desired("eth0")
			if err := n.Try(bounded(t), netcfg.SetRules{Backend: netcfg.Nftables, Want: want}); err != nil {
				t.Error(err)
			}
			want.Jumps = append(want.Jumps, netcfg.Jump{Chain: "OUTPUT", To: "NOWHERE"})
			if err := n.Try(bounded(t), netcfg.SetRules{Backend: netcfg.Nftables, Want: want}); err == nil {
				t.Error("a jump to nowhere is accepted")
			}
			if n.dump() != before {
				t.Error("something is changed")
			}
		}
	})
	t.Run("iptables refuses the rules", func(t *testing.T) {
		enter(t)
		sh(t, setUp)
		path := fakeProgram(t, "case $* in *version*) echo 'iptables v1.8.9 (nf_tables)';; esac", "echo 'Extension addrtype is not supported, missing kernel module?' >&2; exit 2")
		k, err := netcfg.Open(bounded(t), netcfg.Options{Backend: "iptables", Iptables: path})
		if err != nil {
			t.Fatal(err)
		}
		if err := netcfg.Preflight(bounded(t), k, config(), []netip.Addr{static}, true); err == nil || !strings.Contains(err.Error(), "missing kernel module") {
			t.Error(err)
		}
	})
	t.Run("the kernel lacks something for auto", func(t *testing.T) {
		enter(t, "iptables-legacy")
		defer netcfg.LackNative()()
		n := realNode(t, netcfg.Options{Backend: "iptables", Iptables: "iptables-legacy"}, "iptables-legacy")
		k, err := netcfg.Open(bounded(t), netcfg.Options{Iptables: "iptables-legacy"})
		if err != nil {
			t.Fatal(err)
		}
		n.Kernel = k
		if err := netcfg.Preflight(bounded(t), n, config(), []netip.Addr{static}, true); err != nil {
			t.Error(err)
		}
		n.ensure(t, config(), 2)
		again, err := netcfg.Open(bounded(t), netcfg.Options{Iptables: "iptables-legacy"})
		if err != nil {
			t.Fatal(err)
		}
		n.Kernel = again // a restore, which has no preflight
		n.unjump()
		n.ensure(t, config(), -1)
		if got := n.Backend(); !strings.Contains(got, "legacy") {
			t.Errorf("backend %s", got)
		}
		n.removeAll(t, 2, static)
	})
}

// An address with a peer can be removed: the kernel wants the peer named.
func TestPeerIsRemoved(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			enter(t, v.program)
			n := realNode(t, v.options, v.program)
			before := n.dump()
			n.ensure(t, config(), 2)
			sh(t, "ip addr del 10.0.1.20/32 dev eth0; ip addr add 10.0.1.20 peer 10.0.1.1/32 dev eth0; ip addr add 10.0.1.20/32 dev eth0; ip addr add 10.0.1.20 peer 10.9.0.0/16 dev eth0")
			r, err := netcfg.Remove(bounded(t), n, mac, []netip.Addr{static}, nil)
			if err != nil || len(r.Changes) != 4 {
				t.Errorf("%v, %v", r.Changes, err)
			}
			if got := n.dump(); got != before {
				t.Errorf("after the removal:\n%s\nbefore:\n%s", got, before)
			}
		})
	}
}
