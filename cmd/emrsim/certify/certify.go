// Package certify compares the model of AWS with a judge: an emulator, or AWS itself. It makes the
// same calls to both, records requests and answers, and says which facts of the table the judge
// confirms and which it contradicts.
//
// It makes network interfaces of its own in one subnet, and parameters below one prefix. A guard in
// front of the connection lets no other change through. All of it is removed at the end, also after
// an interruption; what a killed run leaves is found by its tag and its prefix.
package certify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// Judge is what the model is compared with.
type Judge struct {
	Name   string     // of the recording: "moto 5.2.1", "AWS us-east-1"
	Config aws.Config // region, credentials, endpoint
	// Transport makes the calls. Nil means a transport of its own.
	Transport http.RoundTripper
	Subnet    string // subnet-...; empty: the first that the judge lists, which AWS does not allow
	Prefix    string // of the parameters: /certify
	Run       string // id of the run: lower-case letters and digits
	// Gentle leaves out what disturbs others in the account: the call rates that are used up.
	Gentle bool
	// Emulator also makes calls that AWS has to refuse and whose success would leave something
	// outside the prefix.
	Emulator bool
	// Pause is the time after each write to Parameter Store. It keeps to AWS's quotas.
	Pause time.Duration
	// Lag bounds how long a read is repeated until it shows a change.
	Lag time.Duration
	// Progress receives a line for each step. Nil means none.
	Progress io.Writer

	// sleep waits. Nil means real time.
	sleep      func(context.Context, time.Duration) error
	unrecorded bool // the calls are not recorded, which takes most of the time of a test
}

// OwnEndpoint returns an endpoint that the settings name in place of AWS's, or "": by a variable of
// one service, or in a shared file.
func OwnEndpoint(cfg aws.Config) string {
	for _, at := range []*string{ec2.NewFromConfig(cfg).Options().BaseEndpoint, ssm.NewFromConfig(cfg).Options().BaseEndpoint} {
		if at != nil {
			return *at
		}
	}
	return ""
}

// Tag is the tag of every interface that a run makes. Its value is the id of the run.
const Tag = "emr-static-ip:certify"

// maxCalls bounds the calls of a run. A run makes about 100.
const maxCalls = 400

// side is a judge with what a run has made there.
type side struct {
	Judge
	ssm   *ssm.Client
	ec2   *ec2.Client
	guard *guard
	words *words
	place place
	eni   [2]string
	twice int                 // names that createTwice has used
	made  map[string]bool     // interfaces
	holds map[netip.Addr]bool // addresses that the judge has given to these interfaces
}

func open(j Judge) *side {
	base := j.Transport
	if base == nil {
		base = http.DefaultTransport.(*http.Transport).Clone()
	}
	s := &side{Judge: j, words: newWords(), made: map[string]bool{}, holds: map[netip.Addr]bool{}}
	s.guard = &guard{next: base, side: s, cleaning: map[string]bool{}, written: map[string]bool{}}
	cfg := j.Config.Copy()
	cfg.HTTPClient = &http.Client{Transport: s.guard}
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} } // each answer counts
	s.ssm, s.ec2 = ssm.NewFromConfig(cfg), ec2.NewFromConfig(cfg)
	s.words.know(s.root(), "/PREFIX")
	s.words.know(s.root()[1:], "PREFIX")
	s.words.know(j.Run, "RUN")
	return s
}

// root is the path of the run's parameters.
func (s *side) root() string { return s.Prefix + "/" + rootStart + s.Run }

// rootStart is the beginning of the last level of root.
const rootStart = "certify-"

// cleaningTime is what is left for removing what a run made after it was interrupted.
const cleaningTime = 2 * time.Minute

// Run makes all steps and removes what they made. The recording has the steps that were made, also
// if there is an error. A *LeftError says what could not be removed.
func Run(ctx context.Context, j Judge) (rec Recording, err error) {
	s := open(j)
	defer s.guard.close()
	rec = Recording{Form: recordingForm, Judge: j.Name, Made: time.Now().UTC().Format(time.DateOnly)}
	defer func() {
		// A signal has ended ctx: what was made is removed all the same.
		cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleaningTime)
		defer cancel()
		err = errors.Join(err, s.clean(cleaning))
	}()
	if err := s.furnish(ctx); err != nil {
		return rec, err
	}
	for _, st := range steps() {
		if st.emulator && !j.Emulator || st.rude && j.Gentle {
			continue
		}
		done, err := s.step(ctx, st)
		if err != nil {
			return rec, fmt.Errorf("step %q: %w", st.name, err)
		}
		rec.Steps = append(rec.Steps, done)
		s.say("%-44s %s", st.name, shorten(done.Outcome, 120))
		if err := s.wait(ctx, time.Duration(done.writes())*j.Pause); err != nil {
			return rec, err
		}
	}
	return rec, nil
}

func (s *side) wait(ctx context.Context, d time.Duration) error {
	if s.sleep != nil {
		return s.sleep(ctx, d)
	}
	return pause.Sleep(ctx, d)
}

func (s *side) say(format string, args ...any) {
	if s.Progress != nil {
		fmt.Fprintf(s.Progress, format+"\n", args...)
	}
}

// tries is how often a step is made that somebody else's calls let AWS throttle.
const tries = 6

// step makes one step. AWS's refusals are outcomes. An error is that there was no answer, or that
// the run was ended.
func (s *side) step(ctx context.Context, st step) (Step, error) {
	for n := 1; ; n++ {
		began := time.Now()
		s.guard.calls = nil
		text, err := st.call(ctx, s)
		done := Step{Name: st.name, Seconds: milliseconds(time.Since(began)), Calls: s.guard.calls}
		switch {
		case err == nil:
			done.Outcome = s.words.in(text)
			return done, nil
		case ctx.Err() != nil:
			return done, context.Cause(ctx)
		case code(err) == "":
			return done, err
		case isThrottled(err) && n < tries && !st.rude:
			if err := s.wait(ctx, time.Duration(n)*s.Pause); err != nil {
				return done, err
			}
			continue
		}
		done.Outcome = s.words.in(fmt.Sprintf("%d %s: %s", statusOf(err), code(err), message(err)))
		return done, nil
	}
}

// milliseconds returns a duration in seconds, with three digits.
func milliseconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return text[:most] + "..."
}
