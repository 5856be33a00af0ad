package node

import (
	"context"
	"errors"
	"os/exec"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// KernelError gives an error of netcfg its exit code and remedy.
func KernelError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, netcfg.ErrTooMany):
		return exit.With(exit.Usage, err, "name fewer or larger networks with --only-cidr and --exclude-cidr")
	case errors.Is(err, netcfg.ErrNoEffect):
		return exit.With(exit.Usage, err, "correct --only-cidr, or name another --snat-scope; a run without addresses takes both from the last run")
	case errors.Is(err, netcfg.ErrLockFile):
		return exit.With(exit.Kernel, err, "look at /run/xtables.lock (ls -ld): if a container that mounts it made a directory there, rmdir /run/xtables.lock; or use --nat-backend nftables")
	case errors.Is(err, netcfg.ErrBackend):
		return exit.With(exit.Kernel, err, "use the backend that the message names, or --nat-backend auto, which takes one that works")
	case errors.Is(err, netcfg.ErrInTheWay):
		return exit.With(exit.Kernel, err, "correct the addresses as the message says (ip -4 addr show) and run again: before that, no run succeeds")
	case errors.Is(err, netcfg.ErrNoLink):
		return exit.With(exit.Kernel, err, "IMDS names this MAC address, and no link has it (ip link): undo what changed it, or run this on the instance itself and not in a container with a network of its own")
	case errors.Is(err, netcfg.ErrManyLinks):
		return exit.With(exit.Kernel, err, "leave IMDS's MAC address to the network interface of EC2 alone (ip link), and run again")
	case errors.Is(err, netcfg.ErrBusy):
		return exit.With(exit.Kernel, err, "find the program that holds the lock (fuser -v /run/xtables.lock) and run again, or wait longer with --lock-wait")
	case errors.Is(err, netcfg.ErrNoBackend):
		return exit.With(exit.Kernel, err, "install iptables (Amazon Linux 2023: dnf install -y iptables-nft)")
	case errors.Is(err, context.DeadlineExceeded):
		return exit.With(exit.Deadline, err, "run again: it continues; on a busy node with a larger --timeout")
	case errors.Is(err, exec.ErrNotFound):
		return exit.With(exit.Kernel, err, "install iptables (Amazon Linux 2023: dnf install -y iptables-nft), or use --nat-backend auto, which takes nftables where there is none")
	}
	return exit.With(exit.Kernel, err, "run again; compare with ip addr and emr-static-ip status")
}
