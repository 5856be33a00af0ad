package cloud

import (
	"fmt"
	"net/netip"
	"sort"
	"strconv"
	"strings"
	"time"
)

// metadata returns the text of a path. The text of a directory lists its entries, with a slash
// after directories.
func (c *Cloud) metadata(i *instance, path string, now time.Time) (string, bool) {
	rest, ok := strings.CutPrefix(path, "/latest/")
	if !ok {
		switch path {
		case "/":
			return "latest", true
		case "/latest":
			return "dynamic\nmeta-data\nuser-data", true
		}
		return "", false
	}
	switch {
	case rest == "":
		return "dynamic\nmeta-data\nuser-data", true
	case rest == "dynamic/instance-identity/document":
		return c.identityDocument(i), true
	case rest == "dynamic" || rest == "dynamic/":
		return "instance-identity/", true
	case rest == "dynamic/instance-identity" || rest == "dynamic/instance-identity/":
		return "document", true
	}
	name, ok := strings.CutPrefix(rest, "meta-data")
	if !ok {
		return "", false
	}
	name = strings.Trim(name, "/")
	tree := c.metadataTree(i, now)
	if leaf, ok := tree[name]; ok {
		return leaf(), true
	}
	return listing(tree, name)
}

// listing returns the entries of a directory of the tree.
func listing(tree map[string]func() string, dir string) (string, bool) {
	prefix := dir + "/"
	if dir == "" {
		prefix = ""
	}
	seen := map[string]bool{}
	for name := range tree {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		entry, _, isDir := strings.Cut(rest, "/")
		if isDir {
			entry += "/"
		}
		seen[entry] = true
	}
	if len(seen) == 0 {
		return "", false
	}
	entries := make([]string, 0, len(seen))
	for e := range seen {
		entries = append(entries, e)
	}
	sort.Strings(entries)
	return strings.Join(entries, "\n"), true
}

func constant(s string) func() string { return func() string { return s } }

// metadataTree returns everything below meta-data/.
func (c *Cloud) metadataTree(i *instance, now time.Time) map[string]func() string {
	tree := map[string]func() string{
		"ami-id":                               constant(imageID),
		"hostname":                             constant(i.Hostname),
		"instance-id":                          constant(i.InstanceID),
		"instance-life-cycle":                  constant("on-demand"),
		"instance-type":                        constant(i.InstanceType),
		"local-hostname":                       constant(i.Hostname),
		"local-ipv4":                           constant(i.PrimaryIP.String()),
		"mac":                                  constant(i.MAC.String()),
		"reservation-id":                       constant(i.reservation),
		"placement/availability-zone":          constant(i.subnet.az),
		"placement/region":                     constant(c.opts.Region),
		"services/domain":                      constant("amazonaws.com"),
		"services/partition":                   constant("aws"),
		"iam/info":                             func() string { return c.profileInfo(now) },
		"iam/security-credentials":             constant(roleName),
		"iam/security-credentials/" + roleName: func() string { return i.credentials(now) },
	}
	if now.Before(i.credentialsFrom) {
		delete(tree, "iam/security-credentials")
		delete(tree, "iam/security-credentials/"+roleName)
	}
	for _, e := range i.attached(now) {
		dir := "network/interfaces/macs/" + e.mac.String() + "/"
		tree[dir+"device-number"] = constant(strconv.Itoa(e.device))
		tree[dir+"interface-id"] = constant(e.id)
		tree[dir+"local-hostname"] = func() string { return c.hostname(e.shown[0].addr) }
		tree[dir+"local-ipv4s"] = func() string { return lines(e.imdsAddresses(now)) }
		tree[dir+"mac"] = constant(e.mac.String())
		tree[dir+"owner-id"] = constant(c.opts.Account)
		tree[dir+"subnet-id"] = constant(e.subnet.id)
		tree[dir+"subnet-ipv4-cidr-block"] = func() string { return e.subnet.cidr.String() }
		if e.public.IsValid() {
			tree[dir+"public-ipv4s"] = constant(e.public.String())
			tree[dir+"ipv4-associations/"+e.public.String()] = func() string { return e.shown[0].addr.String() }
			if e.device == 0 {
				tree["public-ipv4"] = constant(e.public.String())
			}
		}
		tree[dir+"vpc-id"] = constant(e.subnet.vpc.id)
		tree[dir+"vpc-ipv4-cidr-block"] = func() string { return e.subnet.vpc.cidrs[0].String() }
		tree[dir+"vpc-ipv4-cidr-blocks"] = func() string { return lines(e.subnet.vpc.cidrs) }
	}
	return tree
}

func lines[T netip.Addr | netip.Prefix](list []T) string {
	out := make([]string, len(list))
	for n, v := range list {
		out[n] = fmt.Sprint(v)
	}
	return strings.Join(out, "\n")
}

// credentialLife is the remaining validity of credentials each time they are asked for.
const credentialLife = 6 * time.Hour

func (i *instance) credentials(now time.Time) string {
	return string(render(object{"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": now.UTC().Format(time.RFC3339),
		"AccessKeyId": i.caller.creds.AccessKeyID, "SecretAccessKey": i.caller.creds.SecretAccessKey, "Token": i.caller.creds.SessionToken,
		"Expiration": now.Add(credentialLife).UTC().Format(time.RFC3339)}))
}

func (c *Cloud) profileInfo(now time.Time) string {
	return string(render(object{"Code": "Success", "LastUpdated": now.UTC().Format(time.RFC3339),
		"InstanceProfileArn": "arn:aws:iam::" + c.opts.Account + ":instance-profile/" + roleName, "InstanceProfileId": "AIPAMODELEMREC2ROLE0"}))
}

func (c *Cloud) identityDocument(i *instance) string {
	arch := "x86_64"
	if t, _ := typeOf(i.InstanceType); t.arm {
		arch = "arm64"
	}
	return string(render(object{"accountId": c.opts.Account, "architecture": arch, "availabilityZone": i.subnet.az, "imageId": imageID,
		"instanceId": i.InstanceID, "instanceType": i.InstanceType, "pendingTime": i.launched.UTC().Format(time.RFC3339),
		"privateIp": i.PrimaryIP.String(), "region": c.opts.Region, "version": "2017-09-30"}))
}
