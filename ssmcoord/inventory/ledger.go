package inventory

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/emr-static-ip/emr-static-ip/internal/identifier"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// NewAPI returns the SDK's client of Parameter Store for cfg.
func NewAPI(cfg aws.Config) ssmcoord.API { return ssm.NewFromConfig(cfg) }

// place is an address in a subnet.
type place struct {
	subnet string
	addr   netip.Addr
}

// list reads all records of the subnet, or of all subnets below the prefix, ten with one call.
// others has the parameters whose names do not end with a subnet and an address.
func (v *Inventory) list(ctx context.Context) (records map[place]Version, others []string, err error) {
	root := v.Prefix + "/"
	if v.Subnet != "" {
		root += v.Subnet + "/"
	}
	records, strange := map[place]Version{}, map[string]bool{}
	pages := ssm.NewGetParametersByPathPaginator(v.API, &ssm.GetParametersByPathInput{
		Path: aws.String(root), Recursive: aws.Bool(true), MaxResults: aws.Int32(ssmcoord.NamesPerRead),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("reading the ledger %s: %w", root, err)
		}
		v.Observe(page.ResultMetadata)
		for _, p := range page.Parameters {
			name := aws.ToString(p.Name)
			if at, ok := v.placeOf(name); ok {
				records[at] = versionOf(p)
			} else {
				strange[name] = true
			}
		}
	}
	return records, slices.Sorted(maps.Keys(strange)), nil
}

// read reads the record of one address.
func (v *Inventory) read(ctx context.Context, at place) (Version, error) {
	name := v.ledger(at.subnet).Name(at.addr)
	out, err := v.API.GetParameters(ctx, &ssm.GetParametersInput{Names: []string{name}})
	if err != nil {
		return Version{}, fmt.Errorf("reading the record %s: %w", name, err)
	}
	v.Observe(out.ResultMetadata)
	for _, p := range out.Parameters {
		if aws.ToString(p.Name) == name {
			return versionOf(p), nil
		}
	}
	if slices.Contains(out.InvalidParameters, name) {
		return Version{Entry: ssmcoord.Entry{State: ssmcoord.Absent}}, nil
	}
	return Version{}, fmt.Errorf("reading the record %s: the answer of GetParameters does not mention it", name)
}

func versionOf(p types.Parameter) Version {
	return NewVersion(aws.ToString(p.Value), p.Version, aws.ToTime(p.LastModifiedDate))
}

func (v *Inventory) ledger(subnet string) *ssmcoord.Ledger {
	return ssmcoord.OpenLedger(v.API, v.Prefix, subnet).WithTags(v.Tags)
}

// placeOf returns the subnet and address in a parameter's name. It returns false if the name is not
// a record's.
func (v *Inventory) placeOf(name string) (place, bool) {
	rest, ok := strings.CutPrefix(name, v.Prefix+"/")
	subnet, ip, two := strings.Cut(rest, "/")
	addr, err := netip.ParseAddr(ip)
	if !ok || !two || !identifier.EC2(subnet, "subnet-") || err != nil || !addr.Is4() || addr.String() != ip {
		return place{}, false
	}
	return place{subnet, addr}, true
}
