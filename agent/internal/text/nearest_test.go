package text

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	names := []string{"release", "restore", "status", "plan", "apply"}
	for word, want := range map[string]string{
		"relase": "release", "releaes": "release", "RELEASE": "release", "stat": "status", "rest": "restore", "pln": "plan", "aply": "apply",
		"": "", "x": "", "xx": "", "banana": "", "undo": "", strings.Repeat("release", 20): "", "\xff\xfe\xfd": "",
	} {
		if got := Nearest(word, names); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "abd", 1}, {"abc", "bc", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3}} {
		if got, back := slips(test.a, test.b), slips(test.b, test.a); got != test.want || back != test.want {
			t.Errorf("%q, %q: %d and %d, want %d", test.a, test.b, got, back, test.want)
		}
	}
}
