package iam

import "strings"

// Keys maps the condition keys of a request, in lower case, to their values. A key without values
// counts as missing.
type Keys map[string][]string

// The condition keys that the model sets. For keys that end in a slash, the key of a tag follows.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
const (
	KeyPrincipalARN     = "aws:principalarn"
	KeyPrincipalAccount = "aws:principalaccount"
	KeyUserID           = "aws:userid"
	KeyUserName         = "aws:username" // users only, not roles
	KeyRequestedRegion  = "aws:requestedregion"
	KeyRequestTag       = "aws:requesttag/"
	KeyResourceAccount  = "aws:resourceaccount"
	KeyResourceTag      = "aws:resourcetag/"
	KeySourceVPC        = "aws:ec2instancesourcevpc" // the VPC in which an instance got its credentials
	KeySourceIPv4       = "aws:ec2instancesourceprivateipv4"
	KeySourceVPCPath    = "aws:sourcevpc"   // the VPC whose endpoint a request came through
	KeyVPCSourceIP      = "aws:vpcsourceip" // the source address at that endpoint
	KeyViaAWSService    = "aws:viaawsservice"
	KeyTagKeys          = "aws:tagkeys"

	KeyCreateAction   = "ec2:createaction"
	KeyEC2Region      = "ec2:region"
	KeyEC2ResourceTag = "ec2:resourcetag/"
	KeyInstance       = "ec2:instanceid"
	KeyInstanceType   = "ec2:instancetype"
	KeyInterface      = "ec2:networkinterfaceid"
	KeySourceInstance = "ec2:sourceinstancearn" // the instance that the credentials belong to
	KeySubnet         = "ec2:subnet"            // an ARN
	KeyVPC            = "ec2:vpc"               // an ARN
	KeyZone           = "ec2:availabilityzone"

	KeyOverwrite      = "ssm:overwrite"
	KeyRecursive      = "ssm:recursive"
	KeySSMResourceTag = "ssm:resourcetag/"
)

// KnownKey reports whether the model sets a key, given in lower case, and whether the key may have
// several values. The model cannot evaluate a condition on any other key.
func KnownKey(name string) (several, known bool) {
	switch name {
	case KeyTagKeys:
		return true, true
	case KeyPrincipalARN, KeyPrincipalAccount, KeyUserID, KeyUserName, KeyRequestedRegion, KeyResourceAccount, KeySourceVPC, KeySourceIPv4,
		KeySourceVPCPath, KeyVPCSourceIP, KeyViaAWSService,
		KeyCreateAction, KeyEC2Region, KeyInstance, KeyInstanceType, KeyInterface, KeySourceInstance, KeySubnet, KeyVPC, KeyZone, KeyOverwrite, KeyRecursive:
		return false, true
	}
	for _, prefix := range []string{KeyRequestTag, KeyResourceTag, KeyEC2ResourceTag, KeySSMResourceTag} {
		if tag, ok := strings.CutPrefix(name, prefix); ok && tag != "" {
			return false, true
		}
	}
	return false, false
}

// Set sets the values of a key.
func (k Keys) Set(name string, values ...string) { k[strings.ToLower(name)] = values }
