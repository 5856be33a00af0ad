package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord/inventory"
)

// trial is one EC2 action that a run calls.
type trial struct {
	action string
	tag    string // the tag's key, for CreateTags and DeleteTags
	what   string // what it is tried for, if one action is tried for several things
	node   bool   // it can be tried only if this node is known
	spare  string // how to do without it: a run then ends with a warning; empty: the run fails
	unused string // why it is not needed; empty: it is
}

// ec2Trials are the EC2 actions that a run calls.
func (d *examination) ec2Trials() []trial {
	naming := trial{action: "CreateTags", tag: ec2.TagName, node: true,
		spare: "use --no-name-tag: without this permission a run succeeds, and leaves the Name tag as it is"}
	if !d.cfg.NameTag {
		naming.unused = "not needed with --no-name-tag"
	}
	if d.facts.Plain {
		naming.unused = "not needed: outside EMR there is no role to append"
	}
	gateways := trial{action: "DescribePrefixLists", spare: "name the networks of S3 and DynamoDB with --exclude-cidr: without this permission a run succeeds, and they see the static IP"}
	if !node.WantsGateways(d.cfg.Settings()) {
		gateways.unused = "not needed with this --snat-scope or --only-cidr"
	}
	all := []trial{
		{action: "DescribeInstances"},
		{action: "DescribeNetworkInterfaces"},
		{action: "DescribeInstanceTypes"},
		gateways,
		{action: "AssignPrivateIpAddresses", node: true},
		{action: "UnassignPrivateIpAddresses", node: true},
		naming,
	}
	if d.cfg.OnError != agent.OnErrorContinue {
		return all
	}
	return append(all,
		trial{action: "CreateTags", tag: ec2.ErrorTag, what: ec2.ErrorTag, node: true,
			spare: "without this permission only the log and status show a failure that --on-error continue suppresses"},
		trial{action: "DeleteTags", tag: ec2.ErrorTag, what: ec2.ErrorTag, node: true,
			spare: "without this permission the tag stays on the instance after a later run succeeds"})
}

// subject returns the trial's name in a finding.
func (t trial) subject() string { return strings.TrimSpace("ec2:" + t.action + " " + t.what) }

// ec2Permissions tries each EC2 action.
func (d *examination) ec2Permissions(ctx context.Context) []Finding {
	why := d.unasked("ec2")
	// The SDK's client corrects a wrong clock after a refused call. A client of its own sees the
	// clock.
	api := ec2.NewNode(d.api, d.facts.ID, d.facts.Cluster, d.env)
	var findings []Finding
	for _, t := range d.ec2Trials() {
		switch {
		case t.unused != "":
			findings = append(findings, fine("permission", t.subject(), "%s", t.unused))
			continue
		case why != "":
			findings = append(findings, unknown("permission", t.subject(), "", "not tried: %s", why))
			continue
		case t.node && !d.known:
			findings = append(findings, unknown("permission", t.subject(), "", "this node's identity is unknown"))
			continue
		}
		f := d.try(ctx, api, t)
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
	return append(findings, d.optionsFinding(ctx))
}

// optionsFinding checks the instance's metadata options, if EC2 lists the instance.
func (d *examination) optionsFinding(ctx context.Context) Finding {
	if !d.known {
		return Finding{}
	}
	var options *ec2.MetadataOptions
	listed := false
	err := d.call(ctx, func(ctx context.Context) (err error) {
		options, listed, err = d.session.EC2.MetadataOptions(ctx)
		return err
	})
	switch {
	case err != nil:
		return unknown("metadata-options", "", "", "%v", err)
	case !listed:
		return unknown("metadata-options", "", "", "EC2 does not list the instance yet")
	}
	return metadataOptions(options)
}

// permission returns the finding on an action, by the outcome of its trial.
func permission(action string, err error) Finding {
	switch code := ec2.ErrorCode(err); {
	case err == nil, code == "DryRunOperation":
		return fine("permission", action, "allowed")
	case strings.HasSuffix(strings.ToLower(action), "assignprivateipaddresses") && ec2.HasStatus(err, http.StatusBadRequest) && exit.CodeOf(err) == exit.Internal && !ec2.IsThrottle(err):
		return fine("permission", action, "not denied: EC2 refused only the trial address, as expected (%s)", text.Clean(code, text.MaxQuoted))
	case errors.Is(err, inventory.ErrNotTried):
		return unknown("permission", action, "", "%v", inventory.ErrNotTried)
	case ec2.IsPermission(err):
		f := of(err, "permission", action)
		f.Detail = "denied"
		if m := ec2.ErrorMessage(err); strings.Contains(m, "explicit deny") {
			f.Detail = "denied by an explicit deny (" + text.Clean(m, text.MaxLine) + ")"
		}
		return f
	case slices.Contains([]exit.Code{exit.Permission, exit.Unreachable, exit.Usage}, exit.CodeOf(err)):
		return of(err, "permission", action) // credentials or clock; no answer; a tag that is refused
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
func (d *examination) ssmPermissions(ctx context.Context) []Finding {
	actions := []string{"GetParameters", "GetParametersByPath", "PutParameter", "DeleteParameter"}
	why := d.unasked("ssm")
	if why == "" && !d.known {
		why = "the subnet is unknown, and with it the ledger"
	}
	if why != "" {
		return untried("ssm:", actions, why)
	}
	bounded, cancel := context.WithTimeout(ctx, doctorProbe)
	defer cancel()
	var findings []Finding
	for _, t := range inventory.Probe(bounded, inventory.NewAPI(d.api), d.cfg.Prefix, d.facts.ID.SubnetID, d.cfg.ClaimTags, d.facts.ID.InstanceID) {
		err := t.Err
		if err != nil && !errors.Is(err, inventory.ErrNotTried) {
			err = d.explain(ctx, err)
		}
		f := permission(t.Action, err)
		if t.Left != "" {
			f = failed(exit.Permission, "permission", t.Action, f.Remedy+"; then: aws ssm delete-parameter --name "+t.Left, "%s; the probe %s may be left behind", f.Detail, t.Left)
		}
		findings = append(findings, f)
	}
	return findings
}

// reservation checks that subnet CIDR reservations keep EC2 from handing the pool's addresses to
// other instances.
func (d *examination) reservation(ctx context.Context, pool []netip.Addr) Finding {
	var kept, prefixes []netip.Prefix
	var names []string
	err := d.call(ctx, func(ctx context.Context) error {
		list, err := ec2.Reservations(ctx, d.api, d.facts.ID.SubnetID)
		for _, r := range list {
			if r.Explicit {
				kept, names = append(kept, r.CIDR), append(names, fmt.Sprintf("%s (%s)", r.CIDR, r.ID))
			} else {
				prefixes = append(prefixes, r.CIDR)
			}
		}
		return err
	})
	in := func(list []netip.Prefix, a netip.Addr) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	switch {
	case ec2.IsPermission(err):
		return unknown("reservation", "", strings.Join(exit.Remedies(err), "; "), "unknown whether the addresses are reserved: ec2:GetSubnetCidrReservations is denied")
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
		return fine("reservation", "", "%s on request: %s", reserved(len(pool)), strings.Join(names, ", "))
	}
	var cidrs []string
	for _, p := range blocks(bare) {
		cidrs = append(cidrs, p.String())
	}
	more := ""
	if wrongType {
		more = "; the existing reservation of type prefix is for prefix delegation only"
	}
	if n := len(cidrs) - 6; n > 0 {
		more += fmt.Sprintf(" (and for %d more CIDRs)", n)
		cidrs = cidrs[:6]
	}
	command := "aws ec2 create-subnet-cidr-reservation --subnet-id " + d.facts.ID.SubnetID + " --reservation-type explicit --cidr "
	remedy := command + cidrs[0] + more
	if len(cidrs) > 1 {
		remedy = "for each of " + strings.Join(cidrs, " ") + more + ": " + command + "CIDR"
	}
	f := warning("reservation", "", remedy,
		"EC2 may hand %s to any new instance of the subnet", spans(bare))
	f.Addresses = bare
	return f
}

// reserved says of all addresses of the list that they are reserved.
func reserved(n int) string {
	if n == 1 {
		return "the address is in an explicit subnet CIDR reservation, so EC2 gives it only"
	}
	return fmt.Sprintf("all %d are in explicit subnet CIDR reservations, so EC2 gives them only", n)
}
