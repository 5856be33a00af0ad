package node

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// An error that another run would meet again is not answered with "run again" alone.
func TestKernelRemedies(t *testing.T) {
	messages := golden.Open(t, "kernel-remedies.txt")
	for _, test := range []struct {
		err  error
		code exit.Code
	}{
		{netcfg.ErrInTheWay, exit.Kernel},
		{netcfg.ErrTooMany, exit.Usage},
		{netcfg.ErrLockFile, exit.Kernel},
		{netcfg.ErrBackend, exit.Kernel},
		{netcfg.ErrNoBackend, exit.Kernel},
		{netcfg.ErrNoLink, exit.Kernel},
		{netcfg.ErrManyLinks, exit.Kernel},
		{errors.ErrUnsupported, exit.Kernel},
	} {
		err := KernelError(fmt.Errorf("doing: %w", errors.Join(errors.New("another"), test.err)))
		if exit.CodeOf(err) != test.code {
			t.Errorf("%v: exit code %d", test.err, exit.CodeOf(err))
		}
		messages.Is(t, test.err.Error(), strings.Join(exit.Remedies(err), "\n"))
	}
}
