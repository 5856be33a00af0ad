package exit

import "syscall"

// SignalError is the cause of a context that was cancelled because a signal asked the program to
// end.
type SignalError struct{ Signal syscall.Signal }

func (e *SignalError) Error() string { return "ended by signal " + e.Signal.String() }

// ExitCode returns 128 plus the number of the signal, as shells do.
func (e *SignalError) ExitCode() Code { return Code(128 + int(e.Signal)) }
