package ssmcoord_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// The record of a node that has ended is no obstacle, that of a living node is one.
func ExampleJudge() {
	self := ssmcoord.Self{Instance: "i-0a", ENI: "eni-0a"}
	now := time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC)
	entry := ssmcoord.Entry{
		State:    ssmcoord.Claimed,
		Record:   ssmcoord.Record{Instance: "i-0b", ENI: "eni-0b", Cluster: "j-1"},
		Modified: now.Add(-time.Hour),
	}
	nobody := ssmcoord.Holder{}
	for _, life := range []ssmcoord.Life{ssmcoord.Living, ssmcoord.Terminated} {
		v := ssmcoord.Judge(self, entry, nobody, life, now)
		fmt.Printf("%s: %s\n", v.Action, v.Reason)
	}
	// Output:
	// skip: claimed by i-0b of cluster j-1
	// take over: its owner i-0b is terminated
}

// Two core nodes that start together begin with different addresses. The one that comes later, when
// the first has its address, begins with the same one as before.
func ExampleOrder() {
	pools := ssmcoord.Pools{"CORE": {netip.MustParseAddr("10.0.1.11"), netip.MustParseAddr("10.0.1.12")}}
	members := []ssmcoord.Member{{Instance: "i-0a", Role: "CORE"}, {Instance: "i-0b", Role: "CORE"}}
	second := ssmcoord.Self{Instance: "i-0b", Role: "CORE"}

	fmt.Println(ssmcoord.Order(second, members, pools))
	members[0].Addresses = []netip.Addr{netip.MustParseAddr("10.0.1.11")}
	fmt.Println(ssmcoord.Order(second, members, pools))
	// Output:
	// [10.0.1.12 10.0.1.11]
	// [10.0.1.12 10.0.1.11]
}

// What is not exactly a record is neither free nor stale: it is an error, and nobody takes the
// address until an operator has looked.
func ExampleParseRecord() {
	r, err := ssmcoord.ParseRecord(`{"v":1,"instance":"i-0a","eni":"eni-0a","cluster":"j-1","role":"CORE","time":"2026-11-29T03:00:00Z"}`)
	fmt.Println(r.Owner(), r.Role, err)

	_, err = ssmcoord.ParseRecord("blank")
	fmt.Println(err != nil)
	// Output:
	// i-0a of cluster j-1 CORE <nil>
	// true
}
