package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// Failures of arguments, of addresses, and of the node itself.

// argumentFailures are refused before anything is changed.
func argumentFailures() []failure {
	refused := func(name string, args ...string) failure {
		return failure{name: name, code: 2, args: args}
	}
	return []failure{
		refused("outside the VPC", "10.0.1.10", "10.9.2.11"),
		refused("none in the subnet", "10.0.1.10", "10.0.2.11"),
		refused("reserved at the beginning", "10.0.1.10", "10.0.1.0-3"),
		refused("reserved at the end", "10.0.1.10", "10.0.1.255"),
		refused("twice in the list", "10.0.1.10", "10.0.1.11", "10.0.1.11-12"),
		refused("IPv6", "10.0.1.10", "fd00::11"),
		refused("not an address", "10.0.1.10", "10.0.1.300", "ten"),
		refused("too few for the core nodes", "--role", "CORE", "--task-ips", "10.0.1.12"),
		refused("no list at all", "--no-units"),
		refused("unknown role", "10.0.1.10", "10.0.1.11", "--role", "banana"),
		refused("unknown flag", "10.0.1.10", "10.0.1.11", "--bananas"),
		{name: "its own primary IP", code: 2,
			prepare: func(_ *testing.T, s *site) { s.args = []string{"10.0.1.10", s.core.Primary.Address.String()} }},
		{name: "scope that the Internet gateway drops", code: 2, cluster: func(s *ClusterSpec) { s.Shape.Public = true }, args: []string{"--snat-scope", "external", "10.0.1.10", "10.0.1.11"}},
		{name: "more core nodes than addresses here", code: 2, cluster: func(s *ClusterSpec) { s.Cores = 2 }, args: []string{"10.0.1.10", "10.0.1.11", "10.0.2.12"}},
		{name: "more core nodes than addresses", code: 2, cluster: func(s *ClusterSpec) { s.Cores = 3 }},
	}
}

// addressFailures are addresses that others have, and an interface without room.
func addressFailures() []failure {
	const soon = 6 * time.Second
	return []failure{
		{name: "held as primary", code: 6, within: soon, changed: true, // nothingLeft checks ledger and interface
			prepare: func(t *testing.T, s *site) { s.stranger(t, "10.0.1.11") }, after: nothingLeft},
		{name: "held as secondary by a stranger", code: 6, within: soon, changed: true,
			prepare: func(t *testing.T, s *site) { s.stranger(t, "", "10.0.1.11") }, after: nothingLeft},
		{name: "held by another node", code: 6, within: soon, cluster: func(s *ClusterSpec) { s.Cores = 2 }, changed: true,
			prepare: func(t *testing.T, s *site) {
				other := s.Nodes()[2]
				for _, n := range s.Nodes() {
					for _, path := range []string{"/mnt/var/lib/info/job-flow.json", "/mnt/var/lib/info/extraInstanceData.json"} {
						if text, err := n.ReadFile(path); err == nil {
							n.WriteFile(path, []byte(strings.NewReplacer(`"requestedInstanceCount": 2`, `"requestedInstanceCount": 1`, `"requestedInstanceCount":2`, `"requestedInstanceCount":1`,
								`"instanceCount": 2`, `"instanceCount": 1`, `"instanceCount":2`, `"instanceCount":1`).Replace(string(text))))
						}
					}
				}
				if got := start(t, s.Cluster, other, Command{Args: list, Quiet: true}); got.ExitCode != 0 {
					t.Fatalf("exit code %d\n%s", got.ExitCode, got.Stderr)
				}
			}},
		{name: "no room on the interface", code: 2, cluster: func(s *ClusterSpec) { s.InstanceType = "t3.nano" },
			prepare: func(t *testing.T, s *site) { s.assignOne(t) }},
		{name: "a record that cannot be read", code: 6, within: soon,
			prepare: func(t *testing.T, s *site) { s.put(t, "10.0.1.11", "blank \x1b[2J") }},
	}
}

// nothingLeft checks that the ledger is empty and that the node has no static IP.
func nothingLeft(t *testing.T, s *site, _ Result) {
	if records := s.Cloud.Parameters(); len(records) > 0 {
		t.Errorf("left in the ledger: %v", records)
	}
	if assigned := s.Secondary(s.core); len(assigned) > 0 {
		t.Errorf("assigned: %v", assigned)
	}
}

const (
	unitDir = "/etc/systemd/system"
	sbinDir = "/usr/local/sbin"
)

// works checks that the node has its static IP, and that another run changes nothing.
func works(t *testing.T, s *site, got Result) {
	expectDone(t, s.Cluster, s.core, got)
	expectUnchanged(t, s.Cluster, s.core)
}

// nodeFailures are failures of the node's programs, locks and files.
func nodeFailures() []failure {
	return []failure{
		{name: "state directory read-only", code: 1,
			prepare: func(t *testing.T, s *site) { s.readOnly(t, stateDir) }},
		{name: "directory of the units read-only", changed: true, prepare: func(t *testing.T, s *site) { s.sealed(t, unitDir) },
			after: works},
		{name: "directory of the program read-only", changed: true, prepare: func(t *testing.T, s *site) { s.sealed(t, sbinDir) },
			after: works},
		{name: "directory of the units read-only, of a failure that is suppressed", args: append(slices.Clip(list), "--on-error", "continue"), changed: true,
			prepare: func(t *testing.T, s *site) { s.sealed(t, unitDir); s.deny("ssm:PutParameter") }},
		{name: "directory of the program read-only, of a failure that is suppressed", args: append(slices.Clip(list), "--on-error", "continue"), changed: true,
			prepare: func(t *testing.T, s *site) { s.sealed(t, sbinDir); s.deny("ssm:PutParameter") }},
		{name: "state file damaged",
			prepare: func(t *testing.T, s *site) { s.damage(t) }, changed: true},
		{name: "state file of somebody else", code: 1, changed: true,
			prepare: func(t *testing.T, s *site) {
				applied(t, s)
				s.inside(t, func() error { return syscall.Chmod(stateFile, 0o666) })
			}},
		{name: "no iptables, native nftables", cluster: func(s *ClusterSpec) { s.Iptables = IptablesNone }, changed: true,
			after: func(t *testing.T, s *site, got Result) { expectDone(t, s.Cluster, s.core, got) }},
		{name: "no iptables, which was asked for", cluster: func(s *ClusterSpec) { s.Iptables = IptablesNone }, args: append(slices.Clip(list), "--nat-backend", "iptables"), code: 7},
		{name: "networks beyond number", args: append(slices.Clip(list), "--exclude-cidr", manyCIDRs(1000)), code: 2},
		{name: "the address on another link", code: 7,
			prepare: func(t *testing.T, s *site) { s.command(t, "ip", "addr", "add", "10.0.1.11/32", "dev", "lo") }},
		{name: "the address with a peer", code: 7,
			prepare: func(t *testing.T, s *site) {
				s.command(t, "ip", "addr", "add", "10.0.1.11", "peer", "10.0.1.1/32", "dev", s.core.Link)
			}},
		{name: "a nat table that iptables cannot show", args: append(slices.Clip(list), "--nat-backend", "iptables"), code: 7,
			prepare: func(t *testing.T, s *site) { s.command(t, "nft", hideTable) }},
		{name: "a nat table that iptables cannot show, with auto", changed: true, after: works,
			prepare: func(t *testing.T, s *site) { s.command(t, "nft", hideTable) }},
		{name: "iptables that hangs", args: append(slices.Clip(list), "--nat-backend", "iptables", "--timeout", "3s"), code: 8, within: 12 * time.Second,
			prepare: func(t *testing.T, s *site) { s.fakeIptables(t, "exec sleep 1000") }},
		{name: "iptables that floods", args: append(slices.Clip(list), "--nat-backend", "iptables"), code: 7,
			prepare: func(t *testing.T, s *site) { s.fakeIptables(t, "exec yes") }},
		{name: "xtables lock held", cluster: func(s *ClusterSpec) { s.Iptables = IptablesLegacy }, args: append(slices.Clip(list), "--nat-backend", "iptables", "--lock-wait", "1s"), code: 7,
			prepare: func(t *testing.T, s *site) { s.lock(t, "/run/xtables.lock") }},
		{name: "another run at work", code: 8, within: 2 * time.Second,
			prepare: func(t *testing.T, s *site) {
				s.inside(t, func() error { return syscall.Mkdir(stateDir, 0o700) })
				s.lock(t, stateDir+"/lock")
			}},
		{name: "without root and sudo", user: "hadoop", code: 9},
	}
}

// hideTable makes a nat table that iptables cannot show.
const hideTable = `add table ip nat; add chain ip nat ts-postrouting { type nat hook postrouting priority srcnat; }
add rule ip nat ts-postrouting meta mark and 0xff0000 == 0x40000 counter masquerade`

func manyCIDRs(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("11.%d.%d.0/24", i/250, i%250)
	}
	return strings.Join(list, ",")
}

// command runs a command on the node.
func (s *site) command(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := spoilWith(t.Context(), s.core, argv); err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
}

// spoilWith runs a command on the node. nft is the machine's program, because the node has none.
func spoilWith(ctx context.Context, n *Node, argv []string) (string, error) {
	out, err := n.ns.output(ctx, command{path: argv[0], args: argv[1:], machine: argv[0] == "nft"})
	return string(out), err
}

// fakeIptables replaces the node's iptables by a shell script.
func (s *site) fakeIptables(t *testing.T, body string) {
	t.Helper()
	s.command(t, "sh", "-ec", "f=$(command -v iptables); d=/usr/local/bin; for n in iptables iptables-restore; do printf '#!/bin/sh\n"+body+"\n' >/tmp/$n; chmod 755 /tmp/$n; mount --bind /tmp/$n $(dirname $f)/$n; done")
}

// endings are other ways in which a run ends.
func endings() []failure {
	waiting := func(signal syscall.Signal, code int, word string) failure {
		return failure{name: "ended by " + word, code: code, signal: signal, changed: true,
			prepare: func(_ *testing.T, s *site) {
				s.Cloud.Fault(func(call cloud.Call) cloud.FaultAction {
					if call.Key() == "ec2:AssignPrivateIpAddresses" {
						s.mu.Lock()
						defer s.mu.Unlock()
						s.stop()
						return cloud.FaultAction{Kind: cloud.FaultHang}
					}
					return cloud.FaultAction{}
				})
			},
			after: func(t *testing.T, s *site, got Result) {
				if got.Duration > 20*time.Second {
					t.Errorf("ended after %v", got.Duration)
				}
				s.Cloud.Fault(nil)
				goesOn(t, s, got)
			}}
	}
	return []failure{
		waiting(syscall.SIGINT, 130, "interrupt"),
		waiting(syscall.SIGTERM, 143, "terminated"),
		{name: "throttled for ever", code: 8, within: 5 * time.Second,
			prepare: func(_ *testing.T, s *site) {
				s.faults(ofService("ssm"), cloud.FaultAction{Kind: cloud.FaultFail, Code: "ThrottlingException", Message: "Rate exceeded", Status: 400})
			}},
		{name: "AWS fails for ever", code: 8, within: 5 * time.Second,
			prepare: func(_ *testing.T, s *site) { s.faults(ofService("ec2"), cloud.FaultAction{Kind: cloud.FaultFail}) }},
		{name: "status of a drifted node", code: 10, args: []string{"status"}, prepare: func(t *testing.T, s *site) {
			applied(t, s)
			s.command(t, "nft", "flush", "chain", "ip", "emr-static-ip", "EMR-STATIC-IP-OUT")
		}},
		{name: "status of a node without a static IP", code: 11, args: []string{"status"}},
		{name: "restore of an address that was moved", code: 12, args: []string{"restore"}, changed: true,
			prepare: func(t *testing.T, s *site) {
				applied(t, s)
				s.unassign(t, netip.MustParseAddr("10.0.1.11"))
				s.absent(t, 4)
			}},
		{name: "nothing listens where --verify asks", code: 13, changed: true, args: append(slices.Clip(list), "--verify", "198.51.100.10:81"),
			after: goesOn},
		{name: "task node without a pool", cluster: func(s *ClusterSpec) { s.Tasks = 1 },
			prepare: func(_ *testing.T, s *site) { s.core = s.Nodes()[2] }},
	}
}
