package cloud

import (
	"net/http"
	"net/netip"
	"time"
)

// Switch is a fact about AWS that no source confirms, with the answers that AWS may give. The
// program must work with each of them.
type Switch struct {
	Fact      string // its id in the table of facts
	Positions []Position
}

// Position is one possible answer of AWS. Functions that are nil change nothing.
type Position struct {
	Name    string
	Options func(*Options)
	Cluster func(*ClusterSpec)
	// Subnet prepares the subnet in which the cluster is launched. pool has the addresses of the
	// core nodes.
	Subnet func(c *Cloud, vpcID, subnetID string, pool []netip.Addr)
	// Tagged says that the position is about records with tags: --claim-tag.
	Tagged bool
	// Without is an action that the nodes' policy lacks.
	Without string
	// Fails says that a run cannot succeed, and has to say why.
	Fails bool
}

// setting returns a position that only has options.
func setting(name string, set func(*Options)) Position { return Position{Name: name, Options: set} }

// refusal returns a position in which EC2 refuses an address with other words.
func refusal(name string, why Refusal, code, text string) Position {
	return setting(name, func(o *Options) {
		o.Unverified.Refusals = map[Refusal]Error{why: {Code: code, Message: text, Status: http.StatusBadRequest}}
	})
}

// delay returns positions for a range of the options that may be 0 or as long as each of long.
func delay(field func(*Options) *Range, long ...time.Duration) []Position {
	list := []Position{setting("at once", func(o *Options) { *field(o) = Exactly(time.Nanosecond) })}
	for _, d := range long {
		list = append(list, setting(d.String(), func(o *Options) { *field(o) = Exactly(d) }))
	}
	return list
}

// silent returns a position in which IMDS does not answer for the first 20 s.
func silent(name string, mode BootMode) Position {
	return setting(name, func(o *Options) { o.IMDSBoot, o.IMDSBootMode = Exactly(20*time.Second), mode })
}

// files returns a position with another guess of EMR's files.
func files(name string, guess FileGuess, cluster func(*ClusterSpec)) Position {
	return Position{Name: name, Options: func(o *Options) { o.Unverified.Files = guess }, Cluster: cluster}
}

func fleets(s *ClusterSpec)       { s.Fleets = true }
func threeMasters(s *ClusterSpec) { s.Masters = 3 }
func secondENI(s *ClusterSpec)    { s.SecondENIOnMaster = true }

const assignAction = "ec2:AssignPrivateIpAddresses"

// owner is an account that shares a VPC.
const owner = "999988887777"

func share(c *Cloud, vpcID, _ string, _ []netip.Addr) { c.ShareVPC(vpcID, owner) }

func public(c *Cloud, _, subnetID string, _ []netip.Addr) { c.MapPublicIP(subnetID) }

// hide has another account hold the pool's first address where no describe call shows it, as an
// address of a delegated prefix is.
func hide(c *Cloud, vpcID, subnetID string, pool []netip.Addr) {
	share(c, vpcID, subnetID, pool)
	c.AddForeignENI(subnetID, netip.MustParseAddr("10.0.1.250"), pool[0])
}

// Switches returns what is not verified and can be set in the model.
func Switches() []Switch {
	return []Switch{
		{"assign-held-words", []Position{
			setting("as seen", nil),
			refusal("another text", RefusedHeld, "InvalidParameterValue", "The address is in use by another network interface."),
			refusal("another code", RefusedHeld, "InvalidIPAddress.InUse", "Address is in use."),
		}},
		{"assign-primary-words", []Position{
			setting("as seen", nil),
			refusal("another text", RefusedPrimary, "InvalidParameterValue", "The address is a primary address."),
			refusal("another code", RefusedPrimary, "InvalidIPAddress.InUse", "Address is in use."),
		}},
		{"assign-in-prefix", []Position{
			setting("no prefix", nil),
			{Name: "an unknown code", Subnet: hide, Options: refusal("", RefusedHeld, "InvalidParameterCombination", "The request is not valid.").Options},
			{Name: "the usual code", Subnet: hide},
		}},
		{"assign-again", []Position{
			setting("success", func(o *Options) { o.AssignSameENI = OutcomeSuccess }),
			setting("refused", func(o *Options) { o.AssignSameENI = OutcomeError }),
		}},
		{"assign-permission-first", []Position{
			{Name: "the permission", Without: assignAction, Fails: true},
			{Name: "the address", Without: assignAction, Fails: true, Options: func(o *Options) { o.Unverified.AddressFirst = true }},
		}},
		{"assign-after-unassign", delay(func(o *Options) *Range { return &o.Unverified.FreeDelay }, 10*time.Second)},
		{"unassign-absent", []Position{
			setting("refused", nil),
			setting("success", func(o *Options) { o.Unverified.UnassignAbsent = true }),
		}},
		{"imds-lag", delay(func(o *Options) *Range { return &o.IMDSDelay }, 30*time.Second, time.Minute)},
		{"imds-boot", []Position{silent("refuses", BootRefuse), silent("hangs", BootHang), silent("fails", BootError), silent("has nothing", BootNotFound)}},
		{"imds-credentials", delay(func(o *Options) *Range { return &o.Unverified.CredentialsDelay }, 3*time.Second)},
		{"shutdown-time", delay(func(o *Options) *Range { return &o.ShutdownTime }, 30*time.Second, 5*time.Minute)},
		{"public-second-eni", []Position{
			{Name: "none", Subnet: public, Cluster: secondENI},
			{Name: "one", Subnet: public, Cluster: secondENI, Options: func(o *Options) { o.Unverified.PublicSecondENI = true }},
		}},
		{"shared-subnet-arn", []Position{
			{Name: "the owner's account", Subnet: share},
			{Name: "the caller's account", Subnet: share, Options: func(o *Options) { o.Unverified.ShareARNOwn = true }},
		}},
		{"shared-assign", []Position{
			{Name: "allowed", Subnet: share},
			{Name: "denied", Subnet: share, Options: func(o *Options) { o.Unverified.ShareRefuses = true }, Fails: true},
		}},
		{"ssm-burst", []Position{
			setting("one call", func(o *Options) { o.Quotas = WithSSMBurst(DefaultQuotas(), 0) }),
			setting("one second", func(o *Options) { o.Quotas = DefaultQuotas() }),
			setting("ten seconds", func(o *Options) { o.Quotas = WithSSMBurst(DefaultQuotas(), 10) }),
		}},
		{"ssm-read-lag", []Position{
			setting("none", nil),
			setting("up to 10 s", func(o *Options) { o.StaleSSM = Staleness{Probability: 0.5, MaxAge: 10 * time.Second} }),
		}},
		{"ssm-concurrent-creates", []Position{
			setting("one succeeds", nil),
			setting("both succeed", func(o *Options) { o.ConcurrentCreates = Race{Probability: 1, Window: time.Second} }),
		}},
		{"ssm-recreate", []Position{
			setting("accepted", nil),
			setting("refused", func(o *Options) { o.Recreate = Recreate{Refuse: 1} }),
			setting("accepted and lost", func(o *Options) { o.Recreate = Recreate{Lose: 1} }),
		}},
		{"ssm-tag-permission", []Position{
			{Name: "needed", Tagged: true},
			{Name: "not needed", Tagged: true, Options: func(o *Options) { o.Unverified.TagsAlone = true }},
		}},
		{"ssm-tag-policy", []Position{
			{Name: "no policy", Tagged: true},
			{Name: "a code of its own", Tagged: true, Fails: true, Options: func(o *Options) {
				o.Unverified.TagPolicy = Error{Code: "TagPolicyException", Message: "The tag policy does not allow the specified value.", Status: http.StatusBadRequest}
			}},
			{Name: "a ValidationException", Tagged: true, Fails: true, Options: func(o *Options) {
				o.Unverified.TagPolicy = *validation("The tag policy does not allow the specified value for the following tag key: 'team'.")
			}},
		}},
		{"files-fleet", []Position{
			files("as the API", FilesByAPI, fleets),
			files("as groups, with units", FilesFleetAsGroups, fleets),
			files("roles in capitals", FilesCapitals, fleets),
		}},
		{"files-three-masters", []Position{
			files("as the API", FilesByAPI, threeMasters),
			files("as one master", FilesOneOfThree, threeMasters),
		}},
		{"files-local-instance", []Position{
			files("the node's own", FilesLocalInstance, nil),
			files("missing", FilesByAPI, nil),
		}},
		{"files-emr8", []Position{
			files("as EMR 7", FilesByAPI, nil),
			files("none", FilesNone, nil),
		}},
	}
}
