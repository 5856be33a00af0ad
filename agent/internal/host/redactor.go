package host

import (
	"encoding/base64"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// Redactor keeps secrets out of everything that the program prints and keeps. The program itself
// prints no secrets, but it passes on what others say. AWS answers a wrong signature with the
// request as it should have been signed, which includes the session token. An error about a
// malformed proxy URL quotes the URL with its password. A nil Redactor hides nothing.
type Redactor struct {
	mu     sync.Mutex
	hidden []string
	users  []string // the user parts of proxy URLs, with the @: hidden whatever their length
	parts  fragments
}

// shortestSecret is the length in bytes from which on a word is hidden. Shorter words occur in text
// that is not secret.
const shortestSecret = 6

// redacted replaces a secret.
const redacted = "(hidden)"

// Hide makes words secret, in their encoded forms too. It ignores words that are too short. Of a
// long word it hides parts too.
func (r *Redactor) Hide(words ...string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.parts == nil {
		r.parts = fragments{}
	}
	for _, w := range words {
		if len(w) < shortestSecret || slices.Contains(r.hidden, w) {
			continue
		}
		for _, form := range append([]string{w}, encodedForms(w)...) {
			r.hidden = append(r.hidden, form)
			r.parts.add(form)
		}
	}
	// A long word first: another one may be a part of it.
	slices.SortStableFunc(r.hidden, func(a, b string) int { return len(b) - len(a) })
}

// hideUser makes the user part of a proxy URL secret: the whole part whatever its length, and its
// words if they are long enough. It also hides the forms in which others show the user part:
// quoted, escaped, or cut off at a #.
func (r *Redactor) hideUser(user string) {
	if r == nil || user == "" {
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
		word := form // a token in place of the user's name is as secret as a password
		if _, password, ok := strings.Cut(form, ":"); ok {
			word = password
		}
		r.Hide(base64.StdEncoding.EncodeToString([]byte(form)))
		for range 3 { // plain, quoted, and quoted in a quotation
			r.Hide(form, word)
			r.mu.Lock()
			r.users = append(r.users, form+"@")
			r.mu.Unlock()
			form, word = inQuotation(form), inQuotation(word)
		}
	}
	if _, password, ok := strings.Cut(before, ":"); cut && ok && password != "" {
		r.mu.Lock()
		r.users = append(r.users, before)
		r.mu.Unlock()
	}
}

// inQuotation returns s as %q prints it, without the quotation marks.
func inQuotation(s string) string {
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

// Text returns s without the secrets.
func (r *Redactor) Text(s string) string {
	if r == nil {
		return s
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.users {
		end := u[len(strings.TrimSuffix(u, "@")):]
		s = strings.ReplaceAll(s, u, redacted+end)
	}
	for _, w := range r.hidden {
		s = strings.ReplaceAll(s, w, redacted)
	}
	return withoutUsers(r.parts.hide(s))
}

// withoutUsers hides the user part of every URL in s. That covers URLs of other origin, and URLs of
// which only the password is hidden so far.
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
		if user, host, ok := cutLast(after[:end], "@"); ok && user != "" && user != redacted {
			b.WriteString(redacted + "@" + host)
		} else {
			b.WriteString(after[:end])
		}
		s = after[end:]
	}
}

// HideEnvironment makes the credentials and the proxy users in environment variables secret.
func (r *Redactor) HideEnvironment(getenv func(name string) string) {
	for _, name := range []string{"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"} {
		r.Hide(getenv(name))
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		if user, _, ok := cutLast(getenv(name), "@"); ok {
			if _, after, ok := strings.Cut(user, "://"); ok {
				user = after
			}
			r.hideUser(user)
		}
	}
}

// cutLast is strings.Cut at the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// Writer returns a writer that redacts what it gets and passes it to w. Each Write must have whole
// lines or texts.
func (r *Redactor) Writer(w io.Writer) io.Writer { return redactedWriter{r, w} }

type redactedWriter struct {
	redactor *Redactor
	w        io.Writer
}

func (w redactedWriter) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.w, w.redactor.Text(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}
