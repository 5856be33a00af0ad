package lab

import (
	"net"
	"net/http"
	"net/netip"
)

// An Interface is the state of one network interface (ENI) in EC2.
type Interface struct {
	ID        string
	Addresses []netip.Addr // the primary one first
}

// A Fabric is the cloud as the lab sees it. The lab delivers packets exactly as the Fabric says.
type Fabric interface {
	Interfaces() []Interface             // all interfaces that exist now
	API() http.Handler                   // the AWS API endpoint
	IMDS(instanceID string) http.Handler // the instance's Instance Metadata Service
}

// A NodeSpec describes an instance to build, with everything that EC2 and EMR set before the first
// program runs.
type NodeSpec struct {
	Name     string // for messages and tables: master, core-1
	Role     string // MASTER, CORE or TASK; empty for an instance outside EMR
	Instance string // i-...
	Primary  Port
	Second   *Port             // the interface that EMR attaches to a master in a private subnet
	Files    map[string][]byte // EMR's files by their paths below /
}

// A Port is the place where one ENI is attached.
type Port struct {
	ENI     string
	MAC     net.HardwareAddr
	Address netip.Addr // primary private IP
}
