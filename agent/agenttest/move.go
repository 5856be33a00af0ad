package agenttest

import (
	"net/netip"
	"path/filepath"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/netcfg/netcfgtest"
)

// MoveTo makes n the core node of another cluster with one master and one core node, in the subnet.
func (n *Node) MoveTo(subnet string) {
	n.T.Helper()
	cluster, err := n.Cloud.LaunchCluster(cloud.ClusterSpec{Name: "test", NameTag: "test", Subnet: subnet, Masters: 1, Cores: 1})
	if err != nil {
		n.T.Fatal(err)
	}
	n.Node = cluster.Nodes[1]
	n.Kernel = netcfgtest.New(netcfgtest.Link(Link, 2, n.MAC, netip.PrefixFrom(n.PrimaryIP, 24)))
	n.RewriteFiles()
}

// RewriteFiles writes EMR's files as they are now, for example after the cluster was resized.
func (n *Node) RewriteFiles() {
	n.T.Helper()
	for p, content := range n.EMRFiles(cloud.FilesFull) {
		n.Write(filepath.Join(n.Env.Root, p), string(content))
	}
}
