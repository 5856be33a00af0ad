package ledger

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// The time between two looks of watch: at least 5 s, and half a second for each page of the ledger.
// That is 2 of the 40 reads a second that the account has.
const (
	watchPause   = 5 * time.Second
	watchPerPage = 500 * time.Millisecond
	perPage      = 10 // records, as in ssmcoord.NamesPerRead
)

// Change is a change of one address between two looks.
type Change struct {
	Subnet  string   `json:"subnet"`
	Address string   `json:"address"`
	Before  string   `json:"before"` // the former state; empty if the address was not listed
	After   string   `json:"after"`  // the state now; empty if it is no longer listed
	Now     *Address `json:"now,omitempty"`
}

// Observe looks at the ledger again and again, until ctx is cancelled, which is no error. It calls
// print with a report of each look that found changes: the changed addresses and the changes. A
// look that fails for want of time or of an answer is logged. cfg.Timeout bounds each look.
func Observe(ctx context.Context, cfg agent.Config, env agent.Environment, print func(Report) error) (Report, error) {
	began := time.Now()
	c := newCall(Watch, cfg, env)
	first, looks := Report{}, 0
	last := map[place]Address{}
	for {
		err := c.bounded(ctx, c.run)
		looks++
		if ctx.Err() != nil {
			break
		}
		switch code := exit.CodeOf(err); {
		case err == nil && looks == 1:
			first = c.report
			c.log.Info(fmt.Sprintf("watching %s (%s): %s", c.where(), c.at.Region, c.report.summary()))
			last = c.report.byPlace()
		case err == nil:
			next := c.report.byPlace()
			if changes := changesOf(last, next); len(changes) > 0 {
				if err := print(c.report.changed(changes)); err != nil {
					return c.report, err
				}
			}
			last = next
		case looks > 1 && (code == exit.Deadline || code == exit.Unreachable):
			c.log.Warn("a look at the ledger failed, the next one follows", zap.Error(err))
		default:
			return c.report, err
		}
		if pause.Sleep(ctx, max(watchPause, time.Duration(1+len(last)/perPage)*watchPerPage)) != nil {
			break
		}
	}
	end := c.report
	if end.Addresses == nil {
		end = first // the last look was interrupted
	}
	end.Work.Duration = time.Since(began)
	return end, nil
}

// where names what is watched.
func (c *call) where() string {
	if c.subnet == "" {
		return c.cfg.Prefix
	}
	return c.cfg.Prefix + "/" + c.subnet
}

// place is an address in a subnet.
type place struct {
	subnet string
	addr   netip.Addr
}

// byPlace returns the addresses by place.
func (l Report) byPlace() map[place]Address {
	found := map[place]Address{}
	for _, a := range l.Addresses {
		addr, _ := netip.ParseAddr(a.Address) // it was one
		found[place{a.Subnet, addr}] = a
	}
	return found
}

// changed returns the report of a look that found changes.
func (l Report) changed(changes []Change) Report {
	l.Changes, l.Addresses = changes, nil
	return l
}

// changesOf compares two looks.
func changesOf(before, after map[place]Address) (changes []Change) {
	all := maps.Clone(before)
	maps.Copy(all, after)
	places := slices.SortedFunc(maps.Keys(all), func(p, q place) int {
		return cmp.Or(cmp.Compare(p.subnet, q.subnet), p.addr.Compare(q.addr))
	})
	for _, at := range places {
		b, was := before[at]
		a, is := after[at]
		if was && is && b.same(a) {
			continue
		}
		c := Change{Subnet: b.Subnet, Address: b.Address, Before: b.State, After: a.State}
		if is {
			c.Subnet, c.Address, c.Now = a.Subnet, a.Address, &a
		}
		changes = append(changes, c)
	}
	return changes
}

// same reports whether nothing that matters has changed: the state, who has the address, whom the
// record names, and whether these instances exist.
func (a Address) same(b Address) bool {
	return a.State == b.State && a.Owner.same(b.Owner) && a.recordOf() == b.recordOf() && a.holderOf() == b.holderOf()
}

func (i *Instance) same(j *Instance) bool {
	return (i == nil) == (j == nil) && (i == nil || i.ID == j.ID && i.State == j.State)
}

func (a Address) recordOf() string {
	if a.Record == nil {
		return ""
	}
	return fmt.Sprint(a.Record.Instance, " ", a.Record.Version, " ", a.Record.Modified)
}

func (a Address) holderOf() string {
	switch {
	case a.Holder == nil:
		return ""
	case a.Holder.Instance == nil:
		return a.Holder.ENI
	}
	return a.Holder.ENI + " " + a.Holder.Instance.ID + " " + a.Holder.Instance.State
}

// line returns the change for people, with the subnet if there may be several.
func (c Change) line(at time.Time, subnet bool) string {
	state := func(s string) string {
		if s == "" {
			return "not listed"
		}
		return s
	}
	line := at.Format("2006-01-02T15:04:05Z") + "  "
	if subnet {
		line += c.Subnet + "  "
	}
	line += c.Address + "  " + state(c.Before) + " -> " + state(c.After)
	if c.Now == nil {
		return line
	}
	row := c.Now.row()
	var who []string
	for _, i := range []int{2, 3, 5, 4} { // instance, state, role, cluster
		if row[i] != "-" {
			who = append(who, row[i])
		}
	}
	for n, w := range who {
		if n == 0 {
			line += "  " + w
		} else {
			line += " " + w
		}
	}
	if reason := row[len(row)-1]; reason != "" {
		line += ": " + reason
	}
	return text.Clean(line, text.MaxLine)
}

// summary says how many addresses there are in which state.
func (l Report) summary() string {
	if len(l.Addresses) == 0 {
		return "no address"
	}
	return text.Count(len(l.Addresses), "address", "addresses") + ": " + l.states()
}
