package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

// DetectRole finds the node's role. If nothing has it, the error has an exit code and a remedy.
//
// With a list for instances outside EMR there is no role, and EMR's nodes are refused: the other
// side expects the master at one address, and a list without roles would give it to any node.
func DetectRole(ctx context.Context, pools pool.Pools, given emr.Role, files emr.Files, tags func(context.Context) (map[string]string, error)) (emr.Decision, error) {
	if pools.Plain() {
		return emr.Decision{}, outsideEMR(files)
	}
	d, err := emr.DetectRole(ctx, given, files, tags)
	unknown := (*emr.RoleError)(nil)
	if !errors.As(err, &unknown) {
		return d, err
	}
	remedy := "name the role with --role MASTER, --role CORE or --role TASK"
	if files.Empty() {
		remedy = "on an instance outside EMR, give the addresses with --ips; otherwise " + remedy
	}
	switch {
	case unknown.Tag == nil:
		return d, &exit.Error{Code: exit.Identity, Err: err, Remedy: remedy}
	case ec2.IsPermission(unknown.Tag), ec2.IsNetwork(unknown.Tag):
		return d, err // Explain names the permission or the endpoint
	}
	return d, &exit.Error{Code: exit.Identity, Err: err, Remedy: remedy + ", or let the node read its EC2 tags (ec2:DescribeInstances)"}
}

// outsideEMR refuses --ips where EMR's files are.
func outsideEMR(files emr.Files) error {
	if files.Empty() {
		return nil
	}
	what := "this is a node of EMR"
	if id, _ := files.ClusterID(); id != "" {
		what += " (cluster " + id + ")"
	}
	return exit.Invalid(fmt.Errorf("--ips is for instances outside EMR, and %s, by %s: lists for EMR have roles", what, files.Files[0].Path),
		"give the addresses by role: emr-static-ip MASTER_IP CORE_IP..., or --master-ips, --core-ips and --task-ips; if the instance only comes from an image of a node, remove EMR's files")
}
