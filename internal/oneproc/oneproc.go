// Package oneproc limits the process that imports it to one processor: the program waits for the
// network and the kernel, and more threads only cost CPU. Since it imports nothing but runtime, it
// is initialised before nearly all other packages. Later, each processor has memory of its own
// already, which the runtime would have to take back.
package oneproc

import "runtime"

var _ = runtime.GOMAXPROCS(1)
