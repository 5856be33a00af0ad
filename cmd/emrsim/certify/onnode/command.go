package onnode

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxLines bounds what is kept of a command's output.
const maxLines = 2000

// Command is a command of the operator's that is run while IMDS is watched.
type Command struct {
	Argv []string
	Out  io.Writer // gets the output as it comes
}

// Run runs the command and returns its output, a line each with its time, and its exit code. If ctx
// ends, the command gets SIGTERM and may end by itself.
func (c Command) Run(ctx context.Context) ([]byte, error) {
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	read, write := io.Pipe()
	cmd.Stdout, cmd.Stderr = write, write
	var b strings.Builder
	fmt.Fprintf(&b, "%s $ %s\n", time.Now().UTC().Format(moment), strings.Join(c.Argv, " "))
	var reading sync.WaitGroup
	reading.Go(func() {
		lines := 0
		s := bufio.NewScanner(read)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			if c.Out != nil {
				fmt.Fprintln(c.Out, s.Text())
			}
			if lines++; lines <= maxLines {
				fmt.Fprintf(&b, "%s %s\n", time.Now().UTC().Format(moment), s.Text())
			}
		}
		_, _ = io.Copy(io.Discard, read) // after a line that is too long
	})
	err := cmd.Run()
	write.Close()
	reading.Wait()
	if cmd.ProcessState == nil {
		return []byte(b.String()), err
	}
	fmt.Fprintf(&b, "%s exit code %d\n", time.Now().UTC().Format(moment), cmd.ProcessState.ExitCode())
	if ctx.Err() != nil {
		return []byte(b.String()), context.Cause(ctx)
	}
	return []byte(b.String()), nil
}
