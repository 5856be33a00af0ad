package node

import (
	"context"
	"errors"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
)

// DetectRole finds the node's role. If nothing has it, the error has an exit code and a remedy.
func DetectRole(ctx context.Context, given emr.Role, files emr.Files, tags func(context.Context) (map[string]string, error)) (emr.Decision, error) {
	d, err := emr.DetectRole(ctx, given, files, tags)
	unknown := (*emr.RoleError)(nil)
	if !errors.As(err, &unknown) {
		return d, err
	}
	remedy := "name the role with --role MASTER, --role CORE or --role TASK"
	switch {
	case unknown.Tag == nil:
		return d, &exit.Error{Code: exit.Identity, Err: err, Remedy: remedy}
	case ec2.IsPermission(unknown.Tag), ec2.IsNetwork(unknown.Tag):
		return d, err // Explain names the permission or the endpoint
	}
	return d, &exit.Error{Code: exit.Identity, Err: err, Remedy: remedy + ", or let the node read its EC2 tags (ec2:DescribeInstances)"}
}
