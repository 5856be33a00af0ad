package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
)

// mtu is the MTU of every link, as EC2 has it inside a VPC.
const mtu = 9001

// ip runs commands of the program ip as one batch inside the namespace. They are given without the
// program's name.
func (n *namespace) ip(ctx context.Context, lines ...string) error {
	return n.ipWith(ctx, nil, lines...)
}

// ipWith is ip with open files. Commands can name them as /proc/self/fd/3, 4, ..., for example
// another namespace.
func (n *namespace) ipWith(ctx context.Context, files []*os.File, lines ...string) error {
	if len(lines) == 0 {
		return nil
	}
	_, err := n.output(ctx, command{path: "ip", args: []string{"-batch", "-"}, stdin: strings.Join(lines, "\n") + "\n", files: files})
	if err != nil {
		return fmt.Errorf("%w (batch: %s)", err, strings.Join(lines, "; "))
	}
	return nil
}

// cable connects two namespaces by a veth pair. The far end gets the MAC; for nil the kernel
// chooses one.
func cable(ctx context.Context, near *namespace, nearName string, far *namespace, farName string, mac net.HardwareAddr) error {
	address := ""
	if mac != nil {
		address = " address " + mac.String()
	}
	err := near.ipWith(ctx, []*os.File{far.net},
		fmt.Sprintf("link add name %s mtu %d type veth peer name %s mtu %d%s netns /proc/self/fd/3", nearName, mtu, farName, mtu, address),
		"link set dev "+nearName+" up")
	if err != nil {
		return fmt.Errorf("joining %s of %s to %s of %s: %w", nearName, near.name, farName, far.name, err)
	}
	return nil
}

// addresses returns the IPv4 and IPv6 addresses on a link of the namespace, sorted, in the form of
// the program ip ("10.0.1.5/24").
func (n *namespace) addresses(ctx context.Context, link string) ([]string, error) {
	out, err := n.output(ctx, command{path: "ip", args: []string{"-json", "address", "show", "dev", link}})
	if err != nil {
		return nil, err
	}
	var links []struct {
		Addresses []struct {
			Local  string `json:"local"`
			Length int    `json:"prefixlen"`
		} `json:"addr_info"`
	}
	if err := json.Unmarshal(out, &links); err != nil {
		return nil, fmt.Errorf("reading the addresses of %s in namespace %s: %w", link, n.name, err)
	}
	var found []string
	for _, l := range links {
		for _, a := range l.Addresses {
			found = append(found, fmt.Sprintf("%s/%d", a.Local, a.Length))
		}
	}
	slices.Sort(found)
	return found, nil
}
