package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
)

// nameResult is what became of the Name tag.
type nameResult struct {
	name string // the new one; empty: it was right
	err  error
}

// beginName appends the role to the Name tag while the run goes on. It is called when the node has
// its address: a run that gets none changes nothing.
func (r *run) beginName(ctx context.Context) {
	if !r.cfg.NameTag || r.named || r.rep.DryRun || r.ec2.SeenTags == nil {
		return
	}
	name := r.ec2.NewName(r.ec2.SeenTags)
	naming := make(chan nameResult, 1)
	r.naming = naming
	r.beside.run(ctx, func(ctx context.Context) {
		var err error
		if name != "" {
			err = r.ec2.Rename(ctx, name)
		}
		naming <- nameResult{name, err}
	})
}

// joinName waits for the Name tag. The tag is a convenience: a node is not failed for it.
func (r *run) joinName(ctx context.Context) {
	if !r.cfg.NameTag || r.named {
		if r.cfg.NameTag {
			r.rep.Unchanged++
		}
		return
	}
	var res nameResult
	if r.naming != nil {
		select {
		case res = <-r.naming:
		case <-time.After(optionalWait):
			res.err = errors.New("EC2 has not answered CreateTags yet")
		}
		r.naming = nil
	} else if tags, err := r.ec2.Tags(ctx); err != nil { // EC2 did not list the node yet
		res.err = err
	} else if res.name = r.ec2.NewName(tags); res.name != "" {
		res.err = r.ec2.Rename(ctx, res.name)
	}
	switch {
	case res.err != nil:
		err := r.explain(ctx, res.err)
		w := err.Error()
		if e := (*Error)(nil); errors.As(err, &e) && e.Remedy != "" {
			w += "; " + e.Remedy
		}
		r.rep.Warnings = append(r.rep.Warnings, w+"; or use --no-name-tag")
		return
	case res.name != "":
		r.change(renamed + quoted(res.name))
	default:
		r.rep.Unchanged++
	}
	r.named = r.ec2.SeenTags[ec2.TagName] != "" || res.name != "" // a Name that is given later gets the role, too
}

// optionalWait is how long a run waits for a call that it can do without, while EC2 throttles.
const optionalWait = time.Minute

// beside are calls that a run makes beside its own work, and can do without.
type beside struct {
	all  sync.WaitGroup
	stop []context.CancelFunc
}

func (b *beside) run(ctx context.Context, work func(context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	b.stop = append(b.stop, cancel)
	b.all.Go(func() { work(ctx) })
}

// end waits for what goes on still, and ends it after optionalWait.
func (b *beside) end() {
	late := time.AfterFunc(optionalWait, func() {
		for _, cancel := range b.stop {
			cancel()
		}
	})
	b.all.Wait()
	late.Stop()
	for _, cancel := range b.stop {
		cancel()
	}
}

// renamed begins the report of a new Name tag.
const renamed = "named the instance "
