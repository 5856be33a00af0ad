package cloud

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

func putInput(name, value string) *ssm.PutParameterInput {
	return &ssm.PutParameterInput{Name: aws.String(name), Value: aws.String(value), Type: ssmtypes.ParameterTypeString}
}

func TestParameterLife(t *testing.T) {
	bothWays(t, Options{}, func(t *testing.T, w *world, c clients) {
		ctx := ctxFor(t)
		name := "/emr-static-ip/" + w.subnet + "/10.0.1.20"
		value := `{"v":1,"note":"<&>\" ü"}`
		if out, err := c.ssm.PutParameter(ctx, putInput(name, value)); err != nil || out.Version != 1 {
			t.Fatalf("create: %v %v", out, err)
		}
		_, err := c.ssm.PutParameter(ctx, putInput(name, "other"))
		if code(err) != "ParameterAlreadyExists" || statusOf(err) != 400 {
			t.Fatalf("create again: %v", err)
		}
		out, err := c.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
		if err != nil || *out.Parameter.Value != value || out.Parameter.Version != 1 || out.Parameter.LastModifiedDate == nil {
			t.Fatalf("get: %+v %v", out, err)
		}
		in := putInput(name, "new")
		in.Overwrite = aws.Bool(true)
		if out, err := c.ssm.PutParameter(ctx, in); err != nil || out.Version != 2 {
			t.Fatalf("overwrite: %v %v", out, err)
		}
		if _, err := c.ssm.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: &name}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.ssm.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: &name}); code(err) != "ParameterNotFound" {
			t.Fatalf("delete again: %v", err)
		}
		if _, err := c.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: &name}); code(err) != "ParameterNotFound" {
			t.Fatalf("get deleted: %v", err)
		}
		if out, err := c.ssm.PutParameter(ctx, putInput(name, "again")); err != nil || out.Version != 1 {
			t.Fatalf("create after delete: %v %v", out, err)
		}
		if p := w.Parameters(); len(p) != 1 || p[0].Value != "again" || p[0].ModifiedBy != w.cores[0].InstanceID {
			t.Fatalf("snapshot: %+v", p)
		}
	})
}

func TestParameterRules(t *testing.T) {
	long := strings.Repeat("x", 4097)
	deep := strings.Repeat("/a", 15)
	for _, test := range []struct{ name, value, want string }{
		{"plain", "v", ""},
		{"/a.b/c-d/e_f", "v", ""},
		{deep, "v", ""},
		{deep + "/a", "v", "HierarchyLevelLimitExceededException"},
		{"a/b", "v", "ValidationException"},
		{"/a b", "v", "ValidationException"},
		{"/a:b", "v", "ValidationException"},
		{"awsthing", "v", "ValidationException"},
		{"/aws/thing", "v", "AccessDeniedException"},
		{"SSM-thing", "v", "ValidationException"},
		{"/ssm/thing", "v", "ValidationException"},
		{"/x/", "v", "ValidationException"},
		{"/ok", "", "ValidationException"},
		{"/ok", long, "ValidationException"},
		{"/ok", long[:4096], ""},
		{"/template", "a {{b}}", "ValidationException"},
	} {
		w := newWorld(t, Options{})
		_, err := w.on("").ssm.PutParameter(ctxFor(t), putInput(test.name, test.value))
		if code(err) != test.want {
			t.Errorf("%q = %.20q: %v, want %q", test.name, test.value, err, test.want)
		}
	}
}

func TestPutWithTags(t *testing.T) {
	w := newWorld(t, Options{})
	c, ctx := w.on(""), ctxFor(t)
	in := putInput("/x", "v")
	in.Tags = []ssmtypes.Tag{{Key: aws.String("a"), Value: aws.String("b")}}
	if _, err := c.ssm.PutParameter(ctx, in); err != nil {
		t.Fatal(err)
	}
	in.Overwrite = aws.Bool(true)
	if _, err := c.ssm.PutParameter(ctx, in); code(err) != "ValidationException" {
		t.Errorf("tags with overwrite: %v", err)
	}
	id := aws.String("/x")
	if _, err := c.ssm.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{ResourceType: ssmtypes.ResourceTypeForTaggingParameter, ResourceId: id,
		Tags: []ssmtypes.Tag{{Key: aws.String("c"), Value: aws.String("d")}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ssm.RemoveTagsFromResource(ctx, &ssm.RemoveTagsFromResourceInput{ResourceType: ssmtypes.ResourceTypeForTaggingParameter, ResourceId: id,
		TagKeys: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	out, err := c.ssm.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: ssmtypes.ResourceTypeForTaggingParameter, ResourceId: id})
	if err != nil || len(out.TagList) != 1 || *out.TagList[0].Key != "c" {
		t.Errorf("tags: %+v %v", out, err)
	}
	if _, err := c.ssm.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{ResourceType: ssmtypes.ResourceTypeForTaggingParameter, ResourceId: aws.String("/none"),
		Tags: in.Tags}); code(err) != "InvalidResourceId" {
		t.Errorf("tagging a missing parameter: %v", err)
	}
}

// TestLengthsAreCharacters checks that limits of tags and filters count characters, as AWS does.
func TestLengthsAreCharacters(t *testing.T) {
	w := newWorld(t, Options{})
	c, ctx := w.on(""), ctxFor(t)
	for _, test := range []struct {
		key, value string
		refused    bool
	}{
		{strings.Repeat("ü", 128), strings.Repeat("語", 256), false},
		{"k", "", false},
		{strings.Repeat("ü", 129), "", true},
		{"k", strings.Repeat("語", 257), true},
		{"", "v", true},
	} {
		tags := []ssmtypes.Tag{{Key: aws.String(test.key), Value: aws.String(test.value)}}
		in := putInput("/x", "v")
		in.Tags = tags
		_, put := c.ssm.PutParameter(ctx, in)
		if put != nil {
			c.ssm.PutParameter(ctx, putInput("/x", "v"))
		}
		_, add := c.ssm.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{ResourceType: ssmtypes.ResourceTypeForTaggingParameter, ResourceId: aws.String("/x"), Tags: tags})
		for call, err := range map[string]error{"PutParameter": put, "AddTagsToResource": add} {
			if (code(err) == "ValidationException") != test.refused || !test.refused && err != nil {
				t.Errorf("%s with a key of %d and a value of %d characters: %v", call, utf8.RuneCountInString(test.key), utf8.RuneCountInString(test.value), err)
			}
		}
		if _, err := c.ssm.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String("/x")}); err != nil {
			t.Fatal(err)
		}
	}
	in := putInput("/x", "v")
	for n := range 51 {
		in.Tags = append(in.Tags, ssmtypes.Tag{Key: aws.String(fmt.Sprint(n)), Value: aws.String("")})
	}
	if _, err := c.ssm.PutParameter(ctx, in); code(err) != "TooManyTagsError" {
		t.Errorf("51 tags: %v", err)
	}
	for n, refused := range map[int]bool{255: false, 256: true} {
		_, err := c.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{{Name: aws.String("tag:Name"), Values: []string{strings.Repeat("ü", n)}}}})
		if (code(err) == "FilterLimitExceeded") != refused || !refused && err != nil {
			t.Errorf("a filter of %d characters: %v", n, err)
		}
	}
}

func TestGetParameters(t *testing.T) {
	w := newWorld(t, Options{})
	c, ctx := w.on(""), ctxFor(t)
	names := make([]string, 11)
	for n := range names {
		names[n] = fmt.Sprintf("/p/%02d", n)
		if n != 3 {
			if _, err := c.ssm.PutParameter(ctx, putInput(names[n], "v")); err != nil {
				t.Fatal(err)
			}
		}
	}
	out, err := c.ssm.GetParameters(ctx, &ssm.GetParametersInput{Names: names[:10]})
	if err != nil || len(out.Parameters) != 9 || len(out.InvalidParameters) != 1 || out.InvalidParameters[0] != "/p/03" {
		t.Errorf("GetParameters with ten names: %+v %v", out, err)
	}
	if _, err := c.ssm.GetParameters(ctx, &ssm.GetParametersInput{Names: names}); code(err) != "ValidationException" {
		t.Errorf("GetParameters with eleven names: %v", err)
	}
	del, err := c.ssm.DeleteParameters(ctx, &ssm.DeleteParametersInput{Names: names[:4]})
	if err != nil || len(del.DeletedParameters) != 3 || len(del.InvalidParameters) != 1 {
		t.Errorf("delete: %+v %v", del, err)
	}
}

func TestGetParametersByPath(t *testing.T) {
	for _, empty := range []float64{0, 0.5} {
		w := newWorld(t, Options{Seed: 3, EmptyPages: empty})
		c, ctx := w.on(""), ctxFor(t)
		for n := range 25 {
			if _, err := c.ssm.PutParameter(ctx, putInput(fmt.Sprintf("/p/q/%02d", n), "v")); err != nil {
				t.Fatal(err)
			}
		}
		for _, other := range []string{"/p/qq/x", "/p/q/deep/x", "/o/x"} {
			if _, err := c.ssm.PutParameter(ctx, putInput(other, "v")); err != nil {
				t.Fatal(err)
			}
		}
		for _, test := range []struct {
			recursive bool
			want      int
		}{{false, 25}, {true, 26}} {
			var got, pages, empties int
			p := ssm.NewGetParametersByPathPaginator(c.ssm, &ssm.GetParametersByPathInput{Path: aws.String("/p/q"), Recursive: aws.Bool(test.recursive)},
				func(o *ssm.GetParametersByPathPaginatorOptions) { o.StopOnDuplicateToken = false })
			for p.HasMorePages() && pages < 100 {
				out, err := p.NextPage(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if len(out.Parameters) > 10 {
					t.Errorf("a page has %d parameters", len(out.Parameters))
				}
				if len(out.Parameters) == 0 && out.NextToken != nil {
					empties++
				}
				got, pages = got+len(out.Parameters), pages+1
			}
			if got != test.want || (empties > 0) != (empty > 0) {
				t.Errorf("recursive=%t: %d parameters in %d pages, %d empty; want %d", test.recursive, got, pages, empties, test.want)
			}
		}
		if _, err := c.ssm.GetParametersByPath(ctx, &ssm.GetParametersByPathInput{Path: aws.String("/p"), MaxResults: aws.Int32(11)}); code(err) != "ValidationException" {
			t.Errorf("MaxResults 11: %v", err)
		}
	}
}

func TestDescribeParameters(t *testing.T) {
	w := newWorld(t, Options{})
	c, ctx := w.on(""), ctxFor(t)
	for n := range 60 {
		in := putInput(fmt.Sprintf("/p/%02d", n), "v")
		if n%2 == 0 {
			in.Tags = []ssmtypes.Tag{{Key: aws.String("Resource"), Value: aws.String("CORES")}}
		}
		if _, err := c.ssm.PutParameter(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		key, option string
		values      []string
		want        int
	}{
		{"Name", "", []string{"/p/01", "/p/02"}, 2},
		{"Name", "BeginsWith", []string{"/p/0"}, 10},
		{"Name", "Contains", []string{"59"}, 1},
		{"Path", "", []string{"/p"}, 60},
		{"Path", "Recursive", []string{"/"}, 60},
		{"tag:Resource", "", []string{"CORES"}, 30},
		{"tag:Resource", "", []string{"OTHER"}, 0},
	} {
		f := ssmtypes.ParameterStringFilter{Key: aws.String(test.key), Values: test.values}
		if test.option != "" {
			f.Option = aws.String(test.option)
		}
		got := 0
		p := ssm.NewDescribeParametersPaginator(c.ssm, &ssm.DescribeParametersInput{ParameterFilters: []ssmtypes.ParameterStringFilter{f}})
		for p.HasMorePages() {
			out, err := p.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			got += len(out.Parameters)
		}
		if got != test.want {
			t.Errorf("filter %s %s %v: %d parameters, want %d", test.key, test.option, test.values, got, test.want)
		}
	}
}
