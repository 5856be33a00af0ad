package simulation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The directory of systemd's units, and the directory that exists while systemd runs.
const (
	unitDir     = "etc/systemd/system"
	systemdSign = "run/systemd/system"
)

// withSystemd makes a node look as if systemd ran there, so that a run installs its units. Nothing
// starts the units; scenarios do.
func (n *Node) withSystemd() {
	if err := os.MkdirAll(filepath.Join(n.root, systemdSign), 0o755); err != nil {
		panic(fmt.Sprintf("making a simulated node's files: %v", err))
	}
}

// systemctl changes the node's files as systemctl does. A unit that was restarted is active until
// it is stopped.
func (n *Node) systemctl(_ context.Context, args ...string) error {
	name := args[len(args)-1]
	active := filepath.Join(n.root, systemdSign, name)
	switch args[0] {
	case "restart":
		return os.WriteFile(active, nil, 0o644)
	case "stop":
		return ignoreMissing(os.Remove(active))
	case "is-active":
		_, err := os.Stat(active)
		return err
	case "enable", "disable":
		for _, unit := range args[1:] {
			target := "multi-user.target.wants"
			if strings.HasSuffix(unit, ".timer") {
				target = "timers.target.wants"
			}
			link := filepath.Join(n.root, unitDir, target, unit)
			if args[0] == "disable" {
				if err := ignoreMissing(os.Remove(link)); err != nil {
					return err
				}
			} else if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.WriteFile(link, nil, 0o644)); err != nil {
				return err
			}
		}
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
