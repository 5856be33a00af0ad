package lazyregexp

import (
	"reflect"
	"testing"
)

func TestRegexp(t *testing.T) {
	r := New(`(a+)b`)
	for _, c := range []struct{ what, got, want any }{
		{"MatchString", r.MatchString("xaab"), true},
		{"FindStringSubmatch", r.FindStringSubmatch("xaab"), []string{"aab", "aa"}},
		{"FindAllStringIndex", r.FindAllStringIndex("abaab", -1), [][]int{{0, 2}, {2, 5}}},
		{"ReplaceAllString", r.ReplaceAllString("xaab", "<$1>"), "x<aa>"},
		{"ReplaceAllStringFunc", r.ReplaceAllStringFunc("xaab", func(s string) string { return s + s }), "xaabaab"},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
}

// A malformed expression is found when it is used, not before.
func TestMalformed(t *testing.T) {
	r := New(`(`)
	defer func() {
		if recover() == nil {
			t.Error("a malformed expression was used")
		}
	}()
	r.MatchString("")
}
