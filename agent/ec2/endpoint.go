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
	return endpoint(ctx, cfg, false)
}

// endpoint is Endpoint. If plain is set, it ignores the operator's settings.
func endpoint(ctx context.Context, cfg aws.Config, plain bool) (*url.URL, error) {
	o := ec2.NewFromConfig(cfg).Options()
	p := ec2.EndpointParameters{Region: aws.String(o.Region), UseDualStack: aws.Bool(false), UseFIPS: aws.Bool(false)}
	if !plain {
		p.UseDualStack = aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled)
		p.UseFIPS = aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled)
		p.Endpoint = o.BaseEndpoint
	}
	e, err := o.EndpointResolverV2.ResolveEndpoint(ctx, p)
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
	u, err := endpoint(ctx, cfg, true)
	if err != nil {
		return nil, err
	}
	domain, ok := strings.CutPrefix(u.Host, "ec2.")
	if !ok {
		return nil, fmt.Errorf("finding the endpoint of S3: EC2's is %s", text.Quote(u.Host))
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
