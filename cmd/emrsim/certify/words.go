package certify

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// words replaces what differs by chance and what must not be published: identifiers, addresses,
// account numbers, principals, keys, request ids and times.
type words struct {
	mu    sync.Mutex
	known []replacement // the longest first
}

type replacement struct{ text, name string }

func newWords() *words { return &words{} }

// know replaces a text by a name from now on.
func (w *words) know(text, name string) {
	if text == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known = append(w.known, replacement{text, name})
	slices.SortStableFunc(w.known, func(a, b replacement) int { return cmp.Compare(len(b.text), len(a.text)) })
}

// address replaces an address, and the name that EC2 gives it.
func (w *words) address(a netip.Addr, name string) {
	w.know(a.String(), name)
	w.know("ip-"+strings.ReplaceAll(a.String(), ".", "-"), "ip-"+name)
}

// foreign are the forms of what is replaced wherever it stands.
var foreign = []struct {
	form *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`arn:[a-z-]+:(iam|sts)::[0-9]{12}:[^\s"<]+`), "arn:PARTITION:$1::ACCOUNT:PRINCIPAL"},
	{regexp.MustCompile(`arn:[a-z-]+:`), "arn:PARTITION:"},
	{regexp.MustCompile(`\b[0-9]{12}\b`), "ACCOUNT"},
	{regexp.MustCompile(`\b(AKIA|ASIA|AIDA|AROA|AGPA|AIPA)[A-Z0-9]{8,}(:[\w+=,.@-]+)?`), "KEY"},
	{regexp.MustCompile(`(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`), "REQUEST"},
	{regexp.MustCompile(`(Encoded authorization failure message: )\S+`), "${1}MESSAGE"},
	{regexp.MustCompile(`(?i)\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b`), "MAC"},
	{regexp.MustCompile(`\b(eni|eni-attach|i|subnet|vpc|sg|scr|r|acl|rtb|vpc-cidr-assoc|subnet-cidr-assoc|ela-attach|eipalloc|igw|dopt)-(0123456789abcdef0)\b`), "$1=$2"},
	{regexp.MustCompile(`\b(eni|eni-attach|i|subnet|vpc|sg|scr|r|acl|rtb|vpc-cidr-assoc|subnet-cidr-assoc|ela-attach|eipalloc|igw|dopt)-[0-9a-f]{8,17}\b`), "$1-ID"},
	{regexp.MustCompile(`\b(eni|i|subnet)=(0123456789abcdef0)\b`), "$1-$2"},
	{regexp.MustCompile(`\b[a-z]{2}(-[a-z]+)+-[0-9][a-z]?\b`), "REGION"},
	{regexp.MustCompile(`\b[a-z]{3,5}[0-9]-az[0-9]+\b`), "ZONE"},
	{regexp.MustCompile(`(^|[^0-9])[0-9]{12}([^0-9]|$)`), "${1}ACCOUNT$2"}, // within a word: bucket_123456789012
	{regexp.MustCompile(`\b20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9:]+)?`), "TIME"},
	{regexp.MustCompile(`x{64,}`), "x..."},
	{regexp.MustCompile(`(<subnetArn>.*?<tagSet>|<vpcId>VPC</vpcId>.*?<tagSet>).*?</tagSet>`), "${1}TAGS</tagSet>"},
	{regexp.MustCompile(`<groupName>[^<]*</groupName>`), "<groupName>NAME</groupName>"},
	{regexp.MustCompile(`("LastModifiedUser": ?)"[^"]*"`), `${1}"PRINCIPAL"`},
	{regexp.MustCompile(`("LastModifiedDate": ?)[0-9.eE+]+`), `${1}"TIME"`},
	{regexp.MustCompile(`"NextToken": ?"[^"]*"`), `"NextToken":"TOKEN"`},
	{regexp.MustCompile(`<nextToken>[^<]*</nextToken>`), `<nextToken>TOKEN</nextToken>`},
	{regexp.MustCompile(`\b[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,2})?\b`), "IP"},
	{regexp.MustCompile(`(?i)\b[0-9a-f]{1,4}(?::[0-9a-f]{0,4}){3,7}(/[0-9]{1,3})?`), "IP"},
	{regexp.MustCompile(`\bip-[0-9]+-[0-9]+-[0-9]+-[0-9]+\b`), "ip-IP"},
}

// in returns the text with everything replaced.
func (w *words) in(text string) string {
	w.mu.Lock()
	known := slices.Clone(w.known)
	w.mu.Unlock()
	for _, k := range known {
		text = replaceWhole(text, k.text, k.name)
	}
	for _, f := range foreign {
		text = f.form.ReplaceAllString(text, f.name)
	}
	return text
}

// replaceWhole replaces a text where no letter or digit continues it: 10.0.1.2 is not a part of
// 10.0.1.20.
func replaceWhole(in, text, name string) string {
	var b strings.Builder
	for {
		i := strings.Index(in, text)
		if i < 0 {
			b.WriteString(in)
			return b.String()
		}
		end := i + len(text)
		b.WriteString(in[:i])
		if end < len(in) && isWord(in[end]) || i > 0 && isWord(in[i-1]) && isWord(text[0]) {
			b.WriteString(text)
		} else {
			b.WriteString(name)
		}
		in = in[end:]
	}
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
