// Command emr-static-ip gives a node of an Amazon EMR cluster a private IP address from a list.
package main

import (
	"context"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/cli"
	"github.com/emr-static-ip/emr-static-ip/agent/cluster"
	"github.com/emr-static-ip/emr-static-ip/agent/doctor"
	"github.com/emr-static-ip/emr-static-ip/agent/ledger"
	_ "github.com/emr-static-ip/emr-static-ip/internal/oneproc"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

func main() {
	crashLoudly()
	debug.SetGCPercent(400) // restore, every minute, needs less than 16 MB: no collection
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		cancel(signalError(<-signals))                  // the first one: come to an end
		os.Exit(int(signalError(<-signals).ExitCode())) // the second one: at once
	}()
	// A reader of the log that goes away must not end a run half way.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if err := os.Setenv("PATH", cli.SearchPath(os.Getenv("PATH"))); err != nil {
		panic(err) // only for a name that is no name
	}
	program := cli.Program{
		Apply: agent.Apply, Plan: agent.Plan, Release: agent.Release, Restore: agent.Restore, Status: agent.Inspect,
		Doctor: doctor.Doctor, Suppress: agent.Suppress, Ledger: ledger.Run, Watch: ledger.Observe, Cluster: cluster.Check, Elevate: cli.Elevate,
	}
	os.Exit(int(program.Main(ctx, os.Args[1:], agent.Environment{
		OpenKernel: netcfg.Open,
		Rand:       rand.Float64,
		LookupEnv:  os.LookupEnv,
		Environ:    os.Environ,
		Stdout:     os.Stdout,
		Stderr:     os.Stderr,
	})))
}

func signalError(s os.Signal) *cli.SignalError {
	number, _ := s.(syscall.Signal)
	return &cli.SignalError{Signal: number}
}

// crashLoudly makes a crash of the Go runtime (out of memory, no threads, a bug) end the process by
// SIGABRT, which a shell shows as 134. Otherwise the exit code would be 2, which means that the
// arguments are wrong. No core file is written: it would have the node's credentials.
func crashLoudly() {
	debug.SetTraceback("crash")
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) // lowering a limit is always allowed
}
