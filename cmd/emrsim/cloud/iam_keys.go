package cloud

import "strings"

// ConditionKeys are what the Condition element of a policy is compared with: the request's condition keys, in lower case, with
// their values. A key without values is not there.
type ConditionKeys map[string][]string

// The condition keys that the model fills. Those that end with a slash are followed by a tag's key.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
const (
	keyPrincipalARN     = "aws:principalarn"
	keyPrincipalAccount = "aws:principalaccount"
	keyUserID           = "aws:userid"
	keyUserName         = "aws:username" // of users, not of roles
	keyRequestedRegion  = "aws:requestedregion"
	keyRequestTag       = "aws:requesttag/"
	keyResourceAccount  = "aws:resourceaccount"
	keyResourceTag      = "aws:resourcetag/"
	keySourceVPC        = "aws:ec2instancesourcevpc" // where the credentials of an instance were given out
	keySourceIPv4       = "aws:ec2instancesourceprivateipv4"
	keyTagKeys          = "aws:tagkeys"

	keyEC2Region      = "ec2:region"
	keyEC2ResourceTag = "ec2:resourcetag/"
	keyInstance       = "ec2:instanceid"
	keyInstanceType   = "ec2:instancetype"
	keyInterface      = "ec2:networkinterfaceid"
	keySourceInstance = "ec2:sourceinstancearn" // whose credentials they are
	keySubnet         = "ec2:subnet"            // an ARN
	keyVPC            = "ec2:vpc"               // an ARN
	keyZone           = "ec2:availabilityzone"

	keyOverwrite      = "ssm:overwrite"
	keyRecursive      = "ssm:recursive"
	keySSMResourceTag = "ssm:resourcetag/"
)

// conditionKey tells whether the model knows a key, given in lower case, and whether it may have several values. A key that it does not
// know would be a condition that it cannot judge.
func conditionKey(name string) (several, known bool) {
	switch name {
	case keyTagKeys:
		return true, true
	case keyPrincipalARN, keyPrincipalAccount, keyUserID, keyUserName, keyRequestedRegion, keyResourceAccount, keySourceVPC, keySourceIPv4,
		keyEC2Region, keyInstance, keyInstanceType, keyInterface, keySourceInstance, keySubnet, keyVPC, keyZone, keyOverwrite, keyRecursive:
		return false, true
	}
	for _, prefix := range []string{keyRequestTag, keyResourceTag, keyEC2ResourceTag, keySSMResourceTag} {
		if tag, ok := strings.CutPrefix(name, prefix); ok && tag != "" {
			return false, true
		}
	}
	return false, false
}

// set gives a key its values.
func (k ConditionKeys) set(name string, values ...string) { k[strings.ToLower(name)] = values }
