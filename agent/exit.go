package agent

import "github.com/emr-static-ip/emr-static-ip/agent/internal/exit"

// ExitCode is the exit code of the process. Its numbers are stable, and documented in the README.
type ExitCode = exit.Code

// The exit codes.
const (
	ExitOK          = exit.OK
	ExitInternal    = exit.Internal
	ExitUsage       = exit.Usage
	ExitIdentity    = exit.Identity
	ExitPermission  = exit.Permission
	ExitUnreachable = exit.Unreachable
	ExitNoAddress   = exit.NoAddress
	ExitKernel      = exit.Kernel
	ExitDeadline    = exit.Deadline
	ExitNotRoot     = exit.NotRoot
	ExitDrifted     = exit.Drifted
	ExitNotGiven    = exit.NotGiven
	ExitWithdrawn   = exit.Withdrawn
	ExitVerify      = exit.Verify
	ExitInterrupt   = exit.Interrupt
	ExitTerminate   = exit.Terminate
)

// Error is an error with an exit code and a remedy.
type Error = exit.Error

// CodeOf returns the exit code of the process that ends with err.
func CodeOf(err error) ExitCode { return exit.CodeOf(err) }
