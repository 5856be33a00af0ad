// Package ssmcoord is the claim protocol: how the nodes of one or more EMR clusters choose static IPs from
// a shared list without a coordinator, through AWS Systems Manager Parameter Store.
//
// # What decides
//
// Inside a subnet EC2 lets an address belong to one network interface (ENI) at most. EC2 therefore
// is the arbiter: an address is a node's own once EC2 has confirmed it on that node's ENI, never before.
// Parameter Store has no compare-and-swap, its reads may be stale, and AWS does not document that its
// create is linearizable. The ledger is used for what it can do: it keeps nodes from choosing the
// same address, lets a dead node's address be found again, and tells an operator who holds what.
//
// # The ledger
//
// One parameter for one address, keyed by the subnet, because that is where EC2 keeps addresses unique:
//
//	/emr-static-ip/subnet-0a1b2c/10.0.1.11   {"v":1,"instance":"i-...","eni":"eni-...","cluster":"j-...","role":"CORE","time":"..."}
//
// # One node's way to an address
//
//	keep      the ENI already carries an address of the pool: it stays, and the record is made to name this node
//	resume    a claim of an earlier, interrupted run names this node: attach it
//	create    no record, no ENI carries it:        PutParameter (create only) -> attach
//	take over the owner is gone, no ENI carries it: attach -> PutParameter (overwrite)
//	skip      anything else: go on to the next address, or wait
//
// A take-over asks EC2 before it writes. Of several nodes that find the same stale claim, EC2 gives the
// address to one, and only that one writes; a loser has written nothing that would have to be undone. A
// node that dies between the two steps has the address on its ENI and keeps it when it is run again.
//
// A node that created a claim and is refused by EC2, because an ENI outside the ledger has the address, reads
// the record again and deletes it only while it still names this node.
//
// # Late answers
//
// EC2's describe calls may be older than what this node did a moment ago. The address that the last run attached, and that was not given back since,
// is kept as soon as a describe call shows it; any other one that it shows on the node's ENI is asked for again first, since an assignment's
// answer is never old. A refusal outweighs what describe calls show, until they have gone on showing it for longer than they are late. The same holds for the
// ledger: a record that is absent, or that this node has deleted, is read again before it counts; so is one of another node where this one has just
// written; and one that names this node is believed only where this run wrote it or the last run left it, for else it may have been deleted since:
// PutParameter, which is not late, then tells whether there is one. A DeleteParameter whose answer was lost, or that was throttled, is not repeated before
// the record has been read again, which may be the next owner's by then. The age of a record is by Parameter Store's clock.
//
// A node that waits for an address goes on looking whether EC2 still gives it the one that it had, and takes it out of use where not.
//
// # Who meets whom
//
// Nodes of one cluster know their rank among the members that still need an address, and begin with the
// address of that rank. Both lists shrink by the same pairs, so views taken at different times agree. The
// rank also spaces the writes of a launch over the account's 3 PutParameter calls a second.
//
// # The operator's view
//
// An Inventory compares a ledger with EC2 from outside, and removes or mends records: what a node would take over, what cannot be read, what
// contradicts EC2. It never attaches or detaches an address, so that the worst it can do is to lose a record, which the holder's next run
// writes again.
//
// The decisions are pure functions in the decide and inventory_decide files, which import the standard library only.
package ssmcoord
