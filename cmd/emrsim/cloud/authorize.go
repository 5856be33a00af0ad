package cloud

import (
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
)

// authorize asks the policy about a call. The lock is held, so a policy must not call the model.
func (c *Cloud) authorize(a *action, op *operation, who *caller, call *Call, now time.Time) *Error {
	if c.opts.Authorize == nil || a.key() == "sts:GetCallerIdentity" { // never denied
		return nil
	}
	req := AccessRequest{Caller: who.Caller, Action: a.key(), Resources: op.resources}
	if len(req.Resources) == 0 {
		req.Resources = []string{"*"}
	}
	for _, arn := range req.Resources {
		req.Contexts = append(req.Contexts, c.conditionKeys(who, op, arn, now))
	}
	err := c.opts.Authorize(req)
	if err == nil && op.also != "" {
		req.Action = op.also
		if op.alsoOn != nil { // the last ones
			req.Resources, req.Contexts = op.alsoOn, req.Contexts[len(req.Contexts)-len(op.alsoOn):]
		}
		err = c.opts.Authorize(req)
	}
	if err == nil {
		return nil
	}
	call.Message = "denied by the policy: " + err.Error()
	return c.denial(a.service, req, who, call, err)
}

// denial returns a refusal in the words of the service.
func (c *Cloud) denial(service string, req AccessRequest, who *caller, call *Call, err error) *Error {
	resource := req.Resources[0]
	why := " because no identity-based policy allows the " + req.Action + " action"
	if d := (*iam.Denial)(nil); errors.As(err, &d) {
		resource = d.Resource
		if d.Explicit {
			why = " with an explicit deny in an identity-based policy"
		}
	}
	what := "User: " + who.ARN + " is not authorized to perform: " + req.Action
	switch {
	case resource != "*":
		what += " on resource: " + resource
	case service != "ec2":
		what += " on resource: arn:aws:" + service + ":" + c.opts.Region + ":" + c.opts.Account + ":*"
	}
	if service == "iam" {
		return &Error{Code: "AccessDenied", Message: what + why, Status: http.StatusForbidden}
	}
	if service != "ec2" {
		return &Error{Code: "AccessDeniedException", Message: what + why, Status: http.StatusBadRequest}
	}
	message := "You are not authorized to perform this operation. " + what + why
	if resource != "*" {
		message += ". Encoded authorization failure message: " + strconv.FormatUint(call.Seed, 36)
	}
	return &Error{Code: "UnauthorizedOperation", Status: http.StatusForbidden, Message: message}
}

// conditionKeys returns the request's condition keys for one of its resources.
func (c *Cloud) conditionKeys(who *caller, op *operation, arn string, now time.Time) iam.Keys {
	keys := iam.Keys{}
	maps.Copy(keys, op.keys)
	keys.Set(iam.KeyRequestedRegion, c.opts.Region)
	keys.Set(iam.KeyPrincipalAccount, c.opts.Account)
	keys.Set(iam.KeyEC2Region, c.opts.Region)
	keys.Set(iam.KeyUserID, who.userID())
	if i := c.byID[who.InstanceID]; i != nil {
		keys.Set(iam.KeyPrincipalARN, "arn:aws:iam::"+c.opts.Account+":role/"+roleName)
		keys.Set(iam.KeySourceInstance, c.ec2ARN("instance", i.InstanceID))
		keys.Set(iam.KeySourceVPC, i.VPCID)
		keys.Set(iam.KeySourceIPv4, i.PrimaryIP.String())
	} else {
		keys.Set(iam.KeyPrincipalARN, who.ARN)
		keys.Set(iam.KeyUserName, who.ARN[strings.LastIndexByte(who.ARN, '/')+1:])
	}
	if arn == "*" {
		return keys
	}
	keys.Set(iam.KeyResourceAccount, c.opts.Account)
	part := strings.SplitN(arn, ":", 6)
	kind, id, _ := strings.Cut(part[5], "/")
	tags, own := tagSet(nil), ""
	switch part[2] + ":" + kind {
	case "ec2:network-interface":
		own = iam.KeyEC2ResourceTag
		keys.Set(iam.KeyInterface, id)
		if e := c.eniByID[id]; e != nil && e.exists(now) {
			tags = e.tags
			keys.Set(iam.KeySubnet, c.subnetARN(e.subnet))
			if c.opts.Unverified.ShareARNOwn {
				keys.Set(iam.KeySubnet, c.ec2ARN("subnet", e.subnet.id))
			}
			keys.Set(iam.KeyVPC, c.vpcARN(e.subnet.vpc))
			keys.Set(iam.KeyZone, e.subnet.az)
		}
	case "ec2:instance":
		own = iam.KeyEC2ResourceTag
		keys.Set(iam.KeyInstance, id)
		if i := c.byID[id]; i != nil {
			tags = i.tags
			keys.Set(iam.KeyInstanceType, i.InstanceType)
			keys.Set(iam.KeyZone, i.subnet.az)
		}
	case "ec2:subnet":
		own = iam.KeyEC2ResourceTag
		if s := c.findSubnet(id); s != nil {
			tags = s.seenTags()
			keys.Set(iam.KeyVPC, c.vpcARN(s.vpc))
		}
	case "ec2:vpc":
		own = iam.KeyEC2ResourceTag
		if v := c.findVPC(id); v != nil {
			tags = v.seenTags()
		}
	case "ssm:parameter":
		own = iam.KeySSMResourceTag
		for _, name := range []string{"/" + id, id} {
			if p := c.params.byName[name]; p != nil && p.newest() != nil {
				tags = p.tags
			}
		}
	}
	for _, t := range tags {
		keys.Set(iam.KeyResourceTag+t.key, t.value)
		keys.Set(own+t.key, t.value)
	}
	return keys
}

// tagsAsked returns the condition keys for the tags in a request. A tag has no value if withValue
// returns false for it.
func tagsAsked(tags []tag, withValue func(n int) bool) iam.Keys {
	if len(tags) == 0 {
		return nil
	}
	keys := iam.Keys{}
	var names []string
	for n, t := range tags {
		names = append(names, t.key)
		if withValue(n) {
			keys.Set(iam.KeyRequestTag+t.key, t.value)
		}
	}
	keys.Set(iam.KeyTagKeys, names...)
	return keys
}

// userID returns the principal's unique id. For a role the session's name follows.
func (w *caller) userID() string {
	if w.InstanceID == "" {
		return "AIDAMODELOPERATOR000"
	}
	return "AROAMODELEMREC2ROLE0:" + w.InstanceID
}
