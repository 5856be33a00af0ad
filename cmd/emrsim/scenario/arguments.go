package scenario

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"regexp"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/cli"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// Understand parses the arguments of a bootstrap action with the agent's own command line, so that
// a rehearsal expects the same as the agent. Its error has the agent's words.
func Understand(args []string) (agent.Config, error) {
	var wanted agent.Config
	read := func(_ context.Context, c agent.Config, _ agent.Environment) (agent.Report, error) {
		wanted = c
		return agent.Report{}, nil
	}
	refuse := func(context.Context, agent.Config, agent.Environment) (agent.Report, error) {
		return agent.Report{}, errors.New("only apply can be rehearsed")
	}
	var problems strings.Builder
	env := agent.Environment{Stdout: io.Discard, Stderr: &problems, LookupEnv: func(string) (string, bool) { return "", false }}
	// Main only parses the command line here and does not wait for anything.
	if code := (cli.Program{Apply: read, Release: refuse}).Main(context.Background(), args, env); code != agent.ExitOK {
		return wanted, errors.New(strings.TrimSpace(problems.String()))
	}
	if wanted.Pools.Empty() {
		return wanted, ErrNoAddresses
	}
	return wanted, nil
}

// ErrNoAddresses means that the arguments name no address.
var ErrNoAddresses = errors.New("no addresses: emrsim launch -- MASTER_IP CORE_IP")

// Account returns the options of an ordinary AWS account: AWS's quotas, calls that take some time,
// and addresses that EC2's describe calls and IMDS show a little late.
func Account(seed uint64) cloud.Options {
	if seed == 0 {
		seed = rand.Uint64()
	}
	return cloud.Options{
		Seed:       seed,
		Quotas:     cloud.DefaultQuotas(),
		Latency:    func(r *rand.Rand, _ cloud.Call) time.Duration { return time.Duration(5+r.IntN(30)) * time.Millisecond },
		RemapDelay: cloud.Range{Max: time.Second},
		IMDSDelay:  cloud.Range{Max: 2 * time.Second},
	}
}

// ReleaseLabel completes emr-7.x to an existing release. It reports whether the result has the form
// of a release label.
func ReleaseLabel(release string) (string, bool) {
	switch release {
	case "emr-5.x":
		release = "emr-5.36.2"
	case "emr-6.x":
		release = "emr-6.15.0"
	case "emr-7.x":
		release = "emr-7.5.0"
	case "emr-spark-8.x":
		release = "emr-spark-8.0.0"
	}
	return release, releases.MatchString(release)
}

// releases matches the release labels of EMR.
var releases = regexp.MustCompile(`^emr-(spark-)?[5-9]\.\d+\.\d+$`)
