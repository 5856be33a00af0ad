package agent

import (
	"context"
	"encoding/base64"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// veil keeps secrets out of what is printed and kept. The program has no reason to print one, but it passes on what others say: AWS answers a
// wrong signature with the request as it should have been signed, session token included, and a proxy's URL that cannot be read is quoted
// with its password. A nil veil hides nothing.
type veil struct {
	mu     sync.Mutex
	hidden []string
	users  []string // what stands before the host in a proxy's URL, with its @: hidden however short it is
}

// shortestSecret is how long a word must be to be hidden, in bytes: the shorter it is, the more it hides that is none.
const shortestSecret = 6

const veiled = "(hidden)"

func (v *veil) hide(words ...string) {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, w := range words {
		if len(w) >= shortestSecret && !slices.Contains(v.hidden, w) {
			v.hidden = append(v.hidden, w)
		}
	}
}

// hideUser hides what stands before the @ of a proxy's URL: whole, however short it is, and its words where they are long enough. Others quote it,
// escape it in their own way, or tell of the part before the # alone.
func (v *veil) hideUser(user string) {
	if v == nil || user == "" {
		return
	}
	before, _, cut := strings.Cut(user, "#")
	forms := []string{user}
	if plain, err := url.PathUnescape(user); err == nil {
		forms = append(forms, plain)
	}
	for _, form := range slices.Clone(forms) {
		if name, password, ok := strings.Cut(form, ":"); ok {
			forms = append(forms, url.UserPassword(name, password).String())
		} else {
			forms = append(forms, url.User(form).String())
		}
	}
	for _, form := range append(forms, text.Clean(user, text.MaxLine)) {
		word := form // a token in the place of the user's name is as secret as a password
		if _, password, ok := strings.Cut(form, ":"); ok {
			word = password
		}
		v.hide(base64.StdEncoding.EncodeToString([]byte(form)))
		for range 3 { // as it is, quoted, and quoted in a quotation
			v.hide(form, word)
			v.mu.Lock()
			v.users = append(v.users, form+"@")
			v.mu.Unlock()
			form, word = inQuotation(form), inQuotation(word)
		}
	}
	if _, password, ok := strings.Cut(before, ":"); cut && ok && password != "" {
		v.mu.Lock()
		v.users = append(v.users, before)
		v.mu.Unlock()
	}
}

// inQuotation is s as %q has it, without the marks.
func inQuotation(s string) string {
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

// text is s without the secrets.
func (v *veil) text(s string) string {
	if v == nil {
		return s
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, u := range v.users {
		end := u[len(strings.TrimSuffix(u, "@")):]
		s = strings.ReplaceAll(s, u, veiled+end)
	}
	for _, w := range v.hidden {
		s = strings.ReplaceAll(s, w, veiled)
	}
	return withoutUsers(s)
}

// withoutUsers hides the user part of every URL in s, also of those that came from elsewhere and of those whose password is hidden already.
func withoutUsers(s string) string {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(s, "://")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		b.WriteString("://")
		end := strings.IndexAny(after, "/?#\"'`<> \t\r\n\\")
		if end < 0 {
			end = len(after)
		}
		if user, host, ok := cutLast(after[:end], "@"); ok && user != "" && user != veiled {
			b.WriteString(veiled + "@" + host)
		} else {
			b.WriteString(after[:end])
		}
		s = after[end:]
	}
}

// hideEnvironment hides what environment variables hold of the kind.
func (v *veil) hideEnvironment(env Environment) {
	for _, name := range []string{"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"} {
		v.hide(env.Getenv(name))
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		if user, _, ok := cutLast(env.Getenv(name), "@"); ok {
			if _, after, ok := strings.Cut(user, "://"); ok {
				user = after
			}
			v.hideUser(user)
		}
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// writer is w, for whole lines or texts at a time, behind the veil.
func (v *veil) writer(w io.Writer) io.Writer { return veiledWriter{v, w} }

type veiledWriter struct {
	veil *veil
	w    io.Writer
}

func (w veiledWriter) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.w, w.veil.text(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// credentials are the provider's, and hidden as soon as they are known.
func (v *veil) credentials(provider aws.CredentialsProvider) aws.CredentialsProvider {
	if v == nil || provider == nil {
		return provider
	}
	return aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		c, err := provider.Retrieve(ctx)
		v.hide(c.SecretAccessKey, c.SessionToken)
		return c, err
	}))
}
