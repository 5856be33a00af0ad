package certify

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// pollPause is the time between two looks for a change.
const pollPause = 200 * time.Millisecond

// until repeats a look until it shows what it should, and returns how long that took as a text. The
// first word says whether the first look showed it.
func (s *side) until(ctx context.Context, look func() (bool, error)) (string, error) {
	began := time.Now()
	for n := 0; ; n++ {
		shown, err := look()
		switch {
		case err != nil:
			return "", err
		case shown && n == 0:
			return "at once", nil
		case shown:
			return fmt.Sprintf("late: after %.1f s", time.Since(began).Seconds()), nil
		case time.Since(began) > s.Lag:
			return fmt.Sprintf("not within %s", s.Lag), nil
		}
		if err := s.wait(ctx, pollPause); err != nil {
			return "", err
		}
	}
}

// readsBack returns whether a read shows the value.
func (s *side) readsBack(ctx context.Context, name, value string) (bool, error) {
	out, err := s.ssm.GetParameters(ctx, &ssm.GetParametersInput{Names: []string{name}})
	if err != nil {
		return false, err
	}
	return len(out.Parameters) == 1 && aws.ToString(out.Parameters[0].Value) == value, nil
}

// shows returns whether describe calls show all these addresses on an interface.
func (s *side) shows(ctx context.Context, eni string, addresses ...netip.Addr) (bool, error) {
	out, err := s.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{eni}})
	if err != nil || len(out.NetworkInterfaces) != 1 {
		return false, err
	}
	shown := map[string]bool{}
	for _, a := range out.NetworkInterfaces[0].PrivateIpAddresses {
		shown[aws.ToString(a.PrivateIpAddress)] = true
	}
	return !slices.ContainsFunc(addresses, func(a netip.Addr) bool { return !shown[a.String()] }), nil
}

func measures() []step {
	return []step{
		{name: "lag of a read after a write", loose: true, call: readLag, says: []says{about("ssm-read-lag", "at once")}},
		{name: "lag of describe after assign", loose: true, call: describeLag(true), says: []says{about("describe-late", "at once", "late: after ")}},
		{name: "lag of describe after unassign", loose: true, call: describeLag(false), says: []says{about("describe-late", "at once", "late: after ")}},
		{name: "two creations at once", loose: true, call: createTwice, says: []says{about("ssm-concurrent-creates", "one each")}},
		{name: "creation after a deletion", loose: true, call: recreate, says: []says{about("ssm-recreate", "accepted and kept")}},
		{name: "writes without a pause", loose: true, rude: true, call: burst, says: []says{about("ssm-burst", "throttled after 3 ", "throttled after 4 "), about("rate-ssm", "throttled "), about("throttle-codes", "throttled ")}},
	}
}

// readLag writes a value three times and reads it at once.
func readLag(ctx context.Context, s *side) (string, error) {
	name := s.root() + "/lag"
	worst := ""
	for n := range 3 {
		value := fmt.Sprintf("value %d", n)
		if _, err := s.put(ctx, name, value, true); err != nil {
			return "", err
		}
		lag, err := s.until(ctx, func() (bool, error) { return s.readsBack(ctx, name, value) })
		if err != nil {
			return "", err
		}
		worst = max(worst, lag) // in the order of the alphabet: at once, late, not
		if err := s.wait(ctx, s.Pause); err != nil {
			return "", err
		}
	}
	return worst, nil
}

func describeLag(assigned bool) call {
	return func(ctx context.Context, s *side) (string, error) {
		a, err := s.place.free[2], error(nil)
		if assigned {
			_, err = s.assign(ctx, s.eni[0], false, a)
		} else {
			_, err = s.unassign(ctx, s.eni[0], a)
		}
		if err != nil {
			return "", err
		}
		return s.until(ctx, func() (bool, error) {
			shown, err := s.shows(ctx, s.eni[0], a)
			return shown == assigned, err
		})
	}
}

// createTwice creates a name twice at the same time, for three names.
func createTwice(ctx context.Context, s *side) (string, error) {
	both := "one each"
	var losers []string
	for range 3 {
		s.twice++ // names of their own, also if the step is repeated
		name := fmt.Sprintf("%s/twice-%d", s.root(), s.twice)
		var errs [2]error
		var pair sync.WaitGroup
		for i := range errs {
			pair.Go(func() { _, errs[i] = s.put(ctx, name, fmt.Sprintf("by %d", i), false) })
		}
		pair.Wait()
		created := 0
		for _, err := range errs {
			switch {
			case err == nil:
				created++
			case code(err) == "" || isThrottled(err):
				return "", err
			case code(err) != "ParameterAlreadyExists":
				losers = append(losers, code(err))
			}
		}
		if created != 1 {
			both = fmt.Sprintf("%d creations of one name succeeded", created)
		}
		if err := s.wait(ctx, 3*s.Pause); err != nil {
			return "", err
		}
	}
	if len(losers) > 0 {
		slices.Sort(losers)
		both += "; the other one: " + strings.Join(slices.Compact(losers), ", ")
	}
	return both, nil
}

// recreate creates a name right after its deletion, and looks whether it stays.
func recreate(ctx context.Context, s *side) (string, error) {
	name := s.root() + "/again"
	if _, err := s.put(ctx, name, "first", true); err != nil {
		return "", err
	}
	if err := s.wait(ctx, s.Pause); err != nil {
		return "", err
	}
	if _, err := s.ssm.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: &name}); err != nil {
		return "", err
	}
	if _, err := s.put(ctx, name, "second", false); err != nil {
		if code(err) == "" || isThrottled(err) {
			return "", err
		}
		return "refused: " + code(err), nil
	}
	if shown, err := s.until(ctx, func() (bool, error) { return s.readsBack(ctx, name, "second") }); err != nil || strings.HasPrefix(shown, "not ") {
		return "accepted and lost", err
	}
	if err := s.wait(ctx, min(s.Lag, 5*time.Second)); err != nil {
		return "", err
	}
	if kept, err := s.readsBack(ctx, name, "second"); err != nil || !kept {
		return "accepted, and lost later", err
	}
	return "accepted and kept", nil
}

// mostWrites bounds the writes of burst.
const mostWrites = 12

// burst writes without a pause until AWS throttles it, after a rest in which the quota fills up.
func burst(ctx context.Context, s *side) (string, error) {
	if err := s.wait(ctx, 3*s.Pause); err != nil {
		return "", err
	}
	began := time.Now()
	for n := range mostWrites {
		_, err := s.put(ctx, s.root()+"/burst", fmt.Sprintf("value %d", n), true)
		switch {
		case isThrottled(err):
			return fmt.Sprintf("throttled after %d writes in %.1f s: %s", n, time.Since(began).Seconds(), code(err)), nil
		case err != nil:
			return "", errors.Join(fmt.Errorf("write %d", n), err)
		}
	}
	return fmt.Sprintf("not throttled: %d writes in %.1f s", mostWrites, time.Since(began).Seconds()), nil
}
