package node

import (
	"context"
	"errors"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// Session is how a run reaches AWS and the kernel.
type Session struct {
	AWS    *ec2.Session  // nil before Connect
	EC2    *ec2.Node     // nil before Connect
	Kernel netcfg.Kernel // nil before OpenKernel

	imds *ec2.IMDS
}

// OpenIMDS returns the run's one reader of IMDS: identity and credentials share its token.
func (s *Session) OpenIMDS(env host.Environment) ec2.IMDS {
	if s.imds == nil {
		imds := ec2.OpenIMDS(env)
		s.imds = &imds
	}
	return *s.imds
}

// Connect gets the node's credentials for AWS. It waits for them for at most the given time.
func (s *Session) Connect(ctx context.Context, env host.Environment, f Facts, atMost time.Duration) (err error) {
	if s.AWS, err = ec2.Open(ctx, env, f.ID.Region, atMost, s.OpenIMDS(env)); err != nil {
		return err
	}
	s.EC2 = ec2.NewNode(s.AWS.Config, f.ID, f.Cluster, env)
	s.EC2.Role, s.EC2.Plain = f.Role.Role, f.Plain
	return nil
}

// Connected reports whether Connect has succeeded.
func (s *Session) Connected() bool { return s.EC2 != nil }

// OpenKernel reaches the node's kernel. The error has an exit code and a remedy.
func (s *Session) OpenKernel(ctx context.Context, env host.Environment, backend string, lockWait time.Duration) (err error) {
	open := env.OpenKernel
	if open == nil {
		open = netcfg.Open
	}
	s.Kernel, err = open(ctx, netcfg.Options{Backend: backend, LockWait: lockWait})
	return KernelError(err)
}

// Explain gives an error of a run its exit code and remedy. ctx is what the failed work ran under.
func (s *Session) Explain(ctx context.Context, err error, at iam.Place) error {
	if e := (*exit.Error)(nil); err == nil || errors.As(err, &e) {
		return ec2.Plain(err)
	}
	if x := (*ssmcoord.ExhaustedError)(nil); errors.As(err, &x) {
		return exit.With(exit.NoAddress, err, "name more addresses, or end a cluster or node that holds one; a node that is shutting down gives its address back by itself")
	}
	if s.AWS == nil {
		return err
	}
	return s.AWS.Explain(ctx, err, at)
}
