package agent

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
)

// This file is about a node whose state file is lost or damaged, or cannot be written.

// doesWithoutState reports whether the run can work without a state file: a release, and a run that
// was given a list. Both find the node's address by EC2, the ledger and the kernel.
func (r *run) doesWithoutState() bool { return r.gives || r.named }

// tellUnsaved warns of a state that is in memory only.
func (r *run) tellUnsaved() {
	if err := r.memory.Unsaved(); err != nil {
		r.report.warn("the state cannot be saved, and is kept until the next boot: " + withRemedies(StateDirError(r.dir, err)))
	}
}

// orphaned returns an error if the kernel carries an address or rules of this program and there is
// still no state file. It returns nil if the kernel cannot be looked at.
func (r *run) orphaned(ctx context.Context) error {
	carries := r.carries(ctx)
	if carries == "" {
		return nil
	}
	// A run may have begun since the state file was looked for. It writes the file first.
	if err := r.memory.Load(""); err != nil || r.memory.Known() {
		return err
	}
	return exit.With(ExitInternal, fmt.Errorf("the state file %s is missing, but the kernel carries %s", filepath.Join(r.dir, state.File), carries),
		"run emr-static-ip again with the list of addresses: it finds the node's address by EC2 and the ledger; or emr-static-ip release")
}

// carries says what the kernel has of this program, on a node that no state file tells of. See
// kernel.carries.
func (r *run) carries(ctx context.Context) string {
	if r.facts.ID.MAC == nil {
		id, err := ec2.OpenIMDS(r.env).Identity(ctx, r.env, cmp.Or(r.cfg.IMDSTimeout, restoreIMDS))
		if err != nil {
			return ""
		}
		r.facts.ID = id
	}
	return r.kernel.carries(ctx)
}
