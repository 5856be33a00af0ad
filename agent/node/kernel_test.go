package node

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// An error that another run would meet again is not answered with "run again" alone.
func TestKernelRemedies(t *testing.T) {
	for _, test := range []struct {
		err  error
		code exit.Code
		want string
	}{
		{netcfg.ErrInTheWay, exit.Kernel, "put the address where the message says"},
		{netcfg.ErrTooMany, exit.Usage, "fewer or larger networks"},
		{netcfg.ErrLockFile, exit.Kernel, "rmdir /run/xtables.lock"},
		{netcfg.ErrBackend, exit.Kernel, "--nat-backend auto"},
		{netcfg.ErrNoBackend, exit.Kernel, "install iptables"},
		{errors.ErrUnsupported, exit.Kernel, "run again"},
	} {
		err := KernelError(fmt.Errorf("doing: %w", errors.Join(errors.New("another"), test.err)))
		if told := fmt.Sprint(exit.Remedies(err)); exit.CodeOf(err) != test.code || !strings.Contains(told, test.want) {
			t.Errorf("%v: exit code %d, %s", test.err, exit.CodeOf(err), told)
		}
	}
}
