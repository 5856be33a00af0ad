package lab

import "net/netip"

// An Observer is told what happens to the nodes of a lab. Its methods may be called concurrently.
// They must not call the lab's methods that change something.
type Observer interface {
	Joined(*Lab, *Node)                                 // the node is up
	Left(*Node)                                         // the node is about to be removed, also when the lab is closed
	Rebooted(*Node)                                     // the node is up again
	Started(*Node, Command)                             // a program starts
	Finished(*Node, Command, Result)                    // it has ended
	Downloaded(n *Node, seen netip.Addr, failure error) // a download from the data centre has ended
}

func (l *Lab) observe(tell func(Observer)) {
	if l.spec.Observer != nil {
		tell(l.spec.Observer)
	}
}
