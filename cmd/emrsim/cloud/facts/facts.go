// Package facts is the table of what this project takes AWS and EMR to do: each behaviour with its
// source, or without one, and what in the code follows from it. README.md is made from it.
//
// A fact without a source is not verified. The program must then work whatever AWS does. Either
// [cloud.Switches] has the possible answers, and every answer is tested; or the fact names tests.
package facts

// Fact is a behaviour of AWS or EMR.
type Fact struct {
	ID      string
	Says    string   // the behaviour, in Markdown
	Sources []string // addresses of what says so; none: not verified
	Heard   string   // where a fact that is not verified was seen
	// Follows is what in the code follows, in Markdown. Texts in backquotes are symbols of the code
	// (ssmcoord.ReadLag, cloud.Options.StaleSSM), flags (--timeout), or files.
	Follows string
	// Tests show that the program works either way, where the model has no switch.
	Tests []string
}

// Verified reports whether a source says so.
func (f Fact) Verified() bool { return len(f.Sources) > 0 }

// Group is the facts about one service or subject.
type Group struct {
	Title string
	Facts []Fact
}

// documented returns a fact that has sources.
func documented(id, says, follows string, sources ...string) Fact {
	return Fact{ID: id, Says: says, Follows: follows, Sources: sources}
}

// unverified returns a fact that has no source.
func unverified(id, says, heard, follows string, tests ...string) Fact {
	return Fact{ID: id, Says: says, Heard: heard, Follows: follows, Tests: tests}
}

// The beginnings of sources.
const (
	docs   = "https://docs.aws.amazon.com/"
	ec2API = docs + "AWSEC2/latest/APIReference/"
	ec2UG  = docs + "AWSEC2/latest/UserGuide/"
	ec2Dev = docs + "ec2/latest/devguide/"
	asUG   = docs + "autoscaling/ec2/userguide/"
	vpcUG  = docs + "vpc/latest/userguide/"
	ssmAPI = docs + "systems-manager/latest/APIReference/"
	quotas = docs + "general/latest/gr/ssm.html"
	emrMG  = docs + "emr/latest/ManagementGuide/"
	emrAPI = docs + "emr/latest/APIReference/"
	emrRG  = docs + "emr/latest/ReleaseGuide/"
	iamUG  = docs + "IAM/latest/UserGuide/"
	policy = docs + "aws-managed-policy/latest/reference/"
	github = "https://github.com/"
)

// All returns the table.
func All() []Group {
	return []Group{
		{"EC2: addresses", addresses()},
		{"EC2: instances and calls", instances()},
		{"IMDS and credentials", metadata()},
		{"The network", network()},
		{"Parameter Store", parameters()},
		{"EMR: nodes and clusters", clusters()},
		{"EMR: files and systems", systems()},
	}
}

// Find returns the fact with the id.
func Find(id string) (Fact, bool) {
	for _, g := range All() {
		for _, f := range g.Facts {
			if f.ID == id {
				return f, true
			}
		}
	}
	return Fact{}, false
}
