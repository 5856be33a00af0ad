package lab

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Reboot ends every program on a node and gives the node a new network: the links as they are after
// a boot, no secondary address and no rule. The files stay, without those below /run and /tmp. No
// program is started: there is no systemd on a node.
func (l *Lab) Reboot(ctx context.Context, n *Node) error {
	n.halt()
	if err := n.ns.renewNetwork(ctx); err != nil {
		return fmt.Errorf("rebooting %s: %w", n.Name, err)
	}
	if err := n.ns.do(emptyVolatile); err != nil {
		return fmt.Errorf("rebooting %s: %w", n.Name, err)
	}
	if err := n.boot(ctx); err != nil {
		return fmt.Errorf("rebooting %s: %w", n.Name, err)
	}
	l.observe(func(o Observer) { o.Rebooted(n) })
	return nil
}

// renewNetwork replaces the network namespace by a new one that has only the loopback link. The
// kernel removes the old one with its links and rules.
func (n *namespace) renewNetwork(ctx context.Context) error {
	old := n.net
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("making a network namespace: %w", err)
		}
		n.net, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return err
	}
	old.Close()
	return n.ip(ctx, "link set lo up")
}

// emptyVolatile is run inside a node. It removes what does not survive a boot, and changes the
// kernel's boot id as the node sees it.
func emptyVolatile() error {
	for _, dir := range []string{"/run", "/tmp"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if path == "/run/lock" || path == nothingFile {
				continue
			}
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	var id [16]byte
	rand.Read(id[:])
	const path = "/run/boot-id"
	text := fmt.Sprintf("%x-%x-%x-%x-%x\n", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	if err := os.WriteFile(path, []byte(text), 0o444); err != nil {
		return err
	}
	const shown = "/proc/sys/kernel/random/boot_id"
	if err := unix.Mount(path, shown, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("changing %s: %w", shown, err)
	}
	return nil
}
