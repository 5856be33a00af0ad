package agent

import (
	"context"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// naming appends the role to the instance's Name tag while the run goes on.
type naming struct {
	ec2     *ec2.Node
	wanted  bool // by --name-tag
	before  bool // an earlier run has looked after the tag
	report  *reporter
	explain explainer

	call   *answer[string] // which begin made; nil if it made none
	joined bool            // join has waited for it
	named  bool            // no later run needs to look after the tag
}

// begin makes the call. The node has its address by then: a run that gets none changes nothing.
// begin makes no call if there is nothing to do, or if EC2 has not listed the node's tags yet.
//
// The rules are in the kernel by then, so the call also shows whether EC2 can be reached by them.
func (n *naming) begin(ctx context.Context, b *beside) {
	if !n.wanted || n.before || n.ec2.SeenTags == nil {
		return
	}
	name := n.ec2.NewName(n.ec2.SeenTags)
	n.call = ask(ctx, b, "CreateTags", func(ctx context.Context) (string, error) { return name, rename(ctx, n.ec2, name) })
}

// rename gives the instance a name, unless that is empty.
func rename(ctx context.Context, node *ec2.Node, name string) error {
	if name == "" {
		return nil
	}
	return node.Rename(ctx, name)
}

// join waits for the Name tag, once. The tag is a convenience: a node is not failed for it. The
// error says that the rules cut EC2's endpoint off, and is nothing else.
func (n *naming) join(ctx context.Context) (cutOff error) {
	if !n.joined {
		n.joined = true
		n.named, cutOff = n.end(ctx)
	}
	return cutOff
}

// ended reports whether join would not have to wait.
func (n *naming) ended() bool {
	if n.call == nil {
		return !n.wanted || n.before
	}
	select {
	case <-n.call.done:
		return true
	default:
		return false
	}
}

// cutOff is the error of join as far as it is known yet.
func (n *naming) cutOff() error {
	if n.call != nil && n.ended() && ec2.IsCutOff(n.call.err) {
		return n.call.err
	}
	return nil
}

// end returns named true if no later run needs to look after the Name tag.
func (n *naming) end(ctx context.Context) (named bool, cutOff error) {
	switch {
	case !n.wanted:
		return n.before, nil
	case n.before:
		n.report.unchanged(1)
		return true, nil
	}
	name, err := "", error(nil)
	if n.call != nil {
		name, err = n.call.wait()
	} else if tags, tagsErr := n.ec2.Tags(ctx); tagsErr != nil { // EC2 did not list the node yet
		err = tagsErr
	} else {
		name = n.ec2.NewName(tags)
		err = rename(ctx, n.ec2, name)
	}
	switch {
	case ec2.IsCutOff(err):
		n.report.warn(withRemedies(n.explain(ctx, err)))
		return false, err
	case err != nil:
		n.report.warn(withRemedies(n.explain(ctx, err)) + "; or use --no-name-tag")
		return false, nil
	case name != "":
		n.report.change(stepName, "named the instance "+text.Quote(name))
	default:
		n.report.unchanged(1)
		if why := n.ec2.NameTooLong(n.ec2.SeenTags); why != "" {
			n.report.note(why + ": it stays as it is")
		}
	}
	return n.ec2.SeenTags[ec2.TagName] != "" || name != "", nil // a Name that is given later gets the role, too
}

// plan reports the change of the Name tag.
func (n *naming) plan(ctx context.Context) error {
	if !n.wanted {
		return nil
	}
	name := ""
	if !n.before {
		tags, err := n.ec2.Tags(ctx)
		if err != nil {
			return err
		}
		name = n.ec2.NewName(tags)
	}
	if name == "" {
		n.report.unchanged(1)
	} else {
		n.report.would(stepName, "name the instance "+text.Quote(name))
	}
	return nil
}
