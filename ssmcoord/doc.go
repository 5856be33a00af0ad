// Package ssmcoord is the claim protocol: how the nodes of one or more EMR clusters share a list of
// static IPs without a coordinator, through EC2 and AWS Systems Manager Parameter Store.
//
// # EC2's assignment is the lock
//
// Inside a subnet EC2 lets an address belong to one network interface (ENI) at most, and the answer
// to AssignPrivateIpAddresses is never old. So an address is a node's own once EC2 has assigned it
// to that node's ENI, and never before. Only the node that holds an address writes or deletes its
// record.
//
//	free --Assign--> HELD --program--> in use --PutParameter--> RECORDED
//	       refused: the next address, nothing to undo
//
//	release: out of the kernel --DeleteParameter--> HELD --Unassign--> free
//
// A node that is killed between two of these steps has the address on its ENI, or it has not. The
// next run keeps what the ENI carries, and gives back what it does not use.
//
// # The ledger
//
// One parameter for one address, keyed by the subnet, because that is where EC2 keeps addresses
// unique:
//
//	/emr-static-ip/subnet-0a1b2c/10.0.1.11
//	{"v":1,"instance":"i-...","eni":"eni-...","cluster":"j-...","role":"CORE","time":"..."}
//
// The ledger is how nodes choose without colliding, how an operator sees who has what, and how the
// address of a node that died is known to be free. It decides nothing.
//
// # One run
//
//	look     DescribeInstances and GetParameters, at the same time: who is in the cluster, which
//	         addresses they carry, and the records of the first addresses in the node's order
//	choose   pure: see Judge for what is free, Order for where a node begins
//	assign   AssignPrivateIpAddresses; refused: look again, with who holds each address
//	         (the caller programs the kernel)
//	record   PutParameter, at the node's turn
//	settle   give back what earlier runs have left
//
// A first run costs five calls with the Name tag, and two round trips before the kernel is
// programmed (three if the pool has more than ten addresses). Package agent makes one more call,
// once in a node's life, beside them. A run that finds its address costs two calls.
//
// # What is free
//
//	                     own ENI   another ENI   no ENI
//	no record            keep      skip          take
//	own record           keep      skip          take
//	owner is gone        keep      skip          take over: the record is overwritten
//	owner lives          keep      skip          skip
//	cannot be read       keep      skip          skip: an operator has to look
//
// A living owner's record counts also where no ENI carries the address: its kernel may still use
// it.
//
// # Why there are waits
//
// Describe calls may be late by DescribeLag, reads of Parameter Store by ReadLag. Answers of
// changes are never late. Every wait follows from that:
//
//   - An assignment whose earlier attempt got no answer is confirmed by looking, for DescribeLag.
//     So is a refusal of an address that the node may have got by an earlier attempt or run.
//   - An address on the ENI that the last run did not leave there is asked for again: the describe
//     call may be older than a release. So is the address in use if it is not shown, or if its
//     record names another node. If EC2 refuses that one, it is withdrawn at once; without
//     an answer it stays in use, unless the last run is longer ago than DescribeLag.
//   - A record whose owner EC2 does not list is stale only after DescribeLag: a new instance may
//     not be listed yet.
//   - A record that should be this node's and is not, is read again after ReadLag before it is
//     written. A record that names this node, of an address that EC2 did not show on it, is read
//     again after ReadLag and the address asked for, before the record is deleted.
//   - A deletion whose answer was lost is repeated after ReadLag, if the record is still the same.
//   - A name that this node deleted, or whose record it saw in this run, is created again after
//     RecreateAfter.
//   - A node that finds every address taken looks again within half of DescribeLag, and sooner at
//     first. A run does not wait longer for its turn to write its record than for a lag.
//
// All other waits keep calls apart for AWS's quotas. They are in pace.go, each with its source.
//
// # Who meets whom, and when
//
// Nodes of one cluster know their rank among the members that still need an address, and begin with
// the free address of that rank. Both lists shrink by the same pairs, so views taken at different
// times agree.
//
// EC2 admits 100 assignments at once and then 5 a second, Parameter Store 3 records a second. So a
// launch of up to a hundred nodes waits for nothing before its traffic flows; each node writes its
// record at its Turn. A run whose turn is more than RecordSoon away leaves its record to a timer.
//
// # The operator's side
//
// Package inventory compares a ledger with EC2 from outside and repairs it.
package ssmcoord
