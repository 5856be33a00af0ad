// Package iam has the IAM policies of emr-static-ip as operators attach them, and the statement of each action for messages.
//
// The files are plain IAM JSON with placeholders in capitals: REGION, ACCOUNT_ID, SUBNET_ID. Tests load them into the model of AWS, and the README
// shows the first of them word by word.
package iam

import (
	"embed"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

//go:embed *-policy.json
var files embed.FS

// The policies, by file.
const (
	InstanceProfile = "instance-profile-policy.json" // what a node needs
	Doctor          = "doctor-policy.json"           // what doctor needs beside that
	ClaimTags       = "claim-tags-policy.json"       // what a node needs beside that for --claim-tag
	Operator        = "operator-policy.json"         // what a person needs who looks after the ledgers of a region, from anywhere
)

// Placeholders of the policy files, and what stands there for the default of --prefix.
const (
	region  = "REGION"
	account = "ACCOUNT_ID"
	subnet  = "SUBNET_ID"
	prefix  = ":parameter/emr-static-ip"
)

// Place is where a policy is to hold. What is empty stays a placeholder, or the default.
type Place struct {
	Region  string // us-east-1
	Account string // 12 digits
	Subnet  string // subnet-..., or several with commas between them: an instance fleet may be launched in any of them
	Prefix  string // of the claims' parameters: /emr-static-ip
}

// Policy is the text of a policy file, filled in. It panics where there is no such file.
func (p Place) Policy(file string) string {
	text, err := files.ReadFile(file)
	if err != nil {
		panic(fmt.Sprintf("iam: %v", err)) // the names are constants of this package
	}
	return p.Fill(string(text))
}

// perSubnet is a text of a document that names the subnet, with the colon before it where it is the only value of its key.
var perSubnet = regexp.MustCompile(`(: )?"[^"]*` + subnet + `[^"]*"`)

// Fill replaces the placeholders in a document, or in a part of one. A text that names the subnet is repeated for each subnet.
func (p Place) Fill(document string) string {
	if subnets := strings.Split(p.Subnet, ","); len(subnets) > 1 {
		document = perSubnet.ReplaceAllStringFunc(document, func(text string) string {
			text, only := strings.CutPrefix(text, ": ")
			var all []string
			for _, s := range subnets {
				all = append(all, strings.ReplaceAll(text, subnet, s))
			}
			list := strings.Join(all, ", ")
			if only {
				list = ": [" + list + "]"
			}
			return list
		})
	}
	pairs := []string{"arn:aws:", "arn:" + partition(p.Region) + ":"}
	for _, f := range []struct{ placeholder, value string }{{region, p.Region}, {account, p.Account}, {subnet, p.Subnet}} {
		if f.value != "" {
			pairs = append(pairs, f.placeholder, f.value)
		}
	}
	if p.Prefix != "" {
		pairs = append(pairs, prefix, ":parameter"+p.Prefix)
	}
	return strings.NewReplacer(pairs...).Replace(document)
}

// partitions are the beginnings of regions' names outside the partition aws, as the AWS SDK has them.
var partitions = map[string]string{
	"cn": "aws-cn", "us-gov": "aws-us-gov", "eusc": "aws-eusc",
	"us-iso": "aws-iso", "us-isob": "aws-iso-b", "eu-isoe": "aws-iso-e", "us-isof": "aws-iso-f",
}

// partition is the group of regions whose ARNs begin alike.
func partition(region string) string {
	for prefix, partition := range partitions {
		if strings.HasPrefix(region, prefix+"-") {
			return partition
		}
	}
	return "aws"
}

// Statement is the statement of a policy file that allows the action, for this action alone, on one line. Empty: none does.
func (p Place) Statement(file, action string) string {
	var policy struct {
		Statement []struct{ Action, Resource, Condition json.RawMessage }
	}
	// As it is in the file: what it is filled with may come from elsewhere, and need not be JSON.
	if err := json.Unmarshal([]byte(Place{}.Policy(file)), &policy); err != nil {
		panic(fmt.Sprintf("iam: reading %s: %v", file, err)) // a file of this package
	}
	for _, s := range policy.Statement {
		if !strings.Contains(string(s.Action), `"`+action+`"`) {
			continue
		}
		text := fmt.Sprintf(`{"Effect": "Allow", "Action": %q, "Resource": %s`, action, oneLine(s.Resource))
		if s.Condition != nil {
			text += `, "Condition": ` + oneLine(s.Condition)
		}
		return p.Fill(text + "}")
	}
	return ""
}

// EndpointStatement is the Statement for the policy of a VPC endpoint. Such a policy is attached to a resource: without a Principal it allows nothing to
// anybody.
func (p Place) EndpointStatement(file, action string) string {
	s := p.Statement(file, action)
	if rest, ok := strings.CutPrefix(s, `{"Effect": "Allow", `); ok {
		return `{"Effect": "Allow", "Principal": "*", ` + rest
	}
	return s
}

// oneLine writes JSON with a blank where there may be one. No text in JSON contains a line break.
func oneLine(raw json.RawMessage) string {
	var b strings.Builder
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if s := b.String(); s != "" && !strings.HasSuffix(s, "{") && !strings.HasSuffix(s, "[") && !strings.HasPrefix(line, "}") && !strings.HasPrefix(line, "]") {
			b.WriteByte(' ')
		}
		b.WriteString(line)
	}
	return strings.NewReplacer("{ ", "{", " }", "}").Replace(b.String())
}
