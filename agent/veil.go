package agent

import (
	"context"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// veil keeps secrets out of what is printed and kept. The program has no reason to print one, but it passes on what others say: AWS answers a
// wrong signature with the request as it should have been signed, session token included, and a proxy's URL that cannot be read is quoted
// with its password. A nil veil hides nothing.
type veil struct {
	mu     sync.Mutex
	hidden []string
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

// text is s without the secrets.
func (v *veil) text(s string) string {
	if v == nil {
		return s
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, w := range v.hidden {
		s = strings.ReplaceAll(s, w, veiled)
	}
	return s
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
			if _, password, ok := strings.Cut(user, ":"); ok {
				v.hide(password)
				if plain, err := url.PathUnescape(password); err == nil {
					v.hide(plain)
				}
			}
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
