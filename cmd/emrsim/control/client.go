package control

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/terminal"
)

// Ask sends a request to the rehearsal with the process id (0: the only one), connects it to the
// standard files of this process, and returns the exit code. With interactive the request's program
// gets a terminal if stdin is one.
func Ask(ctx context.Context, pid int, r Request, interactive bool) (exitCode int, err error) {
	c, err := dial(pid)
	if err != nil {
		return 1, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	interactive = interactive && terminal.Is(os.Stdin)
	if interactive {
		size := terminal.SizeOf(os.Stdin)
		r.Rows, r.Columns, r.Term = size.Rows, size.Columns, cmp.Or(os.Getenv("TERM"), "dumb")
	}
	line, err := json.Marshal(r)
	if err != nil {
		return 1, err
	}
	if _, err := c.Write(append(line, '\n')); err != nil {
		return 1, fmt.Errorf("asking the rehearsal: %w", err)
	}
	out := &sender{w: c}
	if interactive {
		restore, err := terminal.Raw(os.Stdin)
		if err != nil {
			return 1, err
		}
		defer restore()
		resized := make(chan os.Signal, 1)
		signal.Notify(resized, unix.SIGWINCH)
		defer signal.Stop(resized)
		go func() {
			for range resized {
				size := terminal.SizeOf(os.Stdin)
				payload := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, size.Rows), size.Columns)
				if out.send(frameResize, payload) != nil {
					return
				}
			}
		}()
	}
	if r.Command == "shell" || r.Command == "exec" {
		go func() { // ends with the process: a read of a terminal cannot be interrupted
			_, err := io.Copy(stream{out, frameStdin}, os.Stdin)
			if err == nil {
				_ = out.send(frameStdin, nil)
			}
		}()
	}
	for {
		kind, payload, err := receive(c)
		switch {
		case ctx.Err() != nil:
			return 130, nil
		case err != nil:
			return 1, fmt.Errorf("the rehearsal has ended: %w", err)
		case kind == frameExit && len(payload) == 1:
			return int(payload[0]), nil
		case kind == frameStdout:
			_, err = os.Stdout.Write(payload)
		case kind == frameStderr:
			_, err = os.Stderr.Write(payload)
		}
		if err != nil {
			return 1, fmt.Errorf("writing the output: %w", err)
		}
	}
}
