// Package exit has the exit codes of the program, and errors that carry one.
package exit

import (
	"context"
	"errors"
	"slices"
)

// Code is what the process returns to its caller. EMR ends a node whose bootstrap action returns
// anything but 0. The numbers are stable; the README documents them.
type Code int

// The exit codes. Each says who has to act: the operator (2, 6), the owner of the node (3, 7, 9),
// of IAM (4), of the network (5), of the other side's firewall (13), or nobody, since a later run
// may succeed (8).
const (
	OK          Code = 0
	Internal    Code = 1
	Usage       Code = 2 // nothing was changed
	Identity    Code = 3
	Permission  Code = 4
	Unreachable Code = 5
	NoAddress   Code = 6
	Kernel      Code = 7
	Deadline    Code = 8 // --timeout ended the run, or AWS failed until then
	NotRoot     Code = 9
	Drifted     Code = 10  // of status, doctor and ledger
	NotGiven    Code = 11  // of status
	Withdrawn   Code = 12  // of restore, status and doctor
	Verify      Code = 13  // the static IP itself is in order
	Interrupt   Code = 130 // SIGINT
	Crash       Code = 134 // SIGABRT, by the Go runtime: no statement returns it
	Terminate   Code = 143 // SIGTERM
)

// codeMeanings are all exit codes with their meaning, in a few words.
var codeMeanings = []struct {
	code    Code
	meaning string
}{
	{OK, "done"},
	{Internal, "an error without a code of its own"},
	{Usage, "arguments or addresses are wrong"},
	{Identity, "the node's identity or role is unknown"},
	{Permission, "a permission is missing"},
	{Unreachable, "an endpoint cannot be reached"},
	{NoAddress, "every address is in use"},
	{Kernel, "the kernel could not be programmed"},
	{Deadline, "out of time"},
	{NotRoot, "not root"},
	{Drifted, "not as it should be"},
	{NotGiven, "this node has no static IP"},
	{Withdrawn, "the static IP no longer belongs to this node"},
	{Verify, "the static IP is in order, but a service of --verify cannot be reached"},
	{Interrupt, "ended by a signal"},
	{Crash, "the program crashed"},
	{Terminate, "ended by a signal"},
}

// Codes returns all codes that the program ends with, in ascending order.
func Codes() []Code {
	var list []Code
	for _, m := range codeMeanings {
		list = append(list, m.code)
	}
	return list
}

// Meaning returns what the exit code means, in a few words.
func (c Code) Meaning() string {
	for _, m := range codeMeanings {
		if m.code == c {
			return m.meaning
		}
	}
	return "failed"
}

// Error is an error with the exit code of the process and, for the operator, what to do next.
type Error struct {
	Code   Code
	Err    error
	Remedy string // a sentence or a command; empty if Err says it all
}

// Error returns the message of the error within.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the error within.
func (e *Error) Unwrap() error { return e.Err }

// With gives err an exit code and a remedy. It returns err unchanged if err has an exit code
// already: the innermost cause knows best.
func With(code Code, err error, remedy string) error {
	if err == nil {
		return nil
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		return err
	}
	return &Error{Code: code, Err: err, Remedy: remedy}
}

// Invalid returns an error of the operator's input.
func Invalid(err error, remedy string) error { return With(Usage, err, remedy) }

// CodeOf returns the exit code of the process that ends with err.
func CodeOf(err error) Code {
	switch e := (*Error)(nil); {
	case err == nil:
		return OK
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.DeadlineExceeded):
		return Deadline
	default:
		return Internal
	}
}

// Remedies returns the remedies of err and of all errors that err wraps or joins, each once.
func Remedies(err error) []string {
	var all []string
	var walk func(error)
	walk = func(err error) {
		// Each error of the tree is looked at on its own.
		if e, ok := err.(*Error); ok && //nolint:errorlint // see above
			e.Remedy != "" && !slices.Contains(all, e.Remedy) {
			all = append(all, e.Remedy)
		}
		switch e := err.(type) { //nolint:errorlint // see above
		case interface{ Unwrap() error }:
			walk(e.Unwrap())
		case interface{ Unwrap() []error }:
			for _, part := range e.Unwrap() {
				walk(part)
			}
		}
	}
	walk(err)
	return all
}

// HasCode reports whether err has an exit code of its own.
func HasCode(err error) bool {
	e := (*Error)(nil)
	return errors.As(err, &e)
}

// Innermost returns the error at the end of the chain that err wraps. It stops at an error that
// joins several.
func Innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
