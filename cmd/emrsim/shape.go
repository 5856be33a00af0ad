package main

import "context"

// checkS3 reads from S3 on a node, where the buckets' policy looks at the source address.
func (r *rehearsal) checkS3(ctx context.Context, w *row) {
	if r.spec.Shape.BucketPolicy == "" {
		return
	}
	if source, err := r.cluster.GetObject(ctx, w.node); err != nil {
		r.problem(w.node.Name, "S3 is not read any more: %v", err)
	} else {
		r.say(w.node.Name, "S3 saw %s, and admitted it", source)
	}
}
