package agent

import (
	"context"
	"errors"
	"os/exec"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// explain gives an error its exit code and remedy.
func (r *run) explain(ctx context.Context, err error) error {
	if e := (*Error)(nil); errors.As(err, &e) {
		return ec2.Plain(err)
	}
	if x := (*ssmcoord.ExhaustedError)(nil); errors.As(err, &x) {
		return exit.With(ExitNoAddress, err, "name more addresses, or end a cluster or node that holds one; a node that is shutting down gives its address back by itself")
	}
	if r.aws == nil {
		return err
	}
	return r.aws.Explain(ctx, err, iam.Place{Region: r.id.Region, Subnet: r.id.SubnetID, Prefix: r.cfg.Prefix})
}

// kernelError gives an error of netcfg its exit code and remedy.
func kernelError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, netcfg.ErrTooMany):
		return coded(ExitUsage, err, "name fewer or larger networks with --only-cidr and --exclude-cidr")
	case errors.Is(err, netcfg.ErrBackend):
		return coded(ExitKernel, err, "use the backend that is named there, or --nat-backend auto, which takes one that works")
	case errors.Is(err, netcfg.ErrBusy):
		return exit.With(ExitKernel, err, "find the program that keeps the lock (fuser -v /run/xtables.lock) and run again, or wait longer with --lock-wait")
	case errors.Is(err, netcfg.ErrNoBackend):
		return exit.With(ExitKernel, err, "install iptables (Amazon Linux 2023: dnf install -y iptables-nft)")
	case errors.Is(err, context.DeadlineExceeded):
		return exit.With(ExitDeadline, err, "run again: it continues; on a busy node with a larger --timeout")
	case errors.Is(err, exec.ErrNotFound):
		return exit.With(ExitKernel, err, "install iptables (Amazon Linux 2023: dnf install -y iptables-nft), or use --nat-backend auto, which takes nftables where there is none")
	}
	return exit.With(ExitKernel, err, "run again; compare with ip addr and iptables -t nat -S")
}
