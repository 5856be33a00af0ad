package doctor

import (
	"context"
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
)

// This file asks IAM what the role of nodes may do that do not exist yet.

// The instance and the interface of such a node.
const (
	futureInstance  = "i-0123456789abcdef0"
	futureInterface = "eni-0123456789abcdef0"
	futureCluster   = "j-0123456789ABC"
)

// question is one action that IAM is asked about.
type question struct {
	subject   string
	action    string
	resources []string // one of them has to be allowed
	keys      map[string][]string
	spare     string // how to do without it: see trial
	unused    string // why it is not needed
}

// questions returns what a run calls, as a node in the subnet would call it.
func (d *examination) questions(subnet ec2.SubnetDetails, account string) (list []question) {
	region := d.facts.ID.Region
	arn := func(service, rest string) string {
		return "arn:" + ec2.Partition(region) + ":" + service + ":" + region + ":" + account + ":" + rest
	}
	keys := func(pairs ...string) map[string][]string {
		m := map[string][]string{"aws:RequestedRegion": {region}}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = []string{pairs[i+1]}
		}
		return m
	}
	ledger := "parameter" + d.cfg.Prefix + "/" + subnet.ID
	record := arn("ssm", ledger+"/"+subnet.CIDR.Addr().String())
	if len(d.every) > 0 {
		record = arn("ssm", ledger+"/"+d.every[0].String())
	}
	for _, action := range []string{"ssm:GetParameters", "ssm:PutParameter", "ssm:DeleteParameter"} {
		list = append(list, question{subject: action, action: action, resources: []string{record}, keys: keys()})
	}
	list = append(list, question{subject: "ssm:GetParametersByPath", action: "ssm:GetParametersByPath", resources: []string{arn("ssm", ledger), arn("ssm", ledger+"/")}, keys: keys()})
	if len(d.cfg.ClaimTags) > 0 {
		q := question{subject: "ssm:AddTagsToResource", action: "ssm:AddTagsToResource", resources: []string{record}, keys: keys()}
		for _, t := range d.cfg.ClaimTags {
			q.keys["aws:RequestTag/"+t.Key] = []string{t.Value}
			q.keys["aws:TagKeys"] = append(q.keys["aws:TagKeys"], t.Key)
		}
		list = append(list, q)
	}
	for _, t := range d.ec2Trials() {
		q := question{subject: t.subject(), action: "ec2:" + t.action, resources: []string{"*"}, keys: keys(), spare: t.spare, unused: t.unused}
		switch {
		case t.tag != "":
			instance := arn("ec2", "instance/"+futureInstance)
			q.resources = []string{instance}
			q.keys = keys("ec2:SourceInstanceARN", instance, "ec2:InstanceID", futureInstance, "aws:TagKeys", t.tag)
			if !d.facts.Plain {
				q.keys["aws:ResourceTag/aws:elasticmapreduce:job-flow-id"] = []string{futureCluster}
			}
		case strings.HasSuffix(t.action, "PrivateIpAddresses"):
			owner := subnet.Owner
			if owner == "" {
				owner = account
			}
			q.resources = []string{arn("ec2", "network-interface/"+futureInterface)}
			q.keys = keys("ec2:Subnet", "arn:"+ec2.Partition(region)+":ec2:"+region+":"+owner+":subnet/"+subnet.ID)
		}
		list = append(list, q)
	}
	return list
}

// roleMay asks IAM what the role of --role-name may do.
func (d *examination) roleMay(ctx context.Context, subnet ec2.SubnetDetails) []Finding {
	role := d.cfg.RoleName
	if role == "" {
		return []Finding{unknown("permission", "", "name the role of the nodes' instance profile with --role-name (EMR: JobFlowRole): IAM then says what it may do", "no role is named")}
	}
	roles := ec2.NewRoles(d.api)
	arn := role
	if !strings.HasPrefix(role, "arn:") {
		err := d.call(ctx, func(ctx context.Context) (err error) { arn, err = roles.ARN(ctx, role); return err })
		if err != nil {
			return []Finding{d.noRole(err)}
		}
	}
	account := ""
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 {
		account = parts[4]
	}
	var findings []Finding
	for _, q := range d.questions(subnet, account) {
		if q.unused != "" {
			findings = append(findings, fine("permission", q.subject, "%s", q.unused))
			continue
		}
		decision := ec2.Decision{}
		err := d.call(ctx, func(ctx context.Context) error {
			for _, resource := range q.resources {
				answers, err := roles.Simulate(ctx, arn, ec2.Simulation{Actions: []string{q.action}, Resource: resource, Keys: q.keys})
				if err != nil {
					return err
				}
				if decision = answers[0]; decision.Allowed {
					return nil
				}
			}
			return nil
		})
		if err != nil { // the others would meet it too
			return append(findings, d.noRole(err))
		}
		findings = append(findings, d.decided(q, decision, account))
	}
	return findings
}

// noRole returns the finding on a role that IAM was asked about in vain.
func (d *examination) noRole(err error) Finding {
	if ec2.IsNoRole(err) {
		return failed(exit.Usage, "permission", "", "correct --role-name: it is the role in the instance profile (aws iam get-instance-profile), whose name may be another one", "%v", err)
	}
	return unknown("permission", "", strings.Join(exit.Remedies(err), "; or "), "%v", err)
}

// decided returns the finding on IAM's decision.
func (d *examination) decided(q question, decision ec2.Decision, account string) Finding {
	at := d.facts.Place(d.cfg.Prefix)
	at.Partition, at.Account = ec2.Partition(at.Region), account
	statement := ""
	for _, file := range []string{iam.InstanceProfile, iam.ClaimTags} {
		if statement == "" {
			statement = at.Statement(file, q.action)
		}
	}
	remedy := "allow " + q.action + " in the role " + d.cfg.RoleName + ": " + statement
	why := "no policy of the role allows it"
	switch {
	case decision.Allowed:
		return fine("permission", q.subject, "allowed to the role, says IAM's simulation")
	case decision.Explicit:
		why, remedy = "a policy denies it", "look for the Deny statement in the policies of the role and its permissions boundary, and in the organization's service control policies"
	case decision.Above:
		why, remedy = "the organization's policies do not allow it", "look at the organization's service control policies"
	case decision.Boundary:
		why, remedy = "the permissions boundary of the role does not allow it", "allow "+q.action+" in the role's permissions boundary: "+statement
	case len(decision.Missing) > 0:
		slices.Sort(decision.Missing)
		return unknown("permission", q.subject, remedy, "not allowed by the simulation, which does not have what the role's policies ask for: %s", strings.Join(slices.Compact(decision.Missing), ", "))
	}
	if q.spare != "" {
		return warning("permission", q.subject, remedy+"; or "+q.spare, "denied: %s", why)
	}
	return failed(exit.Permission, "permission", q.subject, remedy, "denied: %s", why)
}
