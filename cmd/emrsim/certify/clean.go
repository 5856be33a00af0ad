package certify

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// LeftError says what could not be removed.
type LeftError struct {
	Interfaces, Parameters []string
	Err                    error
}

func (e *LeftError) Error() string {
	left := append(slices.Clone(e.Interfaces), e.Parameters...)
	if len(left) == 0 {
		return fmt.Sprintf("it is not known whether all was removed: %v", e.Err)
	}
	return fmt.Sprintf("not removed: %s: %v", strings.Join(left, ", "), e.Err)
}

// Unwrap returns why.
func (e *LeftError) Unwrap() error { return e.Err }

// Removed is what a cleanup has removed.
type Removed struct{ Interfaces, Parameters []string }

// Cleanup removes what earlier runs have left in the subnet and below the prefix.
func Cleanup(ctx context.Context, j Judge) (Removed, error) {
	s := open(j)
	defer s.guard.close()
	s.guard.all = true
	if s.Subnet == "" {
		out, err := s.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{})
		if err != nil {
			return Removed{}, fmt.Errorf("looking for the subnet: %w", err)
		}
		if len(out.Subnets) == 0 {
			return Removed{}, errors.New("the account has no subnet: name one with --subnet")
		}
		s.Subnet = aws.ToString(out.Subnets[0].SubnetId)
	}
	return s.remove(ctx, "")
}

// clean removes what this run has made.
func (s *side) clean(ctx context.Context) error {
	s.guard.mu.Lock()
	changed := s.guard.changed
	s.guard.mu.Unlock()
	if !changed {
		return nil // the run ended before it made anything
	}
	_, err := s.remove(ctx, s.Run)
	return err
}

// latePause is the time between two looks for an interface that describe calls may show late.
const latePause = time.Second

// attempts is how often a removal is repeated that fails.
const attempts = 5

// remove removes the interfaces and parameters of a run, or of all runs. It looks until there is
// nothing to remove any more, since what was just made may be shown late. If there was no answer to
// the call that makes an interface, it looks for as long as describe calls may be late: nothing
// else has the interface's id.
func (s *side) remove(ctx context.Context, run string) (done Removed, err error) {
	failures := 0
	s.guard.mu.Lock()
	late := time.Duration(0)
	if s.guard.unsure {
		late = s.Lag
	}
	s.guard.mu.Unlock()
	for {
		interfaces, err := s.removeInterfaces(ctx, run)
		done.Interfaces = merge(done.Interfaces, interfaces)
		parameters, perr := s.removeParameters(ctx, run)
		done.Parameters = merge(done.Parameters, parameters)
		switch err = errors.Join(err, perr); {
		case err == nil && len(interfaces)+len(parameters) == 0 && late <= 0:
			return done, nil
		case err == nil && len(interfaces)+len(parameters) == 0:
			if err := s.wait(ctx, min(latePause, late)); err != nil {
				return done, s.left(run, err)
			}
			late -= latePause
			continue
		case err != nil:
			failures++
		}
		if err != nil && (ctx.Err() != nil || failures == attempts) {
			return done, s.left(run, err)
		}
		if err := s.wait(ctx, max(time.Duration(failures)*s.Pause, 10*time.Millisecond)); err != nil {
			return done, s.left(run, err)
		}
	}
}

func merge(list, more []string) []string {
	list = append(list, more...)
	slices.Sort(list)
	return slices.Compact(list)
}

// left returns the error that says what is left, as far as that is known.
func (s *side) left(run string, cause error) error {
	e := &LeftError{Err: cause}
	for id := range s.made {
		e.Interfaces = append(e.Interfaces, id)
	}
	slices.Sort(e.Interfaces)
	if run != "" {
		e.Parameters = []string{s.root() + "/*"}
	}
	return e
}

// removeInterfaces deletes interfaces that a run has made, and returns those that it deleted.
func (s *side) removeInterfaces(ctx context.Context, run string) (deleted []string, err error) {
	list, err := s.interfaces(ctx, true)
	if err != nil {
		return nil, fmt.Errorf("looking for interfaces: %w", err)
	}
	var ids []string
	s.guard.mu.Lock()
	for _, e := range list {
		if id := aws.ToString(e.NetworkInterfaceId); run == "" || runOf(e) == run {
			ids = append(ids, id)
			s.guard.cleaning[id] = true
		}
	}
	ids = append(ids, slices.Collect(maps.Keys(s.made))...) // describe calls may not show them yet
	s.guard.mu.Unlock()
	slices.Sort(ids)
	var problems []error
	for _, id := range slices.Compact(ids) {
		_, err := s.ec2.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &id})
		switch {
		case err == nil:
			deleted = append(deleted, id)
		case !isGone(err):
			problems = append(problems, fmt.Errorf("deleting %s: %w", id, err))
			continue
		}
		s.guard.mu.Lock()
		delete(s.made, id)
		s.guard.mu.Unlock()
	}
	return deleted, errors.Join(problems...)
}

// mostNames is how many names a DeleteParameters takes.
const mostNames = 10

// removeParameters deletes parameters of a run, and returns those that it deleted.
func (s *side) removeParameters(ctx context.Context, run string) (deleted []string, err error) {
	path := s.root()
	if run == "" {
		path = s.Prefix
	}
	s.guard.mu.Lock()
	names := slices.Collect(maps.Keys(s.guard.written)) // reads may not show them yet
	s.guard.mu.Unlock()
	p := ssm.NewGetParametersByPathPaginator(s.ssm, &ssm.GetParametersByPathInput{Path: &path, Recursive: aws.Bool(true)})
	for p.HasMorePages() {
		out, err := p.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("looking for parameters below %s: %w", path, err)
		}
		for _, x := range out.Parameters {
			if name := aws.ToString(x.Name); strings.HasPrefix("/"+strings.TrimPrefix(name, "/"), s.Prefix+"/"+rootStart) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	var problems []error
	for some := range slices.Chunk(slices.Compact(names), mostNames) {
		out, err := s.ssm.DeleteParameters(ctx, &ssm.DeleteParametersInput{Names: some})
		if err != nil {
			problems = append(problems, fmt.Errorf("deleting %s: %w", strings.Join(some, ", "), err))
			continue
		}
		deleted = append(deleted, out.DeletedParameters...)
		s.guard.mu.Lock()
		for _, name := range some {
			delete(s.guard.written, name)
		}
		s.guard.mu.Unlock()
		if err := s.wait(ctx, s.Pause); err != nil {
			return deleted, err
		}
	}
	return deleted, errors.Join(problems...)
}

// noteCreated notes the interface of an answer to CreateNetworkInterface, even if the caller has
// given up meanwhile.
func (s *side) noteCreated(answer []byte) {
	var made struct {
		Interface struct {
			ID string `xml:"networkInterfaceId"`
		} `xml:"networkInterface"`
	}
	if xml.Unmarshal(answer, &made) == nil && made.Interface.ID != "" {
		s.guard.mu.Lock()
		s.made[made.Interface.ID] = true
		s.guard.mu.Unlock()
	}
}
