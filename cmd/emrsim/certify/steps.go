package certify

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// step is a call, or a few. Its outcome is a line of text. An error that the judge answers with is
// an outcome, too.
type step struct {
	name string
	call call
	// says are the facts that the step is about.
	says []says
	// emulator: AWS must refuse it; if it did not, something outside of the prefix would be left.
	emulator bool
	// rude: it uses up a quota of the account for some seconds.
	rude bool
	// loose: the model's outcome is one of several possible ones, or a measurement.
	loose bool
}

type call func(ctx context.Context, s *side) (string, error)

// says is what the outcome of a step says about a fact: it is confirmed if the outcome begins with
// one of the texts, and otherwise contradicted.
type says struct {
	fact    string
	confirm []string
}

func about(fact string, confirm ...string) says { return says{fact, confirm} }

// steps returns all steps, in their order.
func steps() []step {
	list := append(puts(), gets()...)
	list = append(list, deletes()...)
	list = append(list, assigns()...)
	list = append(list, describes()...)
	return append(list, measures()...)
}

// outsideNames are names of parameters that AWS reserves.
var outsideNames = []string{"/aws/x", "awsx", "/ssm/x"}

func (s *side) put(ctx context.Context, name, value string, overwrite bool, tags ...ssmtypes.Tag) (string, error) {
	out, err := s.ssm.PutParameter(ctx, &ssm.PutParameterInput{Name: &name, Value: &value, Type: ssmtypes.ParameterTypeString, Overwrite: &overwrite, Tags: tags})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("version %d", out.Version), nil
}

// put returns a step that sets the parameter name below the run's path.
func put(name, value string, overwrite bool, tags ...ssmtypes.Tag) call {
	return func(ctx context.Context, s *side) (string, error) {
		return s.put(ctx, s.root()+"/"+name, value, overwrite, tags...)
	}
}

// putAt returns a step that sets a parameter with this very name.
func putAt(name func(*side) string) call {
	return func(ctx context.Context, s *side) (string, error) { return s.put(ctx, name(s), "v", false) }
}

// deep returns a name below the run's path with this number of levels.
func deep(levels int) func(*side) string {
	return func(s *side) string {
		return s.root() + strings.Repeat("/l", max(1, levels-strings.Count(s.root(), "/")))
	}
}

var tagAB = ssmtypes.Tag{Key: aws.String("a"), Value: aws.String("b")}

func puts() []step {
	named := func(name string) func(*side) string { return func(*side) string { return name } }
	below := func(rest string) func(*side) string { return func(s *side) string { return s.root() + rest } }
	list := []step{
		{name: "put creates", call: put("0", "v", false)},
		{name: "put on an existing name", call: put("0", "w", false), says: []says{about("ssm-exists", "400 ParameterAlreadyExists")}},
		{name: "put overwrites", call: put("0", "w", true)},
		{name: "put with tags and overwrite", call: put("0", "w", true, tagAB), says: []says{about("ssm-tags-overwrite", "400 ValidationException")}},
		{name: "put with tags", call: put("tagged", "v", false, tagAB)},
		{name: "put below", call: put("deep/er", "v", false)},
		{name: "put 4096 bytes", call: put("long", strings.Repeat("x", 4096), false), says: []says{about("ssm-bounds", "version 1")}},
		{name: "put 4097 bytes", call: put("longer", strings.Repeat("x", 4097), false), says: []says{about("ssm-bounds", "400 ValidationException")}},
		{name: "put an empty value", call: put("empty", "", false)},
		{name: "put a template", call: put("template", "{{x}}", false), says: []says{about("ssm-template", "400 ValidationException")}},
		{name: "put 15 levels", call: putAt(deep(15)), says: []says{about("ssm-bounds", "version 1")}},
		{name: "put 16 levels", call: putAt(deep(16)), says: []says{about("ssm-bounds", "400 HierarchyLevelLimitExceededException")}},
		{name: "put a name with a space", call: putAt(below("/a b")), says: []says{about("ssm-names", "400 ValidationException")}},
		{name: "put a path without a slash", call: putAt(func(s *side) string { return s.root()[1:] + "/x" }), says: []says{about("ssm-names", "400 ValidationException")}},
	}
	for i, name := range []string{"put below /aws", "put a name with aws", "put below /ssm"} {
		list = append(list, step{name: name, call: putAt(named(outsideNames[i])), emulator: true, says: []says{about("ssm-names", "400 ")}})
	}
	return list
}

// get returns a step that reads a parameter.
func get(name string) call {
	return func(ctx context.Context, s *side) (string, error) {
		out, err := s.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(s.root() + "/" + name)})
		if err != nil {
			return "", err
		}
		p := out.Parameter
		return fmt.Sprintf("%s=%s %s version %d %s %s", aws.ToString(p.Name), aws.ToString(p.Value), p.Type, p.Version, aws.ToString(p.DataType), aws.ToString(p.ARN)), nil
	}
}

func getMany(names ...string) call {
	return func(ctx context.Context, s *side) (string, error) {
		var full []string
		for _, n := range names {
			full = append(full, s.root()+"/"+n)
		}
		out, err := s.ssm.GetParameters(ctx, &ssm.GetParametersInput{Names: full})
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%d %v", len(out.Parameters), out.InvalidParameters), nil
	}
}

// byPath returns a step that lists the run's parameters, in the order of the answers.
func byPath(recursive bool, size int32) call {
	return func(ctx context.Context, s *side) (string, error) {
		in := &ssm.GetParametersByPathInput{Path: aws.String(s.root()), Recursive: &recursive}
		if size > 0 {
			in.MaxResults = &size
		}
		var names []string
		p := ssm.NewGetParametersByPathPaginator(s.ssm, in)
		for p.HasMorePages() {
			out, err := p.NextPage(ctx)
			if err != nil {
				return "", err
			}
			for _, x := range out.Parameters {
				names = append(names, aws.ToString(x.Name))
			}
		}
		return strings.Join(names, " "), nil
	}
}

func gets() []step {
	eleven := strings.Fields("0 1 2 3 4 5 6 7 8 9 10")
	return []step{
		{name: "get", call: get("0")},
		{name: "get a missing one", call: get("none"), says: []says{about("ssm-exists", "400 ParameterNotFound")}},
		{name: "get several", call: getMany("0", "none"), says: []says{about("ssm-names-per-read", "1 [/PREFIX/none]")}},
		{name: "get 11", call: getMany(eleven...), says: []says{about("ssm-names-per-read", "400 ValidationException")}},
		{name: "by path", call: byPath(false, 0)},
		{name: "by path, recursive", call: byPath(true, 0)},
		{name: "by path, pages of 1", call: byPath(true, 1)},
		{name: "by path, pages of 11", call: byPath(true, 11), says: []says{about("ssm-pages", "400 ValidationException")}},
		{name: "tag filter", call: func(ctx context.Context, s *side) (string, error) {
			out, err := s.ssm.DescribeParameters(ctx, &ssm.DescribeParametersInput{ParameterFilters: []ssmtypes.ParameterStringFilter{
				{Key: aws.String("tag:a"), Values: []string{"b"}}, {Key: aws.String("Path"), Option: aws.String("Recursive"), Values: []string{s.root()}},
			}})
			if err != nil {
				return "", err
			}
			var names []string
			for _, p := range out.Parameters {
				names = append(names, aws.ToString(p.Name))
			}
			return strings.Join(names, " "), nil
		}},
		{name: "add tags to a missing parameter", call: func(ctx context.Context, s *side) (string, error) {
			_, err := s.ssm.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{ResourceType: "Parameter", ResourceId: aws.String(s.root() + "/none"), Tags: []ssmtypes.Tag{tagAB}})
			return "ok", err
		}},
	}
}

func deleteOne(name string) call {
	return func(ctx context.Context, s *side) (string, error) {
		_, err := s.ssm.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String(s.root() + "/" + name)})
		return "ok", err
	}
}

func deletes() []step {
	return []step{
		{name: "delete several", call: func(ctx context.Context, s *side) (string, error) {
			out, err := s.ssm.DeleteParameters(ctx, &ssm.DeleteParametersInput{Names: []string{s.root() + "/long", s.root() + "/none"}})
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("%v %v", out.DeletedParameters, out.InvalidParameters), nil
		}},
		{name: "delete", call: deleteOne("0"), says: []says{about("ssm-unconditional", "ok")}},
		{name: "delete again", call: deleteOne("0"), says: []says{about("ssm-exists", "400 ParameterNotFound")}},
		{name: "put after deletion", call: put("0", "v", false), says: []says{about("ssm-recreate", "version 1")}},
	}
}
