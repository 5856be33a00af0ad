package pool_test

import (
	"fmt"

	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

// The form of the bootstrap action: the master's address, then those of the core nodes.
func ExampleParse() {
	pools, err := pool.Parse(pool.Args{Positional: []string{"10.0.1.10", "10.0.1.11-13"}})
	fmt.Println(pools.Master, pools.Core, err)

	_, err = pool.Parse(pool.Args{Positional: []string{"10.0.1.10", "10.0.1.300"}})
	fmt.Println(err)
	// Output:
	// [10.0.1.10] [10.0.1.11 10.0.1.12 10.0.1.13] <nil>
	// argument 2 "10.0.1.300" is not an IPv4 address (four numbers from 0 to 255 without leading zeros)
}
