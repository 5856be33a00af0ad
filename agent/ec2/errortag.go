package ec2

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// ErrorTag is the tag of an instance that has no static IP because of a failure that --on-error
// continue suppressed.
const ErrorTag = "emr-static-ip:error"

// SetErrorTag sets the instance's tag to what failed on it.
func (a *Node) SetErrorTag(ctx context.Context, value string) error {
	_, err := a.API.CreateTags(ctx, &ec2.CreateTagsInput{
		Resources: []string{a.ID.InstanceID},
		Tags:      []types.Tag{{Key: aws.String(ErrorTag), Value: aws.String(value)}},
	})
	if err != nil {
		return fmt.Errorf("setting the tag %s of %s: %w", ErrorTag, a.ID.InstanceID, err)
	}
	return nil
}

// RemoveErrorTag removes that tag. It is no error if there is no such tag.
func (a *Node) RemoveErrorTag(ctx context.Context) error {
	_, err := a.API.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{a.ID.InstanceID}, Tags: []types.Tag{{Key: aws.String(ErrorTag)}}})
	if err != nil {
		return fmt.Errorf("removing the tag %s of %s: %w", ErrorTag, a.ID.InstanceID, err)
	}
	return nil
}
