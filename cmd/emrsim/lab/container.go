package lab

import (
	"context"
	"fmt"
	"net/netip"
)

// A Container is a network namespace behind a node, as Docker makes one. Its packets leave by the
// node.
//
//	container 172.17.0.2/16 --- docker0 172.17.0.1/16 on the node
type Container struct {
	lab *Lab
	ns  *namespace
}

// Address is the container's address. Each node has its own network of containers.
var (
	containerAddress = netip.MustParseAddr("172.17.0.2")
	containerGateway = netip.MustParseAddr("172.17.0.1")
)

// AddContainer starts a container on a node. It makes the link docker0 and lets the node forward
// packets, but adds no rule: rules for the container are the caller's. The container ends with the
// node. A node can have one.
func (l *Lab) AddContainer(ctx context.Context, n *Node) (*Container, error) {
	ns, err := newNamespace(ctx, n.Name+"-container", nil)
	if err != nil {
		return nil, err
	}
	err = cable(ctx, n.ns, "docker0", ns, "eth0", nil)
	if err == nil {
		err = n.ns.ip(ctx, fmt.Sprintf("addr add %s/16 dev docker0", containerGateway))
	}
	if err == nil {
		err = ns.ip(ctx, "link set dev eth0 up", fmt.Sprintf("addr add %s/16 dev eth0", containerAddress), fmt.Sprintf("route add default via %s", containerGateway))
	}
	if err == nil {
		err = n.ns.setting("ipv4/ip_forward", "1")
	}
	if err != nil {
		ns.close()
		return nil, fmt.Errorf("starting a container on %s: %w", n.Name, err)
	}
	return &Container{lab: l, ns: ns}, nil
}

// Download is Lab.Download from inside the container.
func (c *Container) Download(ctx context.Context) (netip.Addr, error) {
	return c.lab.download(ctx, c.ns)
}

// Close ends the container.
func (c *Container) Close() {
	c.ns.kill()
	c.ns.close()
}
