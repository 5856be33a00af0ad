package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// nowhere are addresses for documentation (RFC 5737), one of which no subnet of a VPC has: nothing comes of assigning it.
var nowhere = [...]netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 1}), netip.AddrFrom4([4]byte{198, 51, 100, 1})}

// trial is one EC2 action and how it is tried.
type trial struct {
	action string
	what   string // it is tried for, where one action is tried for several things
	node   bool   // it is about this node, which must be known
	spare  string // what to do instead: without it a run succeeds with a warning; empty: it fails
	unused string // why it is not needed; empty: it is
	try    func(context.Context) error
}

// ec2Trials are the EC2 actions that a run calls. Where the action knows DryRun, EC2 tells by it. Assign- and UnassignPrivateIpAddresses do not:
// they are called for an address that is outside the subnet, which EC2 refuses for what it is when the caller may call (that it looks at
// permissions first is not verified on AWS), and in which case nothing is changed.
func (d *doctor) ec2Trials(api *awsec2.Client) []trial {
	dry := aws.Bool(true)
	instance, eni, outside := d.id.InstanceID, aws.String(d.id.ENI), nowhere[0]
	if d.id.Subnet.Contains(outside) {
		outside = nowhere[1]
	}
	create := func(key string) func(context.Context) error {
		return func(ctx context.Context) error {
			tags := []types.Tag{{Key: aws.String(key), Value: aws.String("emr-static-ip doctor")}}
			_, err := api.CreateTags(ctx, &awsec2.CreateTagsInput{DryRun: dry, Resources: []string{instance}, Tags: tags})
			return err
		}
	}
	naming := trial{action: "CreateTags", node: true, try: create(ec2.TagName),
		spare: "use --no-name-tag: without it a run succeeds, and the Name tag stays as it is"}
	if !d.cfg.NameTag {
		naming.unused = "not needed with --no-name-tag"
	}
	gateways := trial{action: "DescribePrefixLists", spare: "name the networks of S3 and DynamoDB with --exclude-cidr: without either a run succeeds, and they see the static IP",
		try: func(ctx context.Context) error {
			_, err := api.DescribePrefixLists(ctx, &awsec2.DescribePrefixListsInput{DryRun: dry})
			return err
		}}
	if !(&run{cfg: d.cfg}).wantsGateways() {
		gateways.unused = "not needed with this --snat-scope or --only-cidr"
	}
	all := []trial{
		{action: "DescribeInstances", try: func(ctx context.Context) error {
			_, err := api.DescribeInstances(ctx, &awsec2.DescribeInstancesInput{DryRun: dry})
			return err
		}},
		{action: "DescribeNetworkInterfaces", try: func(ctx context.Context) error {
			_, err := api.DescribeNetworkInterfaces(ctx, &awsec2.DescribeNetworkInterfacesInput{DryRun: dry})
			return err
		}},
		{action: "DescribeInstanceTypes", try: func(ctx context.Context) error {
			_, err := api.DescribeInstanceTypes(ctx, &awsec2.DescribeInstanceTypesInput{DryRun: dry})
			return err
		}},
		gateways,
		{action: "AssignPrivateIpAddresses", node: true, try: func(ctx context.Context) error {
			_, err := api.AssignPrivateIpAddresses(ctx, &awsec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: eni, PrivateIpAddresses: []string{outside.String()}, AllowReassignment: aws.Bool(false)})
			return err
		}},
		{action: "UnassignPrivateIpAddresses", node: true, try: func(ctx context.Context) error {
			_, err := api.UnassignPrivateIpAddresses(ctx, &awsec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: eni, PrivateIpAddresses: []string{outside.String()}})
			return err
		}},
		naming,
	}
	if d.cfg.OnError != OnErrorContinue {
		return all
	}
	return append(all,
		trial{action: "CreateTags", what: tagError, node: true, try: create(tagError),
			spare: "without it a failure that --on-error continue suppresses is told by the log and by status alone"},
		trial{action: "DeleteTags", what: tagError, node: true, spare: "without it the tag stays on the instance after a run that succeeds",
			try: func(ctx context.Context) error {
				_, err := api.DeleteTags(ctx, &awsec2.DeleteTagsInput{DryRun: dry, Resources: []string{instance}, Tags: []types.Tag{{Key: aws.String(tagError)}}})
				return err
			}})
}

// subject is what a finding calls the trial.
func (t trial) subject() string { return strings.TrimSpace("ec2:" + t.action + " " + t.what) }

// ec2Permissions tries each EC2 action.
func (d *doctor) ec2Permissions(ctx context.Context) []Finding {
	var api *awsec2.Client
	why := d.unasked("ec2")
	if why == "" {
		api = awsec2.NewFromConfig(d.api)
	}
	var findings []Finding
	for _, t := range d.ec2Trials(api) {
		switch {
		case t.unused != "":
			findings = append(findings, fine("permission", t.subject(), "%s", t.unused))
			continue
		case why != "":
			findings = append(findings, unknown("permission", t.subject(), "", "not tried: %s", why))
			continue
		case t.node && !d.known:
			findings = append(findings, unknown("permission", t.subject(), "", "who this node is, is not known"))
			continue
		}
		f := permission("ec2:"+t.action, d.call(ctx, t.try))
		f.Subject = t.subject()
		if t.spare != "" && f.Result == resultFailed {
			f.Result, f.ExitCode = resultWarning, 0
			f.Remedy += "; or " + t.spare
		}
		findings = append(findings, f)
	}
	if why != "" {
		return findings
	}
	return append(findings, d.optionsFinding(ctx, api))
}

// optionsFinding looks at the instance's metadata options, where EC2 shows the instance.
func (d *doctor) optionsFinding(ctx context.Context, api *awsec2.Client) Finding {
	if !d.known {
		return Finding{}
	}
	var out *awsec2.DescribeInstancesOutput
	err := d.call(ctx, func(ctx context.Context) (err error) {
		out, err = api.DescribeInstances(ctx, &awsec2.DescribeInstancesInput{InstanceIds: []string{d.id.InstanceID}})
		return err
	})
	if err != nil {
		return unknown("metadata-options", "", "", "%v", err)
	}
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			if aws.ToString(i.InstanceId) == d.id.InstanceID {
				return metadataOptions(i.MetadataOptions)
			}
		}
	}
	return unknown("metadata-options", "", "", "EC2 does not list the instance yet")
}

// permission is what the outcome of a trial says about an action.
func permission(action string, err error) Finding {
	switch code := ec2.ErrorCode(err); {
	case err == nil, code == "DryRunOperation":
		return fine("permission", action, "allowed")
	case strings.HasSuffix(strings.ToLower(action), "assignprivateipaddresses") && ec2.HasStatus(err, http.StatusBadRequest) && CodeOf(err) == ExitInternal && !ec2.IsThrottle(err):
		return fine("permission", action, "allowed (refused for its address, as intended: %s)", text.Clean(code, text.MaxQuoted))
	case errors.Is(err, ssmcoord.ErrNotTried):
		return unknown("permission", action, "", "%v", ssmcoord.ErrNotTried)
	case ec2.IsPermission(err):
		f := of(err, "permission", action)
		f.Detail = "denied"
		if m := ec2.ErrorMessage(err); strings.Contains(m, "explicit deny") {
			f.Detail = "denied by an explicit deny (" + text.Clean(m, text.MaxLine) + ")"
		}
		return f
	case CodeOf(err) == ExitPermission || CodeOf(err) == ExitUnreachable:
		return of(err, "permission", action) // credentials or clock; no answer
	}
	return unknown("permission", action, strings.Join(exit.Remedies(err), "; or "), "%v", err)
}

func untried(service string, actions []string, why string) (findings []Finding) {
	for _, action := range actions {
		findings = append(findings, unknown("permission", service+action, "", "not tried: %s", why))
	}
	return findings
}

// ssmPermissions tries each call of Parameter Store on a parameter of doctor's own.
func (d *doctor) ssmPermissions(ctx context.Context) []Finding {
	actions := []string{"GetParameters", "GetParametersByPath", "PutParameter", "DeleteParameter"}
	why := d.unasked("ssm")
	if why == "" && !d.known {
		why = "the subnet, whose ledger it is about, is not known"
	}
	if why != "" {
		return untried("ssm:", actions, why)
	}
	bounded, cancel := context.WithTimeout(ctx, doctorProbe)
	defer cancel()
	var findings []Finding
	for _, t := range ssmcoord.NewLedger(d.api, d.cfg.Prefix, d.id.SubnetID).WithTags(d.cfg.ClaimTags).Probe(bounded, d.id.InstanceID) {
		err := t.Err
		if err != nil && !errors.Is(err, ssmcoord.ErrNotTried) {
			err = d.explain(ctx, err)
		}
		f := permission(t.Action, err)
		if t.Left != "" {
			f = failed(ExitPermission, "permission", t.Action, f.Remedy+"; then: aws ssm delete-parameter --name "+t.Left, "%s; the probe %s may be left behind", f.Detail, t.Left)
		}
		findings = append(findings, f)
	}
	return findings
}

// reservation looks whether subnet CIDR reservations keep EC2 from handing the pool's addresses to other instances.
func (d *doctor) reservation(ctx context.Context, pool []netip.Addr) Finding {
	api := awsec2.NewFromConfig(d.api)
	var kept, prefixes []netip.Prefix
	var names []string
	err := d.call(ctx, func(ctx context.Context) error {
		for token := (*string)(nil); ; {
			out, err := api.GetSubnetCidrReservations(ctx, &awsec2.GetSubnetCidrReservationsInput{SubnetId: aws.String(d.id.SubnetID), NextToken: token})
			if err != nil {
				return err
			}
			for _, r := range out.SubnetIpv4CidrReservations {
				p, err := netip.ParsePrefix(aws.ToString(r.Cidr))
				if err != nil {
					return fmt.Errorf("a reservation has the CIDR %s: %w", text.Quote(aws.ToString(r.Cidr)), err)
				}
				if r.ReservationType == types.SubnetCidrReservationTypeExplicit {
					kept, names = append(kept, p), append(names, fmt.Sprintf("%s (%s)", p, text.Clean(aws.ToString(r.SubnetCidrReservationId), text.MaxQuoted)))
				} else {
					prefixes = append(prefixes, p)
				}
			}
			if token = out.NextToken; aws.ToString(token) == "" {
				return nil
			}
		}
	})
	in := func(list []netip.Prefix, a netip.Addr) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	switch {
	case ec2.IsPermission(err):
		return unknown("reservation", "", strings.Join(exit.Remedies(err), "; "), "whether EC2 keeps the addresses from other instances cannot be told: ec2:GetSubnetCidrReservations is denied")
	case err != nil:
		return unknown("reservation", "", strings.Join(exit.Remedies(err), "; "), "%v", err)
	}
	var bare []netip.Addr
	wrongType := false
	for _, a := range pool {
		if !in(kept, a) {
			bare = append(bare, a)
			wrongType = wrongType || in(prefixes, a)
		}
	}
	if len(bare) == 0 {
		return fine("reservation", "", "explicit subnet CIDR reservations keep all %d for those who ask for them: %s", len(pool), strings.Join(names, ", "))
	}
	var cidrs []string
	for _, p := range blocks(bare) {
		cidrs = append(cidrs, p.String())
	}
	more := ""
	if wrongType {
		more = "; a reservation of type prefix, which there is, is for prefix delegation only"
	}
	if n := len(cidrs) - 6; n > 0 {
		more += fmt.Sprintf(" (and for %d more CIDRs)", n)
		cidrs = cidrs[:6]
	}
	f := warning("reservation", "", "for each of "+strings.Join(cidrs, " ")+more+": aws ec2 create-subnet-cidr-reservation --subnet-id "+d.id.SubnetID+" --reservation-type explicit --cidr CIDR",
		"EC2 may hand %s to any new instance of the subnet", spans(bare))
	f.Addresses = bare
	return f
}
