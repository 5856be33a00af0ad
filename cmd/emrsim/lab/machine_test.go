package lab

import (
	"errors"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestInstalledOnTheMachine installs the agent on the machine, as the test's own mounts show it. A
// node must begin without it, and have the machine's other programs.
func TestInstalledOnTheMachine(t *testing.T) {
	needNamespaces(t)
	const dir = "/usr/local/sbin"
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NODEV, "mode=0755"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	for _, name := range []string{agentProgram, "other"} {
		if err := os.WriteFile(dir+"/"+name, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	plan, err := NewPlan(netip.MustParsePrefix("10.0.1.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	port := testPort(101)
	fabric := &testFabric{interfaces: []Interface{{ID: port.ENI, Addresses: []netip.Addr{port.Address}}}}
	l, err := Build(t.Context(), Spec{Fabric: fabric, Plan: plan, Release: "emr-7.5.0", Nodes: []NodeSpec{{Name: "master", Instance: "i-master", Primary: port}}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Nodes()[0].ReadFile(dir + "/" + agentProgram); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the node has the machine's %s: %v", agentProgram, err)
	}
	if _, err := l.Nodes()[0].ReadFile(dir + "/other"); err != nil {
		t.Errorf("the node lacks another program of the machine: %v", err)
	}
}
