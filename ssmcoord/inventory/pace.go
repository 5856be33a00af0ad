package inventory

import (
	"time"

	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// stepPause is the least time between two changes. It uses two of the 3 DeleteParameter and 3
// PutParameter calls a second that an account has. The rest is for the nodes.
const stepPause = 500 * time.Millisecond

// probeCleanup limits the removal of a probe, which goes on after the caller's context has ended.
// An operator who interrupts doctor waits no longer than that.
const probeCleanup = 10 * time.Second

// settledAfter is how old a record must be before an operator's command touches it: no run is still
// about to bring it in line by itself. A run does so when EC2 shows what it did, when it may create
// a name again, and when its turn to write has come.
const settledAfter = ssmcoord.DescribeLag + ssmcoord.RecreateAfter + ssmcoord.RecordSoon
