package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// A whoami is a TCP service that sends each caller its own name and the caller's source address,
// and closes the connection.
type whoami struct{ listener net.Listener }

func newWhoami(ctx context.Context, ns *namespace, name string, at netip.AddrPort) (*whoami, error) {
	l, err := ns.listen(ctx, at.String(), "")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				time.Sleep(10 * time.Millisecond) // no descriptors, or the caller has gone: try again
				continue
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(5 * time.Second))
				fmt.Fprintln(c, name, c.RemoteAddr())
			}()
		}
	}()
	return &whoami{l}, nil
}

func (w *whoami) stop() { w.listener.Close() }
