package output_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/output"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

type item struct {
	Name  string   `json:"name"`
	Parts []string `json:"parts"`
}

type object struct {
	output.Head
	Items  []item         `json:"items"`
	One    *item          `json:"one,omitempty"`
	None   *item          `json:"none,omitempty"`
	Counts map[string]int `json:"counts"`
	Any    any            `json:"any,omitempty"`
}

func TestJSON(t *testing.T) {
	hide := func(s string) string { return strings.ReplaceAll(s, "secret", "(hidden)") }
	for _, test := range []struct {
		name   string
		object object
		hide   func(string) string
		want   string
	}{
		{"empty", object{}, nil, `{"version":0,"tool_version":"","tool":"","exit_code":0,"items":[],"counts":{}}`},
		{"lists within", object{Items: []item{{Name: "<a>"}}, One: &item{}, Any: &item{}}, hide,
			`{"version":0,"tool_version":"","tool":"","exit_code":0,"items":[{"name":"<a>","parts":[]}],"one":{"name":"","parts":[]},"counts":{},"any":{"name":"","parts":[]}}`},
		{"a secret that is the name of a field too", object{Items: []item{{Name: `a\"secret":`}}, Counts: map[string]int{"secret": 1}}, hide,
			`{"version":0,"tool_version":"","tool":"","exit_code":0,"items":[{"name":"a\\\"(hidden)\":","parts":[]}],"counts":{"secret":1}}`},
		{"nothing that a terminal obeys", object{Items: []item{{Name: "a\x1b[2J\u009b\u202eb\xff"}}}, hide,
			`{"version":0,"tool_version":"","tool":"","exit_code":0,"items":[{"name":"a\u001b[2J\u009b\u202eb\ufffd","parts":[]}],"counts":{}}`},
	} {
		got, err := output.JSON(&test.object, test.hide)
		if err != nil || strings.TrimSuffix(string(got), "\n") != test.want {
			t.Errorf("%s: %v\n got %s\nwant %s", test.name, err, got, test.want)
		}
	}
}

// A failure has its exit code, its remedies and its text in one line.
func TestFail(t *testing.T) {
	err := errors.Join(exit.With(exit.Permission, errors.New("denied\nby \x1b policy"), "allow it"), errors.New("b"))
	var o object
	o.Set("v1", exit.OK, output.Fail(exit.CodeOf(err), err))
	got, _ := output.JSON(&o, nil)
	golden.Is(t, "error.json", string(got))
	if f := output.Fail(exit.Internal, errors.New("x")); f.Remedies == nil {
		t.Error("no list of remedies")
	}
}

// FuzzJSON checks that any text leaves an object of the same form, also if parts of it are hidden.
func FuzzJSON(f *testing.F) {
	f.Add("a", "b")
	f.Add(`x\"y":"`, `"`)
	f.Add("\\", "items")
	f.Fuzz(func(t *testing.T, value, secret string) {
		o := object{Items: []item{{Name: value, Parts: []string{value + secret, secret}}}}
		line, err := output.JSON(&o, func(s string) string {
			if secret == "" {
				return s
			}
			return strings.ReplaceAll(s, secret, "(hidden)")
		})
		var back object
		if err != nil || json.Unmarshal(line, &back) != nil || len(back.Items) != 1 || len(back.Items[0].Parts) != 2 || strings.Count(string(line), "\n") != 1 {
			t.Fatalf("%v: %q", err, line)
		}
	})
}
