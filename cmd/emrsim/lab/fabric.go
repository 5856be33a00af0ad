package lab

import (
	"net"
	"net/http"
	"net/netip"
)

// An Interface is what EC2 says about one network interface (ENI).
type Interface struct {
	ID        string
	Addresses []netip.Addr // the primary first
}

// A Fabric is the cloud as the lab's wires see it. The lab delivers what it says, and nothing else.
type Fabric interface {
	Interfaces() []Interface             // all that exist at this moment
	API() http.Handler                   // the AWS API endpoint
	IMDS(instanceID string) http.Handler // the Instance Metadata Service as that instance sees it
}

// A NodeSpec is an instance to build: what EC2 and EMR gave it before its first program runs.
type NodeSpec struct {
	Name     string // for messages and tables: master, core-1
	Role     string // MASTER, CORE or TASK
	Instance string // i-...
	Primary  Port
	Second   *Port             // the interface that EMR attaches to a master in a private subnet
	Files    map[string][]byte // EMR's files: path below / -> content
}

// A Port is the place where one ENI is plugged in.
type Port struct {
	ENI     string
	MAC     net.HardwareAddr
	Address netip.Addr // primary private IP
}
