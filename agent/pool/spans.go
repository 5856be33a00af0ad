package pool

import (
	"net/netip"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// Spans writes addresses for people: neighbours in the list as a range, at most twelve ranges.
func Spans(addrs []netip.Addr) string {
	var parts []string
	for i := 0; i < len(addrs); {
		end := i
		for end+1 < len(addrs) && addrs[end].Next() == addrs[end+1] {
			end++
		}
		text := addrs[i].String()
		if end > i {
			text += "-" + addrs[end].String()
		}
		parts = append(parts, text)
		i = end + 1
	}
	const most = 12
	if more := len(parts) - most; more > 0 {
		parts = append(parts[:most], "and "+text.Count(more, "more range", "more ranges"))
	}
	return strings.Join(parts, ", ")
}
