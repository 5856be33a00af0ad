// Package iam holds the IAM policies that operators attach, and the statements that error messages
// quote from them.
//
// The files are plain IAM JSON. They have placeholders in capitals: REGION, ACCOUNT_ID, SUBNET_ID.
// Tests load them into the model of AWS.
package iam

import (
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/internal/lazyregexp"
)

//go:embed *-policy.json
var files embed.FS

// The policies, by file.
const (
	// InstanceProfile is what a node needs.
	InstanceProfile = "instance-profile-policy.json"
	// PlainProfile is what an instance outside EMR needs.
	PlainProfile = "plain-policy.json"
	// Doctor is what doctor needs in addition.
	Doctor = "doctor-policy.json"
	// ClaimTags is what a node needs in addition for --claim-tag.
	ClaimTags = "claim-tags-policy.json"
	// Operator is what a person needs to list and repair the ledgers of a region, and to check its
	// clusters.
	Operator = "operator-policy.json"
)

// The placeholders of the policy files. The default of --prefix is one of them.
const (
	region  = "REGION"
	account = "ACCOUNT_ID"
	subnet  = "SUBNET_ID"
	prefix  = ":parameter/emr-static-ip"
)

// Place fills in a policy's placeholders. An empty field leaves its placeholder or default.
type Place struct {
	Region    string // us-east-1
	Partition string // of the region, as the SDK has it: aws-us-gov; empty means aws
	Account   string // 12 digits
	// Subnet is subnet-..., or several with commas between them: an instance fleet may be launched
	// in any of them.
	Subnet string
	Prefix string // of the records' parameters: /emr-static-ip
	Plain  bool   // outside EMR: PlainProfile is in the place of InstanceProfile
}

// Policy returns the text of a policy file, filled in. It panics if there is no such file.
func (p Place) Policy(file string) string {
	text, err := files.ReadFile(file)
	if err != nil {
		panic(fmt.Sprintf("iam: %v", err)) // the names are constants of this package
	}
	return p.Fill(string(text))
}

// perSubnet matches a text of a document that names the subnet, with the colon before it where it
// is the only value of its key.
var perSubnet = lazyregexp.New(`(: )?"[^"]*` + subnet + `[^"]*"`)

// Fill replaces the placeholders in a document or in a part of one. A text that names the subnet is
// repeated for each subnet.
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
	pairs := []string{"arn:aws:", "arn:" + cmp.Or(p.Partition, "aws") + ":"}
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

// Statement returns the statement of a policy file that allows the action, reduced to this action
// and on one line. It returns "" if no statement allows the action.
func (p Place) Statement(file, action string) string {
	var policy struct {
		Statement []struct{ Action, Resource, Condition json.RawMessage }
	}
	if p.Plain && file == InstanceProfile {
		file = PlainProfile
	}
	// Parse before filling in: the values may come from elsewhere and need not be valid JSON.
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

// ForEndpoint returns a statement of a role's policy as the policy of a VPC endpoint needs it. Such
// a policy is attached to a resource: without a Principal it allows nothing to anybody.
func ForEndpoint(statement string) string {
	if rest, ok := strings.CutPrefix(statement, `{"Effect": "Allow", `); ok {
		return `{"Effect": "Allow", "Principal": "*", ` + rest
	}
	return statement
}

// oneLine joins the lines of a JSON text. No string in JSON contains a line break.
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
