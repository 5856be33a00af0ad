package agent

import (
	"context"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// beginName appends the role to the Name tag while the run goes on. It is called when the node has
// its address: a run that gets none changes nothing. It returns nil if there is nothing to do, or
// if EC2 has not listed the node's tags yet.
//
// The rules are in the kernel by then, so the call also shows whether EC2 can be reached by them.
func (r *run) beginName(ctx context.Context) *answer[string] {
	if !r.cfg.NameTag || r.memory.State().Named || r.session.EC2.SeenTags == nil {
		return nil
	}
	name := r.session.EC2.NewName(r.session.EC2.SeenTags)
	return ask(ctx, &r.beside, "CreateTags", func(ctx context.Context) (string, error) { return name, r.rename(ctx, name) })
}

// rename gives the instance a name, unless that is empty.
func (r *run) rename(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	return r.session.EC2.Rename(ctx, name)
}

// joinName waits for the Name tag, once. The tag is a convenience: a node is not failed for it. The
// error says that the rules cut EC2's endpoint off, and is nothing else.
func (r *run) joinName(ctx context.Context) (cutOff error) {
	if !r.joined {
		r.joined = true
		r.named, cutOff = r.endName(ctx, r.naming)
	}
	return cutOff
}

// nameEnded reports whether joinName would not have to wait.
func (r *run) nameEnded() bool {
	if r.naming == nil {
		return !r.cfg.NameTag || r.memory.State().Named
	}
	select {
	case <-r.naming.done:
		return true
	default:
		return false
	}
}

// nameCutOff is the error of joinName as far as it is known yet.
func (r *run) nameCutOff() error {
	if r.naming != nil && r.nameEnded() && ec2.IsCutOff(r.naming.err) {
		return r.naming.err
	}
	return nil
}

// endName returns named true if no later run needs to look after the Name tag.
func (r *run) endName(ctx context.Context, begun *answer[string]) (named bool, cutOff error) {
	switch {
	case !r.cfg.NameTag:
		return r.memory.State().Named, nil
	case r.memory.State().Named:
		r.report.unchanged(1)
		return true, nil
	}
	name, err := "", error(nil)
	if begun != nil {
		name, err = begun.wait()
	} else if tags, tagsErr := r.session.EC2.Tags(ctx); tagsErr != nil { // EC2 did not list the node yet
		err = tagsErr
	} else {
		name = r.session.EC2.NewName(tags)
		err = r.rename(ctx, name)
	}
	switch {
	case ec2.IsCutOff(err):
		r.report.warn(withRemedies(r.explain(ctx, err)))
		return false, err
	case err != nil:
		r.report.warn(withRemedies(r.explain(ctx, err)) + "; or use --no-name-tag")
		return false, nil
	case name != "":
		r.report.change(stepName, "named the instance "+text.Quote(name))
	default:
		r.report.unchanged(1)
		if why := r.session.EC2.NameTooLong(r.session.EC2.SeenTags); why != "" {
			r.report.note(why + ": it stays as it is")
		}
	}
	return r.session.EC2.SeenTags[ec2.TagName] != "" || name != "", nil // a Name that is given later gets the role, too
}
