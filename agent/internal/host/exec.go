package host

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"time"
)

// Output runs a program and returns what it prints. When ctx ends, Output kills the program and
// waits a second at most.
func Output(ctx context.Context, argv []string) (stdout, stderr string, err error) {
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.WaitDelay = time.Second
	if err = cmd.Run(); err != nil && ctx.Err() != nil {
		err = errors.Join(err, ctx.Err())
	}
	return out.String(), errOut.String(), err
}
