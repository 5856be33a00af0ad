package text

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	tests := []struct {
		in    string
		limit int
		want  string
	}{
		{"plain text, ünïcode 漢字", 80, "plain text, ünïcode 漢字"},
		{"\x1b]0;title\a", 80, `\u001b]0;title\u0007`},
		{"\u009b31m", 80, `\u009b31m`},
		{"a\nb\r\tc\x7f", 80, `a\nb\r\tc\u007f`},
		{"\u202egnirts", 80, `\u202egnirts`},
		{"tag \U000e0041", 80, `tag \udb40\udc41`},
		{"\xff\xfe", 80, "\ufffd\ufffd"},
		{"abcdefgh", 8, "abcdefgh"},
		{"abcdefghi", 8, "abcde..."},
		{"abc\x00\x00", 8, "abc\\u..."},
		{"abc", 2, "..."},
		{"", 0, ""},
	}
	for _, test := range tests {
		if got := Clean(test.in, test.limit); got != test.want {
			t.Errorf("clean(%q, %d) = %q, want %q", test.in, test.limit, got, test.want)
		}
	}
}

func TestCleanLines(t *testing.T) {
	got := Lines("one\r\n\n\ttwo\x1b\nthree")
	if want := []string{"one", `    two\u001b`, "three"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzClean: nothing that is not printable comes through, the length is bounded, cleaning twice is
// cleaning once, and JSON stays JSON.
func FuzzClean(f *testing.F) {
	for _, seed := range []string{"", "plain", "\x1b[2J", "\u009b", "\xff", "{\"a\":\"\u202e\x7f\"}", "a\nb", "\U0001f600", "\u2028"} {
		f.Add(seed, 40)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = max(3, min(limit, 1000))
		got := Clean(s, limit)
		if i := strings.IndexFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 || !utf8.ValidString(got) {
			t.Fatalf("%q at %d", got, i)
		}
		if n := utf8.RuneCountInString(got); n > limit {
			t.Fatalf("%d runes, limit %d", n, limit)
		}
		if again := Clean(got, limit); again != got {
			t.Fatalf("%q, cleaned again %q", got, again)
		}
		encoded, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back string
		if err := json.Unmarshal([]byte(Clean(string(encoded), 10*len(encoded)+10)), &back); err != nil {
			t.Fatalf("%q: %v", encoded, err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); utf8.ValidString(s) && back != want {
			t.Fatalf("%q became %q", want, back)
		}
	})
}
