package agent

import (
	"context"
	"fmt"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
)

// Inspect compares the wanted with the observed state: kernel, units, IMDS, EC2 and ledger. It
// changes nothing and takes no lock. What cannot be asked is unknown, which is no drift; AWS is
// asked for a few seconds at most.
func Inspect(ctx context.Context, cfg Config, env Environment) (Status, error) {
	var s Status
	_, err := conduct(ctx, cfg, env, func(r *run, ctx context.Context) error { return r.status(ctx, &s) })
	return s, err
}

func (r *run) status(ctx context.Context, s *Status) error {
	reportLastError(s, r.dir, r.env)
	s.Verdict = VerdictNotConfigured
	known, err := r.recall()
	switch {
	case err != nil && s.LastError == nil && !state.Damaged(err):
		return err
	case err != nil:
		// Why this node has no static IP is not kept back because of another trouble.
		reason := text.Line(err.Error())
		if carries := r.carries(ctx); carries != "" {
			reason += ", and the kernel carries " + carries
		}
		s.Verdict, s.Reasons, s.Remedy = VerdictDrifted, append(s.Reasons, reason), strings.Join(exit.Remedies(err), "; ")
		return nil
	case !known:
		if err := r.orphaned(ctx); err != nil {
			s.Verdict, s.Reasons, s.Remedy = VerdictDrifted, append(s.Reasons, err.Error()), strings.Join(exit.Remedies(err), "; ")
			return nil
		}
		s.Reasons = append(s.Reasons, r.notConfigured())
		return nil
	}
	v, err := r.askIMDS(ctx)
	if err != nil {
		return err
	}
	if v.foreign != "" {
		s.Reasons = append(s.Reasons, v.foreign)
		return nil
	}
	if v.silent != nil {
		s.Notes = append(s.Notes, v.silent.Error())
	}
	last := r.memory.State()
	s.Instance, s.Cluster, s.Role, s.Subnet, s.ENI, s.Link, s.Backend = last.InstanceID, last.ClusterID, last.Role, last.SubnetID, last.ENI, last.Link, last.Backend
	s.Primary, s.Static, s.Phase, s.Written, s.Pending = last.Primary, last.Static, last.Phase, last.Written, last.Intents
	s.takingBack = last.TakingBack
	s.unfinished = last.Doubts(last.Static)
	if note := r.keepPrefix(); note != "" {
		s.Notes = append(s.Notes, note)
	}
	if before := r.backendOfLast(); before != "" {
		s.otherBackend = r.cfg.Backend
		s.Notes = append(s.Notes, fmt.Sprintf("compared with --nat-backend %s; the last run had %s", r.cfg.Backend, before))
	}
	s.Notes = append(s.Notes, r.cfg.ScopeNotes(r.facts.ID)...)
	if v.answers && len(r.facts.ID.Public) == 0 && last.Static.IsValid() && DerivedPrivate(last.Settings) && len(last.Settings.Only) == 0 {
		s.Notes = append(s.Notes, PublicGone(last.Settings))
	}
	if warning := r.cfg.ScopeWarning(r.facts.ID); warning != "" {
		s.Notes = append(s.Notes, warning)
	}
	active := last.Static.IsValid() && last.Phase != state.Released && last.Phase != state.Withdrawn
	if err := r.kernel.status(ctx, s, last.Former, active); err != nil {
		return err
	}
	if active {
		parts, err := InspectInstalled(ctx, r.cfg, r.env)
		if err != nil {
			return err
		}
		for _, part := range parts {
			s.Units = append(s.Units, Item{What: part.What, State: string(part.State), Detail: part.Detail})
		}
	}
	if last.Static.IsValid() {
		s.IMDS = v.item(last.Static)
		cloud := cloudStatus{env: r.env, prefix: r.cfg.Prefix, session: &r.session, connect: r.connect, explain: r.explain}
		cloud.ask(ctx, s, v.answers)
		s.pendingRecord(last)
		s.settle(last)
	}
	s.judge()
	s.remedy()
	return nil
}

// reportLastError adds the last error of an earlier run to a status. dir is the state directory.
func reportLastError(s *Status, dir string, env Environment) {
	last, found, err := state.ReadLastError(dir)
	switch {
	case err != nil:
		s.Notes = append(s.Notes, err.Error())
		return
	case !found:
		return
	}
	if last.Over {
		s.Notes = append(s.Notes, "the instance still has the tag "+tagError+" of an earlier failure, which could not be removed: run emr-static-ip again, or remove it by hand")
		return
	}
	last.Retrying = systemd.RetryPending(env)
	s.LastError = &last
}
