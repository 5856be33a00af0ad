package simulation

import (
	"fmt"
	"strings"
)

// Stats count what a launch has covered.
type Stats struct {
	Clusters, Nodes, Runs, Restores, Kills, Errors, TakeOvers, Terminations, Calls, Throttled int
	Cleaned                                                                                   int // records that operators changed
	PutRight                                                                                  int // nodes that had to write their records again
	Pending                                                                                   int // runs that left their record to the timer
	Checked                                                                                   int // clusters that cluster check has looked at
}

// Add adds o to s.
func (s *Stats) Add(o Stats) {
	s.Clusters += o.Clusters
	s.Nodes += o.Nodes
	s.Runs += o.Runs
	s.Restores += o.Restores
	s.Kills += o.Kills
	s.Errors += o.Errors
	s.TakeOvers += o.TakeOvers
	s.Terminations += o.Terminations
	s.Calls += o.Calls
	s.Throttled += o.Throttled
	s.Cleaned += o.Cleaned
	s.PutRight += o.PutRight
	s.Pending += o.Pending
	s.Checked += o.Checked
}

// String summarizes what a launch has covered.
func (s Stats) String() string {
	return fmt.Sprintf("%d clusters, %d nodes, %d runs (%d killed, %d ended in an error), %d restores, %d terminations, %d take-overs, %d records left to timers, %d clusters checked, %d calls (%d throttled)",
		s.Clusters, s.Nodes, s.Runs, s.Kills, s.Errors, s.Restores, s.Terminations, s.TakeOvers, s.Pending, s.Checked, s.Calls, s.Throttled)
}

func (l *Launch) count(o Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Stats.Runs++
	if o.Killed {
		l.Stats.Kills++
	}
	for _, c := range o.Report.Changes {
		if strings.HasPrefix(c, "taken over") {
			l.Stats.TakeOvers++
		}
	}
	for _, w := range o.Report.Warnings {
		if strings.HasPrefix(w, "record pending") {
			l.Stats.Pending++
		}
	}
}
