package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
)

// eventCommands are what happens to a cluster, its nodes and its account.
func eventCommands() map[string]Command {
	return map[string]Command{
		"grow":      {Usage: "grow [--cluster NAME] MASTER|CORE|TASK [N]", About: "Adds nodes, as a resize does. Nothing runs on them yet.", least: 1, most: 2, flags: growFlags},
		"end":       {Usage: "end [--abrupt] NODES", About: "Ends nodes: EMR's shutdown actions run, then the instances terminate. With --abrupt no shutdown action runs, as in a failure of the hardware.", least: 1, most: 1, flags: endFlags},
		"terminate": {Usage: "terminate [CLUSTER]", About: "Ends a whole cluster, without shutdown actions.", most: 1, parse: parseTerminate},
		"replace":   {Usage: "replace [--keep] MASTER", About: "Ends one of three masters and starts another on the same primary interface. With --keep the interface keeps its secondary addresses.", least: 1, most: 1, flags: replaceFlags},
		"reboot":    {Usage: "reboot NODES", About: "Reboots nodes: programs, links and rules are gone, the files stay. Nothing is started: there is no systemd.", least: 1, most: 1, parse: onNodes((*play).reboot)},
		"dhcp":      {Usage: "dhcp NODES", About: "Renews the lease of DHCP as a client does that drops the secondary addresses of the link.", least: 1, most: 1, parse: onNodes(func(p *play, n *lab.Node) error { return n.RenewDHCP(p.ctx) })},
		"flush":     {Usage: "flush NODES", About: "Deletes all rules of iptables and nftables, as a restarted firewall does.", least: 1, most: 1, parse: onNodes(func(p *play, n *lab.Node) error { return n.FlushRules(p.ctx) })},
		"load":      {Usage: "load NODES iptables|nft FILE", About: "Adds another program's rules from an embedded file, by the node's iptables-restore --noflush or by nft -f.", least: 3, most: 3, parse: parseLoad},
		"container": {Usage: "container NODES", About: "Starts a container with the address 172.17.0.2 behind docker0 on nodes. Rules for it are loaded by the scenario. Its name is NODE/container.", least: 1, most: 1, parse: onNodes((*play).container)},
		"stranger":  {Usage: "stranger [--primary] ADDRESS", About: "Starts an instance outside EMR that has an address as a secondary one, or as its primary one.", least: 1, most: 1, flags: strangerFlags},
		"move":      {Usage: "move ADDRESS [NODE]", About: "Moves an address by force to a node (AllowReassignment). Without NODE it is only taken away from its holder.", least: 1, most: 2, parse: parseMove},
		"record":    {Usage: "record ADDRESS [TEXT]", About: "Writes the record of an address in the ledger by hand. Without TEXT the record is deleted.", least: 1, most: 2, parse: parseRecord},
		"clock":     {Usage: "clock DURATION", About: "Sets how far AWS's clock is ahead of the nodes' clock.", least: 1, most: 1, parse: parseClock},
		"gateway":   {Usage: "gateway internet|s3 attached|detached", About: "Detaches a gateway from the VPC with its routes, or attaches it again: the Internet gateway of public subnets, or the gateway endpoint of S3 of private ones. In the beginning all are there.", least: 2, most: 2, parse: parseGateway},
		"snapshot":  {Usage: "snapshot NODES NAME", About: "Remembers the addresses, routes and rules of nodes, for the expectation same.", least: 2, most: 2, parse: parseSnapshot},
	}
}

// onNodes returns the parser of a command whose only word selects nodes, and which does the same on
// each.
func onNodes(do func(*play, *lab.Node) error) reader {
	return func(words []string) (step, error) { return onEach(words[0], do), nil }
}

// onCluster returns a step for the first cluster.
func onCluster(do func(*play, *lab.Cluster) error) step {
	return func(p *play) error {
		c, err := p.built()
		if err != nil {
			return err
		}
		return do(p, c)
	}
}

// named returns a cluster by its name. The first one has none.
func (p *play) named(name string) (*group, error) {
	if _, err := p.built(); err != nil {
		return nil, err
	}
	for n, g := range p.groups {
		if g.Name() == name || (name == "" && n == 0) {
			return g, nil
		}
	}
	return nil, fmt.Errorf("no cluster %q", name)
}

func growFlags(f *pflag.FlagSet) reader {
	cluster := f.String("cluster", "", "")
	return func(words []string) (step, error) { return parseGrow(*cluster, words) }
}

func parseGrow(cluster string, words []string) (step, error) {
	count, err := 1, error(nil)
	role := strings.ToUpper(words[0])
	switch role {
	case cloud.RoleMaster, cloud.RoleCore, cloud.RoleTask:
	default:
		return nil, fmt.Errorf("%q is no role", words[0])
	}
	if len(words) == 2 {
		if count, err = strconv.Atoi(words[1]); err != nil || count < 1 || count > 100 {
			return nil, fmt.Errorf("%q nodes: 1 to 100", words[1])
		}
	}
	return func(p *play) error {
		g, err := p.named(cluster)
		for range count {
			if err == nil {
				_, err = g.Grow(p.ctx, role)
			}
		}
		return err
	}, nil
}

func endFlags(f *pflag.FlagSet) reader {
	abrupt := f.Bool("abrupt", false, "")
	return onNodes(func(p *play, n *lab.Node) (err error) {
		if !*abrupt {
			err = p.shutdown(n)
		}
		p.cluster.Terminate(n)
		return err
	})
}

func indexOf(nodes []*lab.Node, n *lab.Node) int {
	for i, other := range nodes {
		if other == n {
			return i
		}
	}
	return -1
}

// shutdown runs the node's shutdown actions, as EMR does.
func (p *play) shutdown(n *lab.Node) error {
	got, err := p.cluster.RunShutdownActions(p.ctx, n)
	if err == nil {
		p.mu.Lock()
		p.runs[n.Name] = run{got, nil}
		p.mu.Unlock()
	}
	return err
}

func parseTerminate(words []string) (step, error) {
	return func(p *play) error {
		name := ""
		if len(words) == 1 {
			name = words[0]
		}
		g, err := p.named(name)
		if err != nil {
			return err
		}
		g.End()
		return nil
	}, nil
}

func replaceFlags(f *pflag.FlagSet) reader {
	keep := f.Bool("keep", false, "")
	return func(words []string) (step, error) {
		return func(p *play) error {
			n, err := p.node(words[0])
			if err != nil {
				return err
			}
			_, err = p.cluster.Replace(p.ctx, n, *keep)
			return err
		}, nil
	}
}

func (p *play) reboot(n *lab.Node) error { return p.cluster.Reboot(p.ctx, n) }

func (p *play) container(n *lab.Node) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.boxes[n.Name] != nil {
		return fmt.Errorf("%s has a container already", n.Name)
	}
	c, err := p.cluster.AddContainer(p.ctx, n)
	if err == nil {
		p.boxes[n.Name] = c
	}
	return err
}

func parseLoad(words []string) (step, error) {
	if words[1] != "iptables" && words[1] != "nft" {
		return nil, fmt.Errorf("%q: iptables or nft", words[1])
	}
	return func(p *play) error {
		rules, err := p.file(words[2])
		if err != nil {
			return err
		}
		return onEach(words[0], func(p *play, n *lab.Node) error {
			if words[1] == "nft" {
				return n.LoadNFT(p.ctx, rules)
			}
			return n.LoadIptables(p.ctx, rules)
		})(p)
	}, nil
}

func strangerFlags(f *pflag.FlagSet) reader {
	primary := f.Bool("primary", false, "")
	return func(words []string) (step, error) { return parseStranger(*primary, words) }
}

func parseStranger(primary bool, words []string) (step, error) {
	list, err := addresses(words)
	if err != nil {
		return nil, err
	}
	if primary && len(list) > 1 {
		return nil, errors.New("an instance has one primary address")
	}
	return onCluster(func(p *play, c *lab.Cluster) error {
		spec := cloud.InstanceSpec{Subnet: c.SubnetID, Name: "stranger"}
		if primary {
			spec.PrimaryIP = list[0]
		} else {
			spec.Secondary = list
		}
		_, err = c.Cloud.RunInstance(spec)
		return err
	}), nil
}

// oneAddress parses a word that is an address.
func oneAddress(word string) (netip.Addr, error) {
	a, err := netip.ParseAddr(word)
	if err != nil {
		return a, fmt.Errorf("%q is no address", word)
	}
	return a, nil
}

func parseMove(words []string) (step, error) {
	a, err := oneAddress(words[0])
	if err != nil {
		return nil, err
	}
	return onCluster(func(p *play, c *lab.Cluster) error {
		if len(words) == 1 {
			return c.Cloud.Unassign(a)
		}
		n, err := p.node(words[1])
		if err != nil {
			return err
		}
		return c.Cloud.Move(a, n.Primary.ENI)
	}), nil
}

func parseRecord(words []string) (step, error) {
	a, err := oneAddress(words[0])
	if err != nil {
		return nil, err
	}
	return onCluster(func(p *play, c *lab.Cluster) error {
		name := p.groups[0].wanted.Prefix + "/" + c.SubnetID + "/" + a.String()
		if len(words) == 2 {
			return c.Cloud.SetParameter(name, words[1])
		}
		if !c.Cloud.DeleteParameter(name) {
			return fmt.Errorf("there is no record %s", name)
		}
		return nil
	}), nil
}

func parseClock(words []string) (step, error) {
	d, err := time.ParseDuration(words[0])
	if err != nil {
		return nil, err
	}
	return onCluster(func(_ *play, c *lab.Cluster) error {
		c.Cloud.SetClockSkew(d)
		return nil
	}), nil
}

func parseSnapshot(words []string) (step, error) {
	return onEach(words[0], func(p *play, n *lab.Node) error {
		text, err := n.Snapshot(p.ctx)
		if err == nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.kept[n.Name+" "+words[1]] = text
		}
		return err
	}), nil
}
