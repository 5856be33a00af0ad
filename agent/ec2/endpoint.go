package ec2

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// Endpoint returns where the SDK calls EC2.
func Endpoint(ctx context.Context, cfg aws.Config) (*url.URL, error) {
	o := ec2.NewFromConfig(cfg).Options()
	e, err := o.EndpointResolverV2.ResolveEndpoint(ctx, ec2.EndpointParameters{
		Region:       aws.String(o.Region),
		UseDualStack: aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
		UseFIPS:      aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		Endpoint:     o.BaseEndpoint,
	})
	if err != nil {
		return nil, fmt.Errorf("finding the endpoint of EC2: %w", err)
	}
	return &e.URI, nil
}

// Partition returns the partition of a region, which is the second field of an ARN: aws-us-gov. It
// is taken from the SDK's own data. A region that these do not know is one of the partition aws.
func Partition(region string) string {
	e, err := ec2.NewDefaultEndpointResolver().ResolveEndpoint(region, ec2.EndpointResolverOptions{})
	if err != nil || e.PartitionID == "" {
		return "aws"
	}
	return e.PartitionID
}

// EndpointService returns the name of the VPC endpoint service of ec2, ssm, sts or s3 in a region:
// com.amazonaws.us-east-1.ssm. In some partitions the names of EC2 and STS differ from the others.
// https://docs.amazonaws.cn/en_us/vpc/latest/privatelink/aws-services-privatelink-support.html
func EndpointService(region, service string) string {
	before := "com.amazonaws"
	switch partition := Partition(region); {
	case partition == "aws-cn" && (service == "ec2" || service == "sts"):
		before = "cn.com.amazonaws"
	case partition == "aws-iso" && service == "ec2":
		before = "gov.ic.c2s"
	case partition == "aws-iso-b" && service == "ec2":
		before = "gov.sgov.sc2s"
	}
	return before + "." + region + "." + service
}

// S3Endpoint returns where the AWS CLI and EMR call S3: s3.REGION, with the domain that EC2's name
// has in the region's partition. The SDK's client of S3, which would tell, is not linked for this.
func S3Endpoint(ctx context.Context, cfg aws.Config) (*url.URL, error) {
	domain, err := domainOf(ctx, cfg, false)
	if err != nil {
		return nil, err
	}
	o := ec2.NewFromConfig(cfg).Options().EndpointOptions
	name := "s3"
	if o.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled {
		name += "-fips"
	}
	if o.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled {
		name += ".dualstack"
	}
	return &url.URL{Scheme: "https", Host: name + "." + domain}, nil
}

// domainOf returns the domain of the region's endpoints, which those of EC2 have after ec2: the
// region and the partition's suffix, by default without dual stack.
func domainOf(ctx context.Context, cfg aws.Config, dualStack bool) (string, error) {
	p := ec2.EndpointParameters{Region: aws.String(cfg.Region), UseDualStack: aws.Bool(dualStack), UseFIPS: aws.Bool(false)}
	e, err := ec2.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, p)
	if err != nil {
		return "", fmt.Errorf("finding the domain of %s: %w", text.Quote(cfg.Region), err)
	}
	domain, ok := strings.CutPrefix(e.URI.Host, "ec2.")
	if !ok {
		return "", fmt.Errorf("finding the domain of %s: EC2's endpoint is %s", text.Quote(cfg.Region), text.Quote(e.URI.Host))
	}
	return domain, nil
}
