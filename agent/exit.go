package agent

import (
	"context"
	"errors"
)

// ExitCode is what the process returns to its caller: EMR ends a node whose bootstrap action returns
// anything but 0. The numbers are stable; the README documents them.
type ExitCode int

// Exit codes. A class is for who has to act: the operator's list (2), the node (3, 7, 9), IAM (4), the
// network (5), the ledger (6), AWS or time (8), the firewall of the other side (13).
const (
	ExitOK          ExitCode = 0   // done, or nothing to be done
	ExitInternal    ExitCode = 1   // anything that has no code of its own
	ExitUsage       ExitCode = 2   // arguments or pool are wrong: nothing was changed
	ExitIdentity    ExitCode = 3   // the node's identity or role cannot be told
	ExitPermission  ExitCode = 4   // an IAM action is missing
	ExitUnreachable ExitCode = 5   // an AWS endpoint or IMDS cannot be reached
	ExitNoAddress   ExitCode = 6   // every address of the pool is in use
	ExitKernel      ExitCode = 7   // the address or the rules could not be programmed
	ExitDeadline    ExitCode = 8   // --timeout ended the run, or AWS kept failing until then
	ExitNotRoot     ExitCode = 9   // not root and sudo -n does not work
	ExitDrifted     ExitCode = 10  // status, doctor, ledger: something is not as it should be
	ExitNotGiven    ExitCode = 11  // status: this node has no static IP
	ExitWithdrawn   ExitCode = 12  // restore, status, doctor: EC2 gives the static IP to this node no more
	ExitVerify      ExitCode = 13  // a service of --verify cannot be reached: the static IP itself is in order
	ExitInterrupt   ExitCode = 130 // SIGINT
	ExitTerminate   ExitCode = 143 // SIGTERM
)

// Error is an error with the exit code it ends the process with and, for the operator, what to do next.
type Error struct {
	Code   ExitCode
	Err    error
	Remedy string // a sentence or a command; empty where Err says it all
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// coded gives err an exit code and a remedy, unless it already has one: the innermost cause knows best.
func coded(code ExitCode, err error, remedy string) error {
	if err == nil {
		return nil
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		return err
	}
	return &Error{Code: code, Err: err, Remedy: remedy}
}

// CodeOf is the exit code that err ends the process with.
func CodeOf(err error) ExitCode {
	switch e := (*Error)(nil); {
	case err == nil:
		return ExitOK
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.DeadlineExceeded):
		return ExitDeadline
	default:
		return ExitInternal
	}
}
