package tag

import (
	"fmt"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

func TestParseList(t *testing.T) {
	tags, err := ParseList([]string{"team=data", "cost centre=a=b:c/d+e-f@g_h.i", "empty=", "größe=7"})
	if want := "[team=data cost centre=a=b:c/d+e-f@g_h.i empty= größe=7]"; err != nil || fmt.Sprint(tags) != want {
		t.Errorf("%v, %v, want %s", tags, err, want)
	}
	long := strings.Repeat("k", 129) + "=v"
	_, err = ParseList([]string{"team", "=x", "a=1,2", "a=\x1b", "a=\xff", "AWS:x=y", long, "b=" + strings.Repeat("ü", 257), "c=1", "c=2"})
	messages := golden.Open(t, "tags.txt")
	messages.Is(t, "everything wrong", err.Error())
	if n := strings.Count(err.Error(), "\n"); n != 8 {
		t.Errorf("%d line breaks:\n%v", n, err)
	}
	var many []string
	for i := range 51 {
		many = append(many, fmt.Sprintf("k%d=", i))
	}
	if _, err := ParseList(many); err == nil {
		t.Error("51 tags are accepted")
	} else {
		messages.Is(t, "too many", err.Error())
	}
}
