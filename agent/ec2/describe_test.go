package ec2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// forms passes calls to the model, and keeps their forms.
type forms struct {
	http.RoundTripper
	list []string
}

func (f *forms) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	f.list = append(f.list, form.Encode())
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	return f.RoundTripper.RoundTrip(r)
}

// TestDescribeIsTheSDK makes each call by hand and with the SDK's client, against the model, and
// compares what is sent and what is read.
func TestDescribeIsTheSDK(t *testing.T) {
	w := newTwoVPCs(t, cloud.Options{})
	w.cloud.OtherRegion("eu-west-3", false)
	vpc := w.master.VPCID
	group := w.cloud.CreateSecurityGroup(vpc, "endpoints", cloud.Ingress{Protocol: "tcp", From: 443, To: 443, CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("10.9.0.0/16")}})
	table := w.cloud.CreateRouteTable(w.subnet, cloud.Route{To: netip.MustParsePrefix("0.0.0.0/0"), Target: "nat-0a1"})
	w.cloud.CreateVPCEndpoint(cloud.VPCEndpoint{VPC: vpc, Service: "com.amazonaws.us-east-1.s3", Gateway: true, RouteTables: []string{table}})
	w.cloud.CreateVPCEndpoint(cloud.VPCEndpoint{VPC: vpc, Service: "com.amazonaws.us-east-1.ssm", Subnets: []string{w.subnet}, SecurityGroups: []string{group}, PrivateDNS: true})
	ours, theirs := &forms{RoundTripper: w.cloud.Transport("")}, &forms{RoundTripper: w.cloud.Transport("")}
	cfg, sdkConfig := w.awsConfig(), w.awsConfig()
	cfg.HTTPClient, sdkConfig.HTTPClient = &http.Client{Transport: ours}, &http.Client{Transport: theirs}
	api := awsec2.NewFromConfig(sdkConfig)
	id := Identity{InstanceType: "m5.xlarge", VPCID: vpc, Region: "us-east-1"}
	node, census, v := NewNode(cfg, id, "", host.Environment{}), NewCensus(cfg, host.Environment{}), NewVPC(cfg)
	str := aws.ToString

	for action, call := range map[string]struct {
		ours, theirs func(context.Context) (any, error)
	}{
		"DescribeVpcEndpoints": {
			func(ctx context.Context) (any, error) { return v.Endpoints(ctx, vpc) },
			func(ctx context.Context) (any, error) {
				out, err := api.DescribeVpcEndpoints(ctx, &awsec2.DescribeVpcEndpointsInput{Filters: []types.Filter{filter("vpc-id", vpc)}})
				var list []VPCEndpoint
				for _, e := range out.VpcEndpoints {
					x := VPCEndpoint{ID: str(e.VpcEndpointId), Service: str(e.ServiceName), Gateway: e.VpcEndpointType == types.VpcEndpointTypeGateway, Available: e.State == "available",
						State: string(e.State), PrivateDNS: aws.ToBool(e.PrivateDnsEnabled), Tables: e.RouteTableIds, Limited: !allowsAll(str(e.PolicyDocument))}
					for _, g := range e.Groups {
						x.Groups = append(x.Groups, str(g.GroupId))
					}
					list = append(list, x)
				}
				return list, err
			}},
		"DescribeRouteTables": {
			func(ctx context.Context) (any, error) { return v.RouteTable(ctx, vpc, w.subnet) },
			func(ctx context.Context) (any, error) {
				out, err := api.DescribeRouteTables(ctx, &awsec2.DescribeRouteTablesInput{Filters: []types.Filter{filter("association.subnet-id", w.subnet)}})
				found := RouteTable{ID: str(out.RouteTables[0].RouteTableId)}
				for _, r := range out.RouteTables[0].Routes {
					if str(r.DestinationCidrBlock) == "0.0.0.0/0" {
						found.Default = str(r.NatGatewayId)
					}
				}
				return found, err
			}},
		"DescribeSecurityGroups": {
			func(ctx context.Context) (any, error) { return v.Admits(ctx, []string{group}, 443) },
			func(ctx context.Context) (any, error) {
				out, err := api.DescribeSecurityGroups(ctx, &awsec2.DescribeSecurityGroupsInput{GroupIds: []string{group}})
				var a Admission
				for _, r := range out.SecurityGroups[0].IpPermissions[0].IpRanges {
					a.Networks = append(a.Networks, netip.MustParsePrefix(str(r.CidrIp)))
				}
				return a, err
			}},
		"DescribeVpcs": {
			func(ctx context.Context) (any, error) { return v.Networks(ctx, vpc) },
			func(ctx context.Context) (any, error) {
				out, err := api.DescribeVpcs(ctx, &awsec2.DescribeVpcsInput{VpcIds: []string{vpc}})
				return []netip.Prefix{netip.MustParsePrefix(str(out.Vpcs[0].CidrBlockAssociationSet[0].CidrBlock))}, err
			}},
		"DescribeSubnets": {
			func(ctx context.Context) (any, error) { return v.Subnet(ctx, w.subnet) },
			func(ctx context.Context) (any, error) {
				out, err := api.DescribeSubnets(ctx, &awsec2.DescribeSubnetsInput{SubnetIds: []string{w.subnet}})
				s := out.Subnets[0]
				return SubnetDetails{ID: str(s.SubnetId), VPC: str(s.VpcId), Zone: str(s.AvailabilityZone), Owner: str(s.OwnerId), CIDR: netip.MustParsePrefix(str(s.CidrBlock)),
					Free: int(*s.AvailableIpAddressCount), Public: aws.ToBool(s.MapPublicIpOnLaunch)}, err
			}},
		"DescribeSubnets of a VPC": {
			func(ctx context.Context) (any, error) { return node.Subnets(ctx) },
			func(ctx context.Context) (any, error) {
				out, err := api.DescribeSubnets(ctx, &awsec2.DescribeSubnetsInput{Filters: []types.Filter{filter("vpc-id", vpc)}})
				return []Subnet{{ID: str(out.Subnets[0].SubnetId), CIDR: netip.MustParsePrefix(str(out.Subnets[0].CidrBlock))}}, err
			}},
		"GetSubnetCidrReservations": {
			func(ctx context.Context) (any, error) { return Reservations(ctx, cfg, w.subnet) },
			func(ctx context.Context) (any, error) {
				out, err := api.GetSubnetCidrReservations(ctx, &awsec2.GetSubnetCidrReservationsInput{SubnetId: aws.String(w.subnet)})
				r := out.SubnetIpv4CidrReservations[0]
				return []Reservation{{ID: str(r.SubnetCidrReservationId), CIDR: netip.MustParsePrefix(str(r.Cidr)), Explicit: r.ReservationType == types.SubnetCidrReservationTypeExplicit}}, err
			}},
		"DescribePrefixLists": {
			func(ctx context.Context) (any, error) { return node.GatewayNetworks(ctx) },
			func(ctx context.Context) (any, error) {
				out, err := api.DescribePrefixLists(ctx, &awsec2.DescribePrefixListsInput{MaxResults: aws.Int32(pageSize),
					Filters: []types.Filter{filter("prefix-list-name", "com.amazonaws.us-east-1.s3", "com.amazonaws.us-east-1.dynamodb")}})
				var list []netip.Prefix
				for _, l := range out.PrefixLists {
					for _, c := range l.Cidrs {
						list = append(list, netip.MustParsePrefix(c))
					}
				}
				slices.SortFunc(list, netip.Prefix.Compare)
				return list, err
			}},
		"DescribeInstanceTypes": {
			func(ctx context.Context) (any, error) { return node.Capacity(ctx) },
			func(ctx context.Context) (any, error) {
				out, err := api.DescribeInstanceTypes(ctx, &awsec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"m5.xlarge"}})
				return int(*out.InstanceTypes[0].NetworkInfo.Ipv4AddressesPerInterface), err
			}},
		"DescribeRegions": {
			func(ctx context.Context) (any, error) { return census.Regions(ctx) },
			func(ctx context.Context) (any, error) {
				out, err := api.DescribeRegions(ctx, &awsec2.DescribeRegionsInput{AllRegions: aws.Bool(true)})
				var list []Region
				for _, r := range out.Regions {
					list = append(list, Region{Name: str(r.RegionName), Enabled: str(r.OptInStatus) != "not-opted-in"})
				}
				slices.SortFunc(list, func(a, b Region) int { return strings.Compare(a.Name, b.Name) })
				return list, err
			}},
	} {
		ours.list, theirs.list = nil, nil
		got, err := call.ours(t.Context())
		if err != nil {
			t.Errorf("%s: %v", action, err)
			continue
		}
		want, err := call.theirs(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", action, err)
		}
		if got, want := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); got != want {
			t.Errorf("%s: read\n%s, want\n%s", action, got, want)
		}
		if !slices.Equal(ours.list, theirs.list) {
			t.Errorf("%s: sent\n%s, want\n%s", action, ours.list, theirs.list)
		}
	}
}

// TestDescriberIsTheSDK compares where a call goes and how it is signed, under the settings that
// decide about that.
func TestDescriberIsTheSDK(t *testing.T) {
	list := []answer{{status: 200, body: `<DescribeRegionsResponse><regionInfo/></DescribeRegionsResponse>`}}
	eachSetting(t, "EC2", func(t *testing.T, region string, variables []string) {
		theirs, ours := &answers{list: list}, &answers{list: list}
		s, err := Load(t.Context(), variablesFor(t, theirs, variables...), region)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := awsec2.NewFromConfig(s.Config).DescribeRegions(t.Context(), &awsec2.DescribeRegionsInput{AllRegions: aws.Bool(true)}); err != nil {
			t.Fatal(err)
		}
		if s, err = Load(t.Context(), variablesFor(t, ours, variables...), region); err != nil {
			t.Fatal(err)
		}
		if all, err := NewCensus(s.Config, host.Environment{}).Regions(t.Context()); err != nil || len(all) != 0 {
			t.Fatal(all, err)
		}
		compareRequests(t, ours.requests[0], theirs.requests[0])
		if ours.bodies[0] != theirs.bodies[0] {
			t.Errorf("body %s, want %s", ours.bodies[0], theirs.bodies[0])
		}
	})
}

// TestDescribeErrors compares errors with those of the SDK's client: text with the request's id,
// code, status, exit code and number of tries are the same.
func TestDescribeErrors(t *testing.T) {
	const listed = `<DescribeRegionsResponse><regionInfo/></DescribeRegionsResponse>`
	for i, list := range [][]answer{
		{{status: 403, body: ec2Error("UnauthorizedOperation", "You are not authorized to perform this operation.")}},
		{{status: 412, body: ec2Error("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")}},
		{{status: 503, body: ec2Error("RequestLimitExceeded", "Request limit exceeded.")}, {status: 200, body: listed}},
		{{status: 503, body: ec2Error("RequestLimitExceeded", "Request limit exceeded.")}},
		{{status: 500, body: ec2Error("InternalError", "x")}, {status: 200, body: listed}},
		{{err: io.ErrUnexpectedEOF}, {status: 200, body: listed}},
		{{status: 400, body: `<Response><Errors><Error/></Errors></Response>`}},
		{{status: 400, body: `<Response/>`}},
		{{status: 400, body: `<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>`}},
		{{status: 200, body: `<DescribeRegionsResponse><regionInfo>`}, {status: 200, body: listed}},
		{{status: 200, body: `<DescribeVpcsResponse><vpcSet/></DescribeVpcsResponse>`}},
		{{status: 200, body: `{}`}}, {{status: 200, body: `<html>sign in</html>`}}, {{status: 403, body: `<html>blocked</html>`}}, {{status: 302}},
	} {
		var seen []string
		for _, call := range []func(context.Context, *Session) error{
			func(ctx context.Context, s *Session) error {
				_, err := NewCensus(s.Config, host.Environment{}).Regions(ctx)
				return errors.Unwrap(err) // without what was asked
			},
			func(ctx context.Context, s *Session) error {
				_, err := awsec2.NewFromConfig(s.Config).DescribeRegions(ctx, &awsec2.DescribeRegionsInput{AllRegions: aws.Bool(true)})
				return err
			},
		} {
			transport := &answers{list: list, bare: i%2 == 0}
			s, err := session(t, transport, "AWS_MAX_ATTEMPTS=3")
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				err := call(t.Context(), s)
				message := ""
				if err != nil {
					message = err.Error()
				}
				seen = append(seen, fmt.Sprint(len(transport.requests), " ", exit.CodeOf(ExplainAt(err, iam.Place{Region: "us-east-1"})), " ", ErrorCode(err), " ", statusOf(err), " ", IAMAction(err), " ", message))
			})
		}
		if seen[0] != seen[1] {
			t.Errorf("%+v:\n%s, want\n%s", list, seen[0], seen[1])
		}
	}
}

// An answer without the list is no answer. The pages of a list come to an end.
func TestDescribePages(t *testing.T) {
	page := func(list, next string) answer {
		if next != "" {
			next = "<nextToken>" + next + "</nextToken>"
		}
		return answer{status: 200, body: "<DescribeRegionsResponse><requestId>x</requestId>" + list + next + "</DescribeRegionsResponse>"}
	}
	item := func(name string) string {
		return "<regionInfo><item><regionName>" + name + "</regionName></item></regionInfo>"
	}
	for _, test := range []struct {
		name  string
		list  []answer
		calls int
		found int // -1: an error
	}{
		{"an empty list", []answer{page("<regionInfo/>", "")}, 1, 0},
		{"pages", []answer{page(item("a-1"), "x"), page("<regionInfo/>", "y"), page(item("b-1"), "")}, 3, 2},
		{"no list", []answer{page("", "")}, 1, -1},
		{"no list on the second page", []answer{page(item("a-1"), "x"), page("", "")}, 2, -1},
		{"another list", []answer{page("<vpcSet/>", "")}, 1, -1},
		{"the list elsewhere", []answer{page("<x>"+item("a-1")+"</x>", "")}, 1, -1},
		{"a page of a proxy", []answer{{status: 200, body: "<html>sign in</html>"}}, 1, -1},
		{"no end", []answer{page(item("a-1"), "x")}, maxPages, -1},
	} {
		a := &answers{list: test.list}
		cfg := httpAnswer{}.config()
		cfg.HTTPClient, cfg.APIOptions = &http.Client{Transport: a}, nil // the client judges answers also by itself
		found, err := NewCensus(cfg, host.Environment{}).Regions(t.Context())
		if len(a.requests) != test.calls || (err != nil) != (test.found < 0) || err == nil && len(found) != test.found {
			t.Errorf("%s: %d calls, %v, %v", test.name, len(a.requests), found, err)
		}
		if odd := (*oddAnswerError)(nil); err != nil && test.calls < maxPages && !errors.As(err, &odd) {
			t.Errorf("%s: %T, %v", test.name, err, err)
		}
	}
}

// The reader itself refuses what another action, or another service, answers.
func TestReadElement(t *testing.T) {
	for body, good := range map[string]bool{
		`<a><b>x</b></a>`: true, `<?xml version="1.0"?><!-- c --><a xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><b>x</b></a>`: true,
		`<a><b>x</b>`: false, `<c><b>x</b></c>`: false, `<c><a><b>x</b></a></c>`: false, `{}`: false, ``: false, `<!DOCTYPE x [<!ENTITY y "x">]><a><b>&y;</b></a>`: false,
	} {
		var out struct {
			B string `xml:"b"`
		}
		if err := readElement([]byte(body), "a", &out); (err == nil) != good || good && out.B != "x" {
			t.Errorf("%s: %+v, %v", body, out, err)
		}
	}
}

// FuzzDescribe: an answer that is read has the root and the list that were asked for, and is whole.
func FuzzDescribe(f *testing.F) {
	for _, body := range []string{
		`<DescribeVpcEndpointsResponse><vpcEndpointSet><item><vpcEndpointId>vpce-0a</vpcEndpointId><vpcEndpointType>Interface</vpcEndpointType><state>available</state><privateDnsEnabled>true</privateDnsEnabled>` +
			`<groupSet><item><groupId>sg-0a</groupId></item></groupSet></item></vpcEndpointSet></DescribeVpcEndpointsResponse>`,
		`<DescribeVpcEndpointsResponse><vpcEndpointSet/><nextToken>x</nextToken></DescribeVpcEndpointsResponse>`,
		`<?xml version="1.0"?><!-- --><DescribeVpcEndpointsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><vpcEndpointSet/></DescribeVpcEndpointsResponse>`,
		`<DescribeVpcEndpointsResponse><vpcEndpointSet><item><privateDnsEnabled>perhaps</privateDnsEnabled></item></vpcEndpointSet></DescribeVpcEndpointsResponse>`,
		`<DescribeVpcEndpointsResponse/>`, `<DescribeVpcEndpointsResponse><vpcEndpointSet>`, "", "{}", "<html>sign in</html>", ec2Error("x", "y"),
		`<!DOCTYPE x [<!ENTITY a "b">]><DescribeVpcEndpointsResponse><vpcEndpointSet>&a;</vpcEndpointSet></DescribeVpcEndpointsResponse>`,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		cfg := httpAnswer{status: 200, body: body, once: true, calls: new(int)}.config()
		list, err := NewVPC(cfg).Endpoints(t.Context(), "vpc-0a")
		if err != nil {
			checkShown(t, ExplainAt(err, iam.Place{Region: "eu-west-1", Prefix: "/emr-static-ip"}))
			return
		}
		if !whole(body, "DescribeVpcEndpointsResponse") || !strings.Contains(body, "<vpcEndpointSet") {
			t.Fatalf("%+v was read from %q", list, body)
		}
	})
}
