package netcfg_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// A switch of the backend leaves the rules in one place only, and looking creates nothing anywhere.
func TestSwitchCleansUp(t *testing.T) {
	for _, from := range variants {
		for _, to := range variants {
			if from.name == to.name {
				continue
			}
			t.Run(from.name+" to "+to.name, func(t *testing.T) {
				enter(t, "iptables-nft", "iptables-legacy")
				a := realNode(t, from.options, from.program)
				a.ensure(t, config(), 2)
				b, err := netcfg.Open(bounded(t), to.options)
				if err != nil {
					t.Fatal(err)
				}
				n := &node{Kernel: b, dump: func() string { return a.dump() + sh(t, "iptables-legacy-save") }}
				n.ensure(t, config(), 2) // new rules, then the old ones away
				dump := sh(t, "iptables-legacy -w 5 -t nat -S; iptables-nft -t nat -S; nft list tables")
				if got := strings.Count(dump, "SNAT") + strings.Count(dump, "table ip emr-static-ip"); got != 1 {
					t.Errorf("rules in %d places:\n%s", got, dump)
				}
				n.removeAll(t, 2, static)
				if left := sh(t, "iptables-legacy-save; iptables-nft-save; nft list ruleset"); strings.Contains(strings.ToLower(left), "emr-static-ip") {
					t.Errorf("left:\n%s", left)
				}
			})
		}
	}
}

// Removal through one backend also takes out what another holds.
func TestRemovalFindsStrays(t *testing.T) {
	for _, from := range variants {
		for _, to := range variants {
			t.Run(from.name+" by "+to.name, func(t *testing.T) {
				enter(t, "iptables-nft", "iptables-legacy")
				a := realNode(t, from.options, from.program)
				before := a.dump()
				a.ensure(t, config(), 2)
				b, err := netcfg.Open(bounded(t), to.options)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := netcfg.Remove(bounded(t), b, mac, []netip.Addr{static}, nil); err != nil {
					t.Fatal(err)
				}
				if got := a.dump(); got != before {
					t.Errorf("after:\n%s\nbefore:\n%s", got, before)
				}
			})
		}
	}
}

func TestLookingCreatesNothing(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			enter(t, v.program)
			sh(t, setUp)
			k, err := netcfg.Open(bounded(t), v.options)
			if err != nil {
				t.Fatal(err)
			}
			o, err := k.Observe(bounded(t), mac)
			if err != nil || !o.Rules.Empty() || len(o.Strays) > 0 || len(o.Notes) > 0 {
				t.Errorf("observed %+v, error %v", o, err)
			}
			if _, _, err := netcfg.Plan(config(), o); err != nil {
				t.Error(err)
			}
			candidates := []netip.Addr{static}
			if err := netcfg.Preflight(bounded(t), k, config(), candidates, v.name != "legacy"); err != nil {
				t.Error(err)
			}
			legacy := strings.TrimSpace(sh(t, "cat /proc/thread-self/net/ip_tables_names"))
			if got := sh(t, "nft list ruleset"); got != "" || legacy != "" {
				t.Errorf("looking made legacy tables %q, nft rules %q", legacy, got)
			}
		})
	}
}

// What a change prints does the same as the change.
func TestPrintedCommandsDoTheSame(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			enter(t, v.program)
			n := realNode(t, v.options, v.program)
			before := n.dump()
			typed := func(plan []netcfg.Change, _ int, err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range plan {
					sh(t, c.String())
				}
			}
			observe := func() netcfg.Observed {
				o, err := n.Observe(bounded(t), mac)
				if err != nil {
					t.Fatal(err)
				}
				return o
			}
			c := config()
			c.Only = []netip.Prefix{netip.MustParsePrefix("192.168.0.0/17"), netip.MustParsePrefix("0.0.0.0/0")}
			typed(netcfg.Plan(c, observe()))
			n.ensure(t, c, 0)
			c.Scope = netcfg.ScopeAll
			if v.name != "native" {
				n.docker()
			}
			typed(netcfg.Plan(c, observe()))
			n.ensure(t, c, 0)
			if v.name != "native" {
				sh(t, v.program+" -w 5 -t nat -D POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE")
			}
			typed(netcfg.PlanRemoval([]netip.Addr{static}, observe()))
			if got := n.dump(); got != before {
				t.Errorf("after the removal:\n%s\nbefore:\n%s", got, before)
			}
		})
	}
}

// Whatever is done to our own chains is noticed.
func TestTamperedRules(t *testing.T) {
	cases := map[string][]string{
		"iptables": {
			"$P -t nat -A EMR-STATIC-IP-OUT -j RETURN",
			"$P -t nat -I EMR-STATIC-IP-OUT -p tcp --dport 80 -j RETURN",
			"$P -t nat -D EMR-STATIC-IP-OUT 2",
			"$P -t nat -F EMR-STATIC-IP-IN",
			"$P -t nat -R EMR-STATIC-IP-IN 1 -d 10.0.1.20 -p tcp -j DNAT --to-destination 10.0.1.5:80",
			"$P -t nat -A POSTROUTING -j EMR-STATIC-IP-OUT",
			"$P -t nat -A POSTROUTING -m comment --comment emr-static-ip -j EMR-STATIC-IP-OUT",
			"$P -t nat -R POSTROUTING 1 -m comment --comment emr-static-ip -j EMR-STATIC-IP-OUT",
			"$P -t nat -I PREROUTING -p tcp -m comment --comment 'a \"quoted\" word' -j EMR-STATIC-IP-IN",
			"$P -t nat -N EMR-STATIC-IP-NEW; $P -t nat -A EMR-STATIC-IP-NEW -j ACCEPT; $P -t nat -A OUTPUT -j EMR-STATIC-IP-NEW",
			"$P -t nat -D EMR-STATIC-IP-OUT 1; $P -t nat -I EMR-STATIC-IP-OUT -p tcp --tcp-flags FIN,SYN,RST,ACK SYN -j RETURN",
		},
		"native": {
			"nft add rule ip emr-static-ip EMR-STATIC-IP-OUT return",
			"nft insert rule ip emr-static-ip EMR-STATIC-IP-OUT ip daddr 192.168.0.0/16 ct state new counter return",
			"nft insert rule ip emr-static-ip EMR-STATIC-IP-OUT meta mark 1 counter return",
			"nft insert rule ip emr-static-ip EMR-STATIC-IP-OUT ip daddr 10.9.0.0/16 numgen inc mod 2 1 counter return",
			"nft flush chain ip emr-static-ip EMR-STATIC-IP-IN",
			"nft insert rule ip emr-static-ip EMR-STATIC-IP-OUT counter return",
			"nft insert rule ip emr-static-ip EMR-STATIC-IP-OUT 'tcp flags & (fin | syn | rst | ack) == syn counter return'",
			"nft add table inet emr-static-ip-other; nft delete table inet emr-static-ip-other; nft flush chain ip emr-static-ip EMR-STATIC-IP-OUT; nft delete chain ip emr-static-ip EMR-STATIC-IP-OUT; nft add chain ip emr-static-ip EMR-STATIC-IP-OUT '{ type nat hook postrouting priority 100; }'",
			"nft flush chain ip emr-static-ip EMR-STATIC-IP-OUT; nft delete chain ip emr-static-ip EMR-STATIC-IP-OUT; nft add chain ip emr-static-ip EMR-STATIC-IP-OUT",
			"nft add chain ip emr-static-ip EMR-STATIC-IP-OUT '{ policy drop; }'",
			"nft insert rule ip emr-static-ip EMR-STATIC-IP-OUT meta l4proto tcp return",
			"nft add chain ip emr-static-ip POSTROUTING '{ type nat hook postrouting priority 100; }'",
			"nft add chain ip emr-static-ip more '{ type nat hook postrouting priority 100; }'",
			"nft add chain ip emr-static-ip more",
			"nft add chain ip emr-static-ip more '{ type filter hook input priority 5; policy drop; }'",
			"nft add table ip emr-static-ip '{ flags dormant; }'",
			"nft delete chain ip emr-static-ip PREROUTING; nft add chain ip emr-static-ip PREROUTING '{ type nat hook prerouting priority -50; }'; nft add rule ip emr-static-ip PREROUTING counter jump EMR-STATIC-IP-IN",
			"nft flush table ip emr-static-ip",
		},
	}
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			enter(t, v.program)
			n := realNode(t, v.options, v.program)
			n.ensure(t, config(), 2)
			want := n.dump()
			list := cases["iptables"]
			if v.name == "native" {
				list = cases["native"]
			}
			for _, c := range list {
				sh(t, strings.ReplaceAll(c, "$P", v.program+" -w 5"))
				n.ensure(t, config(), 1)
				if got := n.dump(); got != want {
					t.Errorf("%s\nafter the repair:\n%s\nbefore:\n%s", c, got, want)
				}
			}
		})
	}
}

// Deleting an address that the kernel takes for the first of its subnet must not take the primary
// IP with it.
func TestPrimarySurvivesDeletion(t *testing.T) {
	for _, promote := range []string{"0", "1"} {
		t.Run("promote_secondaries="+promote, func(t *testing.T) {
			enter(t)
			n := realNode(t, variants[2].options, "iptables-nft")
			sh(t, "sysctl -qw net.ipv4.conf.all.promote_secondaries=0; sysctl -qw net.ipv4.conf.eth0.promote_secondaries="+promote)
			sh(t, "ip addr flush dev eth0; ip addr add 10.0.1.20/24 dev eth0; ip addr add 10.0.1.5/24 dev eth0; ip addr add 10.0.1.77/24 dev eth0")
			n.ensure(t, config(), 1)
			n.removeAll(t, 2, static)
			got := sh(t, "ip -br -4 addr show dev eth0; cat /proc/sys/net/ipv4/conf/eth0/promote_secondaries")
			if f := strings.Fields(got); len(f) != 5 || f[2] != "10.0.1.5/24" || f[3] != "10.0.1.77/24" || f[4] != promote {
				t.Errorf("left: %s", got)
			}
		})
	}
}

func TestBusyLock(t *testing.T) {
	enter(t, "iptables-legacy")
	n := realNode(t, netcfg.Options{Backend: "iptables", Iptables: "iptables-legacy", LockWait: time.Second}, "iptables-legacy")
	lock, err := os.OpenFile(os.Getenv("XTABLES_LOCKFILE"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = netcfg.Ensure(bounded(t), n, config(), nil)
	if d := time.Since(start); !errors.Is(err, netcfg.ErrBusy) || d > 6*time.Second {
		t.Errorf("after %v: %v", d, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	patient, err := netcfg.Open(bounded(t), netcfg.Options{Backend: "iptables", Iptables: "iptables-legacy", LockWait: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	_, err = netcfg.Ensure(ctx, patient, config(), nil)
	if d := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || d > 6*time.Second {
		t.Errorf("with a deadline, after %v: %v", d, err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	n.ensure(t, config(), 2)
}

func TestConcurrentRuns(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			enter(t, v.program)
			n := realNode(t, v.options, v.program)
			before := n.dump()
			for round := range 5 {
				run := func(f func(netcfg.Kernel) error) {
					var wg sync.WaitGroup
					for range 3 {
						other := newNamespace(t, ns(t))
						wg.Go(func() {
							other.do(t, func() {
								k, err := netcfg.Open(bounded(t), v.options)
								if err == nil {
									err = f(k)
								}
								if err != nil {
									t.Errorf("round %d: %v", round, err)
								}
							})
						})
					}
					wg.Wait()
				}
				run(func(k netcfg.Kernel) error {
					_, err := netcfg.Ensure(bounded(t), k, config(), nil)
					return err
				})
				n.ensure(t, config(), 0)
				run(func(k netcfg.Kernel) error {
					_, err := netcfg.Remove(bounded(t), k, mac, []netip.Addr{static}, nil)
					return err
				})
				if got := n.dump(); got != before {
					t.Fatalf("round %d, after the removal:\n%s\nbefore:\n%s", round, got, before)
				}
			}
		})
	}
}

// fakeProgram writes an iptables program that does what body says, and returns its path.
func fakeProgram(t testing.TB, body, restore string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "iptables")
	for name, text := range map[string]string{path: body, path + "-restore": restore} {
		if err := os.WriteFile(name, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// nativeName is how the native backend names itself.
const nativeName = "nftables over netlink"

// Auto takes nf_tables, whatever iptables is there. A named backend that cannot work names the one
// that can.
func TestOpenChooses(t *testing.T) {
	messages := golden.Open(t, "open.txt")
	for _, c := range []struct {
		name, version, backend, want string
		wrong                        bool
	}{
		{"auto beside nft", "iptables v1.8.9 (nf_tables)", "auto", nativeName, false},
		{"auto beside legacy", "iptables v1.8.4 (legacy)", "", nativeName, false},
		{"auto beside something else", "busybox v1.36.1", "auto", nativeName, false},
		{"nft", "iptables v1.8.9 (nf_tables)", "iptables", "iptables v1.8.9 (nf_tables)", false},
		{"legacy", "iptables v1.8.4 (legacy)", "iptables", "iptables v1.8.4 (legacy)", false},
		{"before there were variants", "iptables v1.6.2", "iptables", "iptables v1.6.2", false},
		{"too old", "iptables v1.4.21", "iptables", "", true},
		{"not an iptables", "busybox v1.36.1", "iptables", "", true},
		{"nftables", "iptables v1.8.9 (nf_tables)", "nftables", nativeName, false},
		{"nonsense", "iptables v1.8.9 (nf_tables)", "pf", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			enter(t)
			path := fakeProgram(t, "echo '"+c.version+"'", "exit 1")
			k, err := netcfg.Open(bounded(t), netcfg.Options{Backend: c.backend, Iptables: path})
			if c.wrong {
				if err == nil {
					t.Fatalf("backend %v", k)
				}
				messages.Is(t, c.name, strings.ReplaceAll(err.Error(), path, "PROGRAM"))
				return
			}
			if err != nil || k.Backend() != c.want {
				t.Errorf("backend %v, error %v, want %s", k, err, c.want)
			}
		})
	}
	t.Run("no program", func(t *testing.T) {
		enter(t)
		missing := netcfg.Options{Iptables: filepath.Join(t.TempDir(), "iptables")}
		k, err := netcfg.Open(bounded(t), missing)
		if err != nil || k.Backend() != nativeName {
			t.Errorf("auto: %v, %v", k, err)
		}
		missing.Backend = "iptables"
		k, err = netcfg.Open(bounded(t), missing)
		if !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "--nat-backend nftables") {
			t.Errorf("iptables: %v, %v", k, err)
		}
	})
}

// What a program prints that fails, or that nobody understands, is not a table without rules:
// nothing is planned on it.
func TestUnreadableTable(t *testing.T) {
	for name, body := range map[string]string{
		"fails":          "echo oops >&2; exit 1",
		"is cut short":   `echo '-A EMR-STATIC-IP-IN -j RETURN'`,
		"hides chains":   "echo \"# Table \\`nat' contains incompatible base-chains, use 'nft' tool to list them.\"; echo '-P PREROUTING ACCEPT'",
		"never ends":     "yes -- '-A OUTPUT -j ACCEPT'",
		"has one line":   "tr '\\0' x </dev/zero",
		"only complains": "yes >&2",
	} {
		t.Run(name, func(t *testing.T) {
			enter(t)
			sh(t, setUp+"nft add table ip nat")
			path := fakeProgram(t, "case $* in *version*) echo 'iptables v1.8.9 (nf_tables)'; exit;; esac\n"+body, "exit 1")
			k, err := netcfg.Open(bounded(t), netcfg.Options{Backend: "iptables", Iptables: path})
			if err != nil {
				t.Fatal(err)
			}
			r, err := netcfg.Ensure(bounded(t), k, config(), nil)
			if !errors.Is(err, netcfg.ErrBackend) || !strings.Contains(err.Error(), "--nat-backend nftables") || len(r.Changes) > 0 {
				t.Errorf("changes %v, error %v", r.Changes, err)
			}
		})
	}
}

// A program that does not come back, or floods, ends with the context.
func TestProgramIsBounded(t *testing.T) {
	for name, body := range map[string]string{
		"hangs":               "exec sleep 1000",
		"waits for a child":   "sleep 1000; true",
		"leaves a child":      "sleep 1000 & exit 0",
		"floods":              "exec yes",
		"floods with errors":  "yes >&2",
		"ignores the signals": "trap '' TERM INT HUP PIPE; sleep 1000; sleep 1000",
	} {
		t.Run(name, func(t *testing.T) {
			enter(t)
			path := fakeProgram(t, body, body)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := time.Now()
			k, err := netcfg.Open(ctx, netcfg.Options{Backend: "iptables", Iptables: path})
			if took := time.Since(began); err == nil || took > 6*time.Second {
				t.Errorf("after %v: %v, %v", took, k, err)
			}
			began = time.Now()
			auto, err := netcfg.Open(bounded(t), netcfg.Options{Iptables: path})
			if err != nil || auto.Backend() != nativeName || time.Since(began) > time.Second {
				t.Errorf("auto: %v, %v", auto, err)
			}
		})
	}
}

// A bridge that has inherited the MAC address is not the interface; a second real device with it is
// an error.
func TestLinkAmongOthers(t *testing.T) {
	enter(t)
	n := realNode(t, variants[2].options, "iptables-nft")
	sh(t, "ip link add br0 type bridge; ip link set br0 address 02:00:00:00:00:05; ip link add tap0 type veth peer name tap1; ip link set tap0 master br0")
	if r := n.ensure(t, config(), 2); r.Link != "eth0" {
		t.Errorf("link %s", r.Link)
	}
	sh(t, "ip link set tap0 nomaster; ip link set tap0 address 02:00:00:00:00:05")
	if _, err := n.Observe(bounded(t), mac); err == nil || !strings.Contains(err.Error(), "tap0") || !strings.Contains(err.Error(), "eth0") {
		t.Errorf("two links with the MAC address: %v", err)
	}
}
