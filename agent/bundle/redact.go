package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/emr-static-ip/emr-static-ip/internal/lazyregexp"
)

// hidden replaces a secret.
const hidden = "(hidden)"

// secretWord matches, in lower case, the word in the name of a setting that makes its value secret,
// with the rest of the name.
const secretWord = `(?:passw(?:or)?d|passphrase|passcode|pass\b|pwd|[_-]pw\b|secret|token|credential|(?:api|access|private|session|account|encryption|auth)[_-]?key|signature|cookie)[\w.-]*`

// pattern finds secrets. What it finds is replaced.
type pattern struct {
	find *lazyregexp.Regexp
	with string
	// needs are texts in lower case. Only a line that has one of them is searched: the search takes
	// much longer than that.
	needs []string
}

// blocks are the patterns for several lines.
var blocks = []pattern{
	{lazyregexp.New(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----|\z)`), hidden, []string{"private key"}},
	// <name>fs.s3a.secret.key</name><value>VALUE</value>, as Hadoop's files have it
	{lazyregexp.New(`(?is)(<name>[^<]*` + secretWord + `\s*</name>\s*<value>)[^<]*`), "${1}" + hidden, []string{"<name>"}},
	// "name": "DB_PASSWORD", "value": "VALUE", as JSON has lists of settings, also within a text
	{lazyregexp.New(`(?is)("\s*(?:name|key)\\*"\s*:\s*\\*"[^"\\]*` + secretWord + `\\*"\s*,\s*\\*"value\\*"\s*:\s*\\*")(?:[^"\\]|\\[^"])*`), "${1}" + hidden, []string{"value"}},
	// chpasswd <<EOF, and lines with user:VALUE
	{lazyregexp.New(`(\bchpasswd\b[^\n]*<<-?\s*\\?["']?\w+["']?[^\n]*\n)(?:[^\n:]+:[^\n]*(?:\n|\z))+`), "${1}" + hidden + "\n", []string{"chpasswd"}},
}

// escaped matches the beginning of a percent-encoded character, and of one that is encoded again.
const escaped = `%(?:25)*`

// schemes are the patterns for values of two words, of which the name of the setting shows one.
// They come before the settings.
var schemes = []pattern{
	// The rest of the line: its form depends on the scheme, and a cookie has several.
	{lazyregexp.New(`(?i)((?:(?:proxy-)?authorization|\bcookie)["']?\s*[:=]\s*).+`), "${1}" + hidden, []string{"authorization", "cookie"}},
	{lazyregexp.New(`(?i)(\b(?:bearer|negotiate)\s+)[A-Za-z0-9+/_.~-]{8,}=*`), "${1}" + hidden, []string{"bearer", "negotiate"}},
	{lazyregexp.New(`(\b[Bb]asic\s+)[A-Za-z0-9+/]*[A-Z0-9][A-Za-z0-9+/]{6,}=*`), "${1}" + hidden, []string{"basic"}},
}

// argument matches an argument of a command, which may be in quotation marks, or have a part that
// is. apart matches what is between two arguments, also where they are a list.
const (
	argument = `(?:"(?:[^",][^"]*)?"?|'(?:[^',][^']*)?'?|\\.|[^\s"',;|&])(?:"[^"\s,:)}\]][^"]*"|'[^'\s,:)}\]][^']*'|\\.|[^\s"'])*`
	apart    = `[\s"',]`

	// arguments matches arguments up to the end of the command.
	arguments = argument + `(?:` + apart + `+` + argument + `)*`
	// number matches an option, with a number as its value or without one.
	number = apart + `+-[\w-]+(?:` + apart + `+\d+)?`
	// readers matches programs that read a password from their input.
	readers = `\b(?:chpasswd|passwd|kinit|login|sudo\s.*\s-\w*S)\b`
)

// commands are programs that take a secret under a name which does not say so. What secret finds
// after such a program, up to the end of the line, is replaced between its groups.
var commands = []struct {
	needs   []string // see pattern
	program *lazyregexp.Regexp
	secret  *lazyregexp.Regexp
}{
	{[]string{"mysql", "mariadb", "sshpass"}, lazyregexp.New(`\b(?:mysql|mariadb|sshpass)[\w.-]*` + apart + `.*`), lazyregexp.New(`(` + apart + `-p)` + argument)},
	{[]string{"mysqladmin"}, lazyregexp.New(`\bmysqladmin` + apart + `.*`), lazyregexp.New(`(` + apart + `password` + apart + `+)` + argument)},
	{[]string{"sshpass", "beeline", "mongo", "login", "useradd", "usermod"}, lazyregexp.New(`\b(?:sshpass|beeline|mongo\w*|login|useradd|usermod)` + apart + `.*`),
		lazyregexp.New(`(` + apart + `-p` + apart + `*)` + argument)},
	{[]string{"redis-cli"}, lazyregexp.New(`\bredis-cli` + apart + `.*`), lazyregexp.New(`(` + apart + `-a` + apart + `*)` + argument)},
	{[]string{"redis-cli"}, lazyregexp.New(`\bredis-cli` + apart + `.*`), lazyregexp.New(`(?i)(` + apart + `(?:auth|requirepass|masterauth)` + apart + `+).*[^\s"',]`)},
	{[]string{"ldap", "kadmin"}, lazyregexp.New(`\b(?:ldap[a-z]+|kadmin[a-z.]*)` + apart + `.*`), lazyregexp.New(`(` + apart + `-[A-Za-z]*w` + apart + `*)` + argument)},
	{[]string{"ldappasswd"}, lazyregexp.New(`\bldappasswd` + apart + `.*`), lazyregexp.New(`(` + apart + `-[as]` + apart + `*)` + argument)},
	{[]string{"smbclient", "rpcclient"}, lazyregexp.New(`\b(?:smbclient|rpcclient)\s.*`), lazyregexp.New(`(\s(?:-U|--user)[\s=]*[^\s%]+%)` + argument)},
	{[]string{"sqlplus", "expdp", "impdp", "sqlldr"}, lazyregexp.New(`\b(?:sqlplus|expdp|impdp|sqlldr)\w*` + apart + `.*`),
		lazyregexp.New(`(` + apart + `(?:userid=)?[^\s"',/=@-][^\s"'/=]*/)(?:\\?"[^"]*"|[^\s"'@]+)`)},
	{[]string{"configure"}, lazyregexp.New(`\bconfigure\s+set\s.*`), lazyregexp.New(`(\s\S*(?:secret|token)\S*\s+)` + argument)},
	// With -b: the file, the user, the password; with -n too: the user, the password.
	{[]string{"htpasswd"}, lazyregexp.New(`\bhtpasswd(?:` + number + `)*` + apart + `+-[A-Za-z]*b[A-Za-z]*` + apart + `.*`),
		lazyregexp.New(`^(htpasswd(?:` + number + `)+` + apart + `+` + argument + apart + `+)` + arguments)},
	{[]string{"openssl"}, lazyregexp.New(`\bopenssl` + apart + `+passwd` + apart + `.*`), lazyregexp.New(`^(openssl` + apart + `+passwd(?:` + apart + `+-[\w-]+)*` + apart + `+)` + arguments)},
	{[]string{"echo", "printf", "yes"}, lazyregexp.New(`\b(?:echo|printf|yes)\s.*\|.*` + readers), lazyregexp.New(`^(\w+\s+).*\S(\s*\|)`)},
	{[]string{"<<<"}, lazyregexp.New(`\b(?:chpasswd|passwd|kinit|login|sudo)\b.*<<<.*`), lazyregexp.New(`(<<<\s*)` + argument)},
	{[]string{"<<<"}, lazyregexp.New(`<<<.*\|.*` + readers), lazyregexp.New(`^(<<<\s*)` + argument)},
}

// redactCommands returns a line without the secrets in commands.
func redactCommands(line, lower string) string {
	for _, c := range commands {
		if slices.ContainsFunc(c.needs, func(s string) bool { return strings.Contains(lower, s) }) {
			line = c.program.ReplaceAllStringFunc(line, func(s string) string { return c.secret.ReplaceAllString(s, "${1}"+hidden+"${2}") })
		}
	}
	return line
}

// patterns find secrets in a line, in this order.
var patterns = []pattern{
	// curl -u USER:PASSWORD
	{lazyregexp.New(`((?:^|\s)(?:-u|-U|--user|--proxy-user)[ =]?)[^\s:]+:\S+`), "${1}" + hidden, []string{"-u", "--proxy-u"}},
	// The user in a URL that is a part of another one
	{lazyregexp.New(`(?i)(\b[a-z][a-z0-9+.-]*` + escaped + `3A` + escaped + `2F` + escaped + `2F)[^\s"'<>&]*` + escaped + `40`), "${1}" + hidden + "@", []string{"%"}},
	// The user in a URL, up to the last @ of the word: a password may have any character.
	{lazyregexp.New(`(\b[A-Za-z][A-Za-z0-9+.-]*://)[^\s"'<>]*@`), "${1}" + hidden + "@", []string{"://"}},
	// The query of a URL: it may be signed.
	{lazyregexp.New(`(\b[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>?#]*\?)[^\s"'<>]+`), "${1}" + hidden, []string{"://"}},
	{lazyregexp.New(`(?i)(\b(?:X-Amz-[A-Za-z-]+|AWSAccessKeyId|Signature)=)[^\s"'<>&]+`), "${1}" + hidden, []string{"x-amz-", "awsaccesskeyid", "signature"}},
	// Oracle's way to write user/password@host
	{lazyregexp.New(`(?i)(\bjdbc:oracle:[a-z0-9]+:)[^\s"']+@`), "${1}" + hidden + "@", []string{"jdbc:oracle"}},
	// CREATE USER x IDENTIFIED BY 'VALUE', SET PASSWORD = PASSWORD('VALUE')
	{lazyregexp.New(`(?i)(\bidentified\s+(?:with\s+\S+\s+)?(?:by|as)\s+(?:password\s+)?)\\*(?:"[^"]*"?|'[^']*'?)`), "${1}" + hidden, []string{"identified"}},
	{lazyregexp.New(`(?i)(\b(?:user|role)\s.*?\bidentified\s+by\s+)` + argument), "${1}" + hidden, []string{"identified"}},
	{lazyregexp.New(`(?i)(password\s*\(\s*["'\\]+)[^"'\\]+`), "${1}" + hidden, []string{"password"}},
	// user:password@host, which is no URL
	{lazyregexp.New(`[^\s"'<>=,;:/@(){}\[\]]+:[^\s"'<>@]+@([A-Za-z0-9\[])`), hidden + "@${1}", []string{"@"}},
	// Identifiers of access keys, users and roles
	{lazyregexp.New(`\b(?:AKIA|ASIA|AIDA|AROA|AGPA|ANPA|ANVA|ABIA|ACCA|APKA|ASCA)[A-Z0-9]{12,}\b`), hidden,
		[]string{"akia", "asia", "aida", "aroa", "agpa", "anpa", "anva", "abia", "acca", "apka", "asca"}},
	// Tokens that show whose they are
	{lazyregexp.New(`\b(?:gh[a-z]_|github_pat_|glpat-|xox[a-z]-|npm_|hvs\.)[A-Za-z0-9_-]{10,}`), hidden, []string{"gh", "glpat-", "xox", "npm_", "hvs."}},
	{lazyregexp.New(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?`), hidden, []string{"eyj"}}, // JSON web tokens
}

var (
	setting = lazyregexp.New(secretWord)
	arn     = lazyregexp.New(`\barn:(aws[a-z-]*):([a-z0-9-]*):([a-z0-9-]*):([^:\s"'<>,]*):[^\s"'<>,;]+`)
	account = lazyregexp.New(`\b(?:i|r|eni|subnet|vpc|vpce|sg|sgr|ami|vol|snap|rtb|igw|nat|acl|pl|lt|fleet|eipalloc)-[0-9a-f]{8,17}\b|\b\d{4}-\d{4}-\d{4}\b|\d+`)
	random  = lazyregexp.New(`[A-Za-z0-9+/_=%-]{32,}`)
)

// Redact returns text without what looks like a secret: keys, tokens, passwords, users and queries
// in URLs, account numbers and ARNs. It errs on the side of hiding. Redact of the result is the
// result.
//
// It cannot know a password that stands alone.
func Redact(text string) string {
	text = replaced(text, lowered(text), blocks)
	var b strings.Builder
	b.Grow(len(text))
	for line := range strings.Lines(text) {
		b.WriteString(redactLine(line))
	}
	return b.String()
}

func replaced(text, lower string, patterns []pattern) string {
	for _, p := range patterns {
		if slices.ContainsFunc(p.needs, func(s string) bool { return strings.Contains(lower, s) }) {
			text = p.find.ReplaceAllString(text, p.with)
		}
	}
	return text
}

// redactLine returns a line without its secrets. What was hidden may make more of the line look
// like one: such a line is searched again.
func redactLine(line string) string {
	for range 4 {
		was := line
		if line = searchLine(line); line == was {
			break
		}
	}
	return line
}

func searchLine(line string) string {
	line = redactCommands(line, lowered(line))
	line = redactSettings(replaced(line, lowered(line), schemes))
	lower := lowered(line)
	line = replaced(line, lower, patterns)
	if strings.Contains(lower, "arn:") {
		line = arn.ReplaceAllStringFunc(line, func(s string) string {
			parts := strings.SplitN(s, ":", 6)
			if parts[4] == "ACCOUNT_ID" || parts[4] == "*" {
				return s // of a statement that this program proposes
			}
			return strings.Join(parts[:4], ":") + ":" + hidden
		})
	}
	if hasRun(line, 12, func(c byte) bool { return c >= '0' && c <= '9' || c == '-' }) {
		line = account.ReplaceAllStringFunc(line, func(s string) string {
			if isAccount(s) {
				return "(account)"
			}
			return s
		})
	}
	if hasRun(line, 32, isToken) {
		line = random.ReplaceAllStringFunc(line, func(s string) string {
			if looksRandom(s) {
				return hidden
			}
			return s
		})
	}
	return line
}

// lowered returns s in lower case, byte for byte: only ASCII letters are changed.
func lowered(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// isToken reports whether random has the character.
func isToken(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("+/_=%-", c) >= 0
}

// hasRun reports whether s has n characters in a row that are of a kind.
func hasRun(s string, n int, of func(byte) bool) bool {
	for i, run := 0, 0; i < len(s); i++ {
		if run++; !of(s[i]) {
			run = 0
		}
		if run == n {
			return true
		}
	}
	return false
}

func isAccount(s string) bool {
	digits := strings.ReplaceAll(s, "-", "")
	return len(digits) == 12 && strings.Trim(digits, "0123456789") == ""
}

// looksRandom reports whether a word of at least 32 characters is a key or a token, and no name
// and no path.
func looksRandom(s string) bool {
	lower, upper := strings.ContainsFunc(s, unicode.IsLower), strings.ContainsFunc(s, unicode.IsUpper)
	if strings.Trim(s, "0123456789abcdefABCDEF") == "" {
		return strings.Trim(s, "0") != "" // hexadecimal
	}
	return lower && upper && (strings.ContainsFunc(s, unicode.IsDigit) || len(s) == 40)
}

// secretKey matches the whole name of a setting whose value is secret.
var secretKey = lazyregexp.New(`(?i)(?:` + secretWord + `|authorization)`)

// plain matches values that may be shown of a file of which nobody knows all the fields: what EMR
// calls its things, addresses, types, versions and times.
var plain = lazyregexp.New(`^(?:` + strings.Join([]string{
	``,
	`(?i)(?:master|core|task)(?: (?:instance group|fleet))?`, `(?i)(?:on[_-]?demand|spot)`, `(?i)(?:true|false|yes|no|none|null|aws|aws-cn|aws-us-gov|localhost|running|starting|waiting|bootstrapping|terminated)`,
	`(?:j|s|ig|if|i|r|eni|subnet|vpc|sg|ami|vol|rtb|vpce|pl)-[0-9A-Za-z]{4,24}`,
	`\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2}|-\d{1,3}(?:\.\d{1,3}){0,3})?`, `(?:ip|i)-[0-9a-f-]{4,40}(?:\.[a-z0-9-]+){0,3}\.(?:internal|compute\.internal)`,
	`[a-z0-9]{2,8}(?:-[a-z0-9]{2,8})?\.[0-9]*(?:nano|micro|small|medium|large|xlarge|metal)(?:-[0-9a-z]+)?`, `emr-(?:spark-)?[0-9]+(?:\.[0-9x]+){1,2}`, `[A-Z][A-Za-z]{1,20}_[0-9]+(?:_[0-9]+){1,3}`,
	`[a-z]{2}(?:-[a-z]{2,9}){1,3}-\d[a-z]?`, `[0-9]{1,6}(?:\.[0-9]{1,6})?`, `1[0-9]{12}`, `--[a-z][a-z-]{1,30}`, `\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?`, `(?:https?://)?[a-z0-9.-]{1,80}\.(?:amazonaws\.com(?:\.cn)?|amazon\.com)`,
}, "|") + `)$`)

// RedactJSON returns a file of EMR's with all its fields, and only those values that are known to
// be harmless: numbers, switches, and texts that plain matches. The file may have settings of the
// cluster, arguments of other bootstrap actions, and fields that nobody has a sample of. learn is
// called with the hidden values that are secrets in other files too.
func RedactJSON(data []byte, learn func(string)) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, fmt.Errorf("it is not JSON, and left out since its secrets cannot be told apart: %w", err)
	}
	if d.More() {
		return nil, fmt.Errorf("it has more than one JSON value, and is left out since its secrets cannot be told apart")
	}
	out, err := json.MarshalIndent(harmless(value, "", learn), "", "  ")
	return append(out, '\n'), err
}

// harmless returns a value without what may be secret. name is that of the field.
func harmless(value any, name string, learn func(string)) any {
	secret := secretKey.MatchString(name)
	hide := func(s string) string {
		if learn != nil && (secret || looksLikePassword(s)) {
			learn(s)
		}
		return hidden
	}
	switch v := value.(type) {
	case map[string]any:
		all := map[string]any{}
		for key, x := range v {
			under := key
			if secret {
				under = name + "." + key // all of it is secret
			}
			all[shownName(key)] = harmless(x, under, learn)
		}
		return all
	case []any:
		list := make([]any, len(v))
		for i, x := range v {
			list[i] = harmless(x, name, learn)
		}
		return list
	case json.Number:
		switch {
		case secret:
			return hide(v.String())
		case isAccount(v.String()):
			return json.Number("0")
		}
		return v
	case string:
		if s := strings.TrimSpace(v); secret || isAccount(s) || !plain.MatchString(s) {
			return hide(v)
		}
		return v
	}
	return value
}

// fieldName matches the name of a field as programs have them.
var fieldName = lazyregexp.New(`^[A-Za-z][A-Za-z0-9_.-]{0,60}$`)

// shownName returns the name of a field. A map may have names that somebody chose.
func shownName(name string) string {
	if !fieldName.MatchString(name) || Redact(name) != name {
		return hidden
	}
	return name
}

// looksLikePassword reports whether a text that was hidden is worth hiding in other files too:
// it is one word of at least eight characters of several kinds. A word such as a user's name is
// not.
func looksLikePassword(s string) bool {
	if len(s) < 8 || strings.ContainsFunc(s, unicode.IsSpace) || strings.Contains(s, "/") {
		return false
	}
	kinds := 0
	for _, kind := range []func(rune) bool{unicode.IsLower, unicode.IsUpper, unicode.IsDigit, func(r rune) bool { return strings.ContainsRune("!#$%&*+?@^~|", r) }} {
		if strings.ContainsFunc(s, kind) {
			kinds++
		}
	}
	return kinds >= 3
}

// stateToken matches a field of protobuf text with its value, a value in a list, or the name of a
// message or a list with what opens it.
var stateToken = lazyregexp.New(`(?:([A-Za-z_]\w*)(\s*:\s*))?("(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?|[^\s"'{}\[\]<>,;:]+)(\s*(?::\s*)?[{<\[])?`)

// stateComment matches a comment of protobuf text, or a string, in which there is none.
var stateComment = lazyregexp.New(`"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?|#[^\n]*`)

// redactState returns job-flow-state.txt, which is protobuf text, with all its fields and those
// values that RedactJSON would show.
func redactState(data []byte, learn func(string)) []byte {
	text := stateComment.ReplaceAllStringFunc(strings.ToValidUTF8(string(data), "\ufffd"), func(s string) string {
		if strings.HasPrefix(s, "#") {
			return ""
		}
		return s
	})
	return []byte(stateToken.ReplaceAllStringFunc(text, func(s string) string {
		parts := stateToken.FindStringSubmatch(s)
		value := strings.Trim(parts[3], `"'`)
		if shown, ok := harmless(value, parts[1], learn).(string); ok && shown == value {
			return s
		}
		if parts[1] == "" && parts[4] != "" && value == parts[3] && shownName(value) == value {
			return s // the name of a message
		}
		if parts[1] != "" {
			parts[1] = shownName(parts[1])
		}
		return parts[1] + parts[2] + `"` + hidden + `"` + parts[4]
	}))
}
