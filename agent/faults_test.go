package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// takesNoWrites makes the file system of the state directory full or read-only.
func (n *testNode) takesNoWrites(reason syscall.Errno) {
	n.env.SaveState = func(string, []byte) error { return fmt.Errorf("writing: %w", reason) }
}

// A file system that takes no writes stops a run before anything is changed, and neither a restore
// nor a release. What they could not save, they say, and the next run knows it.
func TestStateThatCannotBeSaved(t *testing.T) {
	messages := golden.Open(t, "state-not-saved.txt")
	for _, reason := range []syscall.Errno{syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT} {
		t.Run(reason.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{})
				n.takesNoWrites(reason)
				uses := len(n.uses())
				if rep, err := Apply(t.Context(), n.cfg, n.env); CodeOf(err) != ExitInternal || len(rep.Changes) > 0 || len(n.uses()) != uses {
					t.Errorf("a first run: %v, %q", err, rep.Changes)
				}
				n.env.SaveState = nil
				static := n.apply().Static
				n.takesNoWrites(reason)
				n.kernel.FlushNAT()
				if rep := n.restore(ExitOK); len(rep.Changes) != 1 {
					t.Errorf("put back: %q", rep.Changes)
				}
				n.unassign(static)
				time.Sleep(3 * time.Minute)
				for range state.AbsentChecks - 1 {
					n.restore(ExitOK)
					time.Sleep(time.Minute)
				}
				rep := n.restore(ExitWithdrawn)
				if n.kernel.Has(static) {
					t.Error("withdrawn, and the kernel has it")
				}
				messages.Is(t, reason.Error(), n.told(strings.Join(rep.Warnings, "\n")))
				n.silent.Store(true) // without IMDS, only the state tells
				n.restore(ExitWithdrawn)
				if n.kernel.Has(static) {
					t.Error("put back although it was withdrawn")
				}
				n.silent.Store(false)
				n.env.SaveState = nil
				n.restore(ExitWithdrawn)
				if s := n.state(); s.Phase != PhaseWithdrawn {
					t.Errorf("the state file says %s", s.Phase)
				}
				n.apply()
				n.takesNoWrites(reason)
				rep, err := Release(t.Context(), n.cfg, n.env)
				if err != nil || len(n.uses()) > 0 || len(n.cloud.Parameters()) > 0 || len(rep.Warnings) != 1 || rep.Static.IsValid() {
					t.Errorf("release: %v, uses %v, warnings %q, static %v", err, n.uses(), rep.Warnings, rep.Static)
				}
				if rep := n.restore(ExitOK); !strings.Contains(rep.LeftAlone, "released") {
					t.Errorf("after the release: %q, %q", rep.LeftAlone, rep.Changes)
				}
			})
		})
	}
}

// A damaged state file stops neither a release nor a run with a list, and is put aside. All others
// say what is true.
func TestDamagedStateFile(t *testing.T) {
	messages := golden.Open(t, "damaged-state.txt")
	for _, content := range []string{"", "{", `{"version":1}`, "\x00\x00\x00", strings.Repeat(" ", 2<<20)} {
		for _, args := range [][]string{{"release"}, {"10.0.1.20", "10.0.1.21", "10.0.1.22"}} {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNode(t, cloud.Options{})
				static := n.apply().Static
				p := n.env.Path(filepath.Join(DefaultStateDir, state.File))
				if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				for _, command := range []string{"status", "restore", "plan"} {
					code, stdout, stderr := n.program(t.Context(), command)
					said := stdout + stderr
					if code == ExitOK || !strings.Contains(said, state.File) || command == "status" && !strings.Contains(said, static.String()) {
						t.Errorf("%s: exit code %d\n%s", command, code, said)
					}
					if content == "{" && args[0] == "release" {
						messages.Is(t, command, n.told(said))
					}
				}
				code, stdout, stderr := n.program(t.Context(), args...)
				if code != ExitOK {
					t.Errorf("%q: exit code %d\n%s%s", args, code, stdout, stderr)
				}
				if content == "{" {
					messages.Is(t, strings.Join(args, " "), logWarnings(stderr, n.env.Root))
				}
				if aside, _ := filepath.Glob(p + ".damaged-*"); len(aside) != 1 {
					t.Errorf("put aside: %q", aside)
				} else if data, err := os.ReadFile(aside[0]); err != nil || string(data) != content {
					t.Errorf("put aside: %q, %v", data, err)
				}
				if released := args[0] == "release"; released != (len(n.uses()) == 0) || released == n.kernel.Has(static) {
					t.Errorf("%q: uses %v, in the kernel %v", args, n.uses(), n.kernel.Has(static))
				}
			})
		}
	}
}

// A lock that is a directory keeps no run from its work, and excludes other runs. A link is named,
// with what to do about it.
func TestLockThatIsNoFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		dir := n.env.Path(DefaultStateDir)
		lock := filepath.Join(dir, "lock")
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.Mkdir(lock, 0o700)); err != nil {
			t.Fatal(err)
		}
		n.apply()
		unlock, err := state.Lock(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := state.Lock(ctx, dir); err == nil {
			t.Error("two runs at a time")
		}
		cancel()
		unlock()
		if _, err := Release(t.Context(), n.cfg, n.env); err != nil || len(n.uses()) > 0 {
			t.Errorf("%v, uses %v", err, n.uses())
		}
		if err := errors.Join(os.Remove(lock), os.Symlink("/etc/hostname", lock)); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := n.program(t.Context(), "10.0.1.20", "10.0.1.21")
		if code != ExitInternal {
			t.Errorf("a link: exit code %d", code)
		}
		golden.Is(t, "lock-that-is-a-link.txt", n.told(stderr))
	})
	messages := golden.Open(t, "state-directory-remedies.txt")
	for _, reason := range []syscall.Errno{syscall.EISDIR, syscall.EMFILE} {
		err := StateDirError("/x", &os.PathError{Op: "open", Path: "/x", Err: reason})
		messages.Is(t, reason.Error(), strings.Join(exit.Remedies(err), "\n"))
	}
}

// A lost state file is said to be lost, and not called a node that was never configured.
func TestLostStateFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		static := n.apply().Static
		n.putRecord("10.0.1.21", strings.ReplaceAll(n.value("10.0.1.21"), n.InstanceID, "i-0123456789abcdef0")) // the ledger does not know
		if err := os.Remove(n.env.Path(filepath.Join(DefaultStateDir, state.File))); err != nil {
			t.Fatal(err)
		}
		for command, code := range map[string]ExitCode{"status": ExitDrifted, "restore": ExitInternal} {
			got, stdout, stderr := n.program(t.Context(), command)
			if said := stdout + stderr; got != code || !strings.Contains(said, static.String()) || !strings.Contains(said, "emr-static-ip release") {
				t.Errorf("%s: exit code %d\n%s", command, got, said)
			}
		}
		if code, stdout, stderr := n.program(t.Context(), "release"); code != ExitOK || len(n.uses()) > 0 || n.kernel.Has(static) {
			t.Errorf("exit code %d, uses %v\n%s%s", code, n.uses(), stdout, stderr)
		}
		if code, _, _ := n.program(t.Context(), "status"); code != ExitNotGiven {
			t.Errorf("after the release: exit code %d", code)
		}
	})
}

// A run without addresses repeats --on-error too.
func TestOnErrorIsRepeated(t *testing.T) {
	for _, test := range []struct {
		args []string
		code ExitCode
	}{{nil, ExitOK}, {[]string{"--on-error", "fail"}, ExitPermission}, {onErrorList, ExitPermission}} {
		synctest.Test(t, func(t *testing.T) {
			n := newTestNode(t, cloud.Options{}).withSystemd()
			if code, _, stderr := n.program(t.Context(), append([]string{"--on-error=continue"}, onErrorList...)...); code != ExitOK {
				t.Fatal(stderr)
			}
			n.unassign(n.state().Static)
			n.deny("ec2:AssignPrivateIpAddresses")
			if code, _, stderr := n.program(t.Context(), test.args...); code != test.code || systemd.RetryPending(n.env) != (code == ExitOK) {
				t.Errorf("%q: exit code %d, want %d\n%s", test.args, code, test.code, stderr)
			}
		})
	}
}

// A release under a clock that was ahead does not suppress the retries of a run that fails later.
func TestReleaseUnderAWrongClock(t *testing.T) {
	for _, jump := range []time.Duration{-365 * 24 * time.Hour, -time.Minute, time.Minute, 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			n := newTestNode(t, cloud.Options{}).withSystemd()
			n.apply()
			if code, _, stderr := n.program(t.Context(), "release"); code != ExitOK {
				t.Fatal(stderr)
			}
			// As if the clock had been set since.
			s := n.state()
			s.Written = s.Written.Add(-jump)
			if err := state.Save(n.env.Path(DefaultStateDir), s); err != nil {
				t.Fatal(err)
			}
			n.deny("ssm:PutParameter")
			if code, _, stderr := n.program(t.Context(), append([]string{"--on-error=continue"}, onErrorList...)...); code != ExitOK || !systemd.RetryPending(n.env) || n.tag() == "" {
				t.Errorf("the clock jumped by %s: exit code %d, pending %v\n%s", jump, code, systemd.RetryPending(n.env), stderr)
			}
		})
	}
}

// Status names each thing once, with what overtook a rule, what to do, and what others do with the
// static IP.
func TestStatusNamesThings(t *testing.T) {
	messages := golden.Open(t, "status-names.txt")
	static := netip.MustParseAddr("10.0.1.21")
	for _, test := range []struct {
		name   string
		before func(n *testNode)
		code   ExitCode
	}{
		{"overtaken", func(n *testNode) { n.kernel.InsertRule("POSTROUTING", "-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE") }, ExitDrifted},
		{"lost", func(n *testNode) { n.kernel.DeleteJump("OUTPUT") }, ExitDrifted},
		{"down", func(n *testNode) { n.kernel.SetDown(testLink, true) }, ExitDrifted},
		{"a DNAT of others", func(n *testNode) {
			n.kernel.InsertRule("PREROUTING", "-d 10.0.1.21/32 -p tcp -j DNAT --to-destination 10.0.1.9")
		}, ExitOK},
		{"untracked", func(n *testNode) {
			n.kernel.SetUntracked(nil, netcfg.Untracking{Where: "table ip raw chain OUTPUT", Rule: "a notrack rule (handle 3)", Sure: true})
		}, ExitDrifted},
		{"perhaps untracked", func(n *testNode) {
			n.kernel.SetUntracked(nil, netcfg.Untracking{Where: "table ip raw chain OUTPUT", Rule: "a notrack rule (handle 3)"})
		}, ExitOK},
		{"the raw table cannot be read", func(n *testNode) { n.kernel.SetUntracked(errors.New("reading table raw: no")) }, ExitOK},
		{"all name servers are silent", func(n *testNode) { n.nameServers("10.0.0.2", "10.0.0.3") }, ExitOK},
		{"one name server is silent", func(n *testNode) { n.nameServers("10.0.0.2", "10.0.0.53") }, ExitOK},
		{"moved", func(n *testNode) { n.unassign(static) }, ExitDrifted},
		{"no way out", func(n *testNode) { n.kernel.SetRoute(netip.Addr{}, netcfg.Route{Link: "tun0"}) }, ExitDrifted},
		{"another way for some", func(n *testNode) {
			n.kernel.SetRoute(netip.Addr{}, netcfg.Route{Link: testLink, Source: netip.MustParseAddr("10.0.1.99")})
			n.kernel.SetRoute(netip.MustParseAddr("192.168.0.1"), netcfg.Route{Link: "tun0"})
		}, ExitOK},
		{"the kernel's own source", func(n *testNode) {
			n.kernel.SetRoute(netip.Addr{}, netcfg.Route{Link: testLink, Source: netip.MustParseAddr("10.0.1.21")})
		}, ExitOK},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := newTestNode(t, cloud.Options{}).withSystemd()
			n.apply()
			time.Sleep(3 * time.Minute)
			test.before(n)
			code, stdout, _ := n.program(t.Context(), "status")
			if code != test.code {
				t.Errorf("%s: exit code %d, want %d", test.name, code, test.code)
			}
			messages.Is(t, test.name, n.told(stdout))
		})
	}
}

// nameServers lets AWS not answer, and all name servers but 10.0.0.53.
func (n *testNode) nameServers(addresses ...string) {
	n.t.Helper()
	n.write(n.env.Path("/etc/resolv.conf"), "nameserver "+strings.Join(addresses, "\nnameserver ")+"\n")
	n.env.NameServerAnswers = func(_ context.Context, server netip.Addr, name string) bool {
		if name != "ec2.us-east-1.amazonaws.com" {
			n.t.Errorf("asked for %s", name)
		}
		return server.String() == "10.0.0.53"
	}
	n.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
		if c.Service == "imds" {
			return cloud.FaultAction{}
		}
		return cloud.FaultAction{Kind: cloud.FaultHang}
	})
}

// Right after a run IMDS may not list the address yet: that is no drift.
func TestStatusSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.apply()
		n.unassign(n.state().Static) // as if EC2 and IMDS did not show it yet
		if s := n.inspect(); s.Verdict != VerdictSettling || s.ExitCode() != ExitOK || s.Remedy == "" {
			t.Errorf("%s (%d): %q", s.Verdict, s.ExitCode(), s.Reasons)
		}
		time.Sleep(3 * time.Minute)
		if s := n.inspect(); s.Verdict != VerdictDrifted {
			t.Errorf("minutes later: %s", s.Verdict)
		}
	})
}

// A run after a withdrawal says one thing about its address.
func TestReportAfterAWithdrawal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.cfg.Pools.Core = n.cfg.Pools.Core[:1]
		static := n.apply().Static
		n.unassign(static)
		time.Sleep(time.Hour)
		log := n.logged()
		rep := n.apply()
		if rep.Static != static {
			t.Errorf("static IP %s", rep.Static)
		}
		golden.Is(t, "after-a-withdrawal.txt", ending(rep, nil)+"\n")
		// No wait of more than 10 s goes untold.
		var last time.Time
		for _, line := range strings.Split(strings.TrimSpace(log.String()), "\n") {
			stamp, _, _ := strings.Cut(line, " ")
			at, err := time.Parse(time.RFC3339Nano, stamp)
			if err != nil {
				continue
			}
			if !last.IsZero() && at.Sub(last) > silenceFirst+time.Second {
				t.Errorf("%s of silence before %s", at.Sub(last), line)
			}
			last = at
		}
	})
}
