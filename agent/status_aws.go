package agent

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// statusAWS bounds how long a status asks AWS.
const statusAWS = 8 * time.Second

// cloudStatus asks EC2 and Parameter Store who has the static IP.
type cloudStatus struct {
	env     Environment
	prefix  string // of the ledger
	session *node.Session
	connect func(context.Context) error
	explain explainer
}

// ask fills s. answers says that IMDS answers: without it there are no credentials.
func (c *cloudStatus) ask(ctx context.Context, s *Status, answers bool) {
	s.EC2 = &Item{What: "EC2 gives " + s.Static.String() + " to " + s.ENI, State: itemUnknown}
	s.Ledger = &Item{What: "record of " + s.Static.String(), State: itemUnknown}
	if !answers {
		s.EC2.Detail, s.Ledger.Detail = "IMDS does not answer", "IMDS does not answer"
		return
	}
	ctx, cancel := context.WithTimeout(ctx, statusAWS)
	defer cancel()
	if err := c.connect(ctx); err != nil {
		s.EC2.Detail = text.Line(c.explain(ctx, err).Error())
		s.Ledger.Detail = s.EC2.Detail
		return
	}
	// Side by side: one that is not reachable must not use up the time of the other.
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.ledger(ctx, s)
	}()
	say := watchNameServers(ctx, c.env, c.session.AWS.Config)
	defer func() { <-done; say(s) }()
	if own, err := c.session.EC2.Own(ctx); err != nil {
		s.EC2.Detail = text.Line(c.explain(ctx, err).Error())
	} else if slices.Contains(own, s.Static) {
		s.EC2.State = itemPresent
	} else {
		s.EC2.State = itemMissing
		if holders, err := c.session.EC2.Holders(ctx, []netip.Addr{s.Static}); err == nil && holders[s.Static].ENI != "" {
			s.EC2.Detail = "it is in use by " + holders[s.Static].String()
		}
	}
}

// ledger looks at the record of the static IP.
func (c *cloudStatus) ledger(ctx context.Context, s *Status) {
	ledger := ssmcoord.NewLedger(c.session.AWS.Config, c.prefix, s.Subnet)
	s.Ledger.What = "record " + ledger.Name(s.Static)
	entries, err := ledger.Read(ctx, []netip.Addr{s.Static})
	entry := entries[s.Static]
	switch {
	case err != nil:
		s.Ledger.Detail = text.Line(c.explain(ctx, err).Error())
	case entry.State == ssmcoord.Absent:
		s.Ledger.State = itemMissing
	case entry.State == ssmcoord.Unreadable:
		s.Ledger.State, s.Ledger.Detail = itemDiffers, text.Line(entry.Problem.Error())
	case entry.Record.Instance != s.Instance:
		s.Ledger.State, s.Ledger.Detail = itemForeign, "it names "+entry.Record.Instance
	default:
		s.Ledger.State = itemPresent
	}
}

// recordOverdue is how long after its time a pending record is still left to the timer.
const recordOverdue = 5 * time.Minute

// pendingRecord says of a record that is not there, or cannot be asked for, that the timer writes
// it.
func (s *Status) pendingRecord(last state.State) {
	due := last.RecordDue
	if due.IsZero() || s.Phase != PhaseProgrammed || s.Ledger.State == itemPresent {
		return
	}
	wait := last.RecordWait(time.Now())
	at := time.Now().Add(wait).UTC().Format(time.RFC3339)
	if wait < -recordOverdue {
		s.Notes = append(s.Notes, "record pending since "+at+": emr-static-ip restore writes it, or run emr-static-ip again")
		return
	}
	s.Notes = append(s.Notes, "record pending: "+systemd.Timer+" writes it at about "+at)
	if s.Ledger.State != itemUnknown {
		s.Ledger.State, s.Ledger.Detail = itemPending, "due at "+at
	}
}
