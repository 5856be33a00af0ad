package cloud

import (
	"net/netip"
	"time"
)

// Unverified has answers of AWS that no source confirms. The zero value is what the model takes to
// be likely. [Switches] lists what else may be true. Some older settings of [Options] are such
// answers, too.
type Unverified struct {
	// Refusals replaces the error with which EC2 refuses an address.
	Refusals map[Refusal]Error
	// AddressFirst makes EC2 look at the address before it looks at the permission to assign it.
	AddressFirst bool
	// FreeDelay is how long EC2 refuses an address that was just unassigned to other interfaces.
	FreeDelay Range
	// UnassignAbsent makes it a success to unassign an address that the interface does not have.
	UnassignAbsent bool
	// CredentialsDelay is how long after the launch IMDS has 404 for the role's credentials.
	CredentialsDelay Range
	// PublicSecondENI gives masters in public subnets EMR's second interface, too.
	PublicSecondENI bool
	// ShareRefuses denies the participants of a shared VPC to assign secondary addresses.
	ShareRefuses bool
	// ShareARNOwn puts the caller's account into the condition key ec2:Subnet of an interface in a
	// shared subnet, in place of the owner's.
	ShareARNOwn bool
	// TagsAlone lets a PutParameter with tags do without ssm:AddTagsToResource.
	TagsAlone bool
	// TagPolicy, if it has a code, is the answer to a PutParameter with tags that a tag policy of
	// AWS Organizations does not allow.
	TagPolicy Error
	// Files is how EMR's files on the nodes look where no sample is known.
	Files FileGuess
}

// Refusal is a reason for which EC2 refuses an address.
type Refusal int

// The reasons.
const (
	RefusedHeld     Refusal = iota // another interface has it as a secondary address
	RefusedPrimary                 // another interface has it as its primary address
	RefusedOutside                 // it is outside the subnet
	RefusedReserved                // AWS reserves it
)

// FileGuess is a form of EMR's files. No sample of it is known.
type FileGuess int

// The guesses.
const (
	FilesByAPI         FileGuess = iota // fields as in the EMR API: instanceFleetId, instanceFleetType
	FilesFleetAsGroups                  // a fleet's nodes have the fields of groups, with one entry and a count of units
	FilesCapitals                       // roles in capitals
	FilesOneOfThree                     // nothing says that there are three masters
	FilesLocalInstance                  // job-flow-state.txt has a localInstance, and the roles of other nodes
	FilesNone                           // there are no files
)

// refuse returns the error for an address that EC2 refuses.
func (c *Cloud) refuse(why Refusal, usual *Error) *Error {
	if e, ok := c.opts.Unverified.Refusals[why]; ok {
		return &e
	}
	return usual
}

// cooling reports whether the subnet keeps an address that was just unassigned.
func (s *subnet) cooling(a netip.Addr, now time.Time) bool { return now.Before(s.freeFrom[a]) }
