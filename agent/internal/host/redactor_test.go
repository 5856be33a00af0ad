package host

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// What the environment holds is hidden too.
func TestSecretsOfTheEnvironment(t *testing.T) {
	v := &Redactor{}
	v.HideEnvironment(func(name string) string {
		return map[string]string{
			"AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI", "AWS_SESSION_TOKEN": "FwoGZXIvYXdz", "HTTPS_PROXY": "http://user:p%40ss%zzword@proxy:3128", "http_proxy": "user:hunter%322@proxy", "HTTP_PROXY": "http://proxy:3128",
		}[name]
	})
	in := `a wJalrXUtnFEMI b FwoGZXIvYXdz c http://user:p%40ss%zzword@proxy:3128 d hunter%322 e hunter22 f proxy:3128`
	if got, want := v.Text(in), "a (hidden) b (hidden) c http://(hidden)@proxy:3128 d (hidden) e (hidden) f proxy:3128"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	v = nil
	v.Hide("secret")
	if got := v.Text("secret"); got != "secret" {
		t.Error(got)
	}
}

// The user part of a proxy's URL is hidden whole: a short password, a token in the place of a name,
// and what makes it a URL that cannot be read.
func TestSecretsOfProxies(t *testing.T) {
	for _, test := range []struct {
		proxy   string
		secrets []string
		host    string
	}{
		{"http://ab:pw1@proxy.internal:3128", []string{"ab:", "pw1"}, "proxy.internal:3128"},
		{"http://ghp16C7e42F292c6912@proxy:3128", []string{"ghp16C7"}, "proxy:3128"},
		{"http://tok1@proxy:3128", []string{"tok1"}, "proxy:3128"},
		{"u:pw1@proxy:3128", []string{"u:", "pw1"}, "proxy:3128"},
		{"http://us er:p\"w\\1 x@proxy:3128", []string{"us er", `p"w`, `p\"w`, "w\\"}, ""},
		{"http://user:pa/ss?w#rd@proxy:3128", []string{"pa/ss", "ss?w", "w#rd"}, ""},
		{`http://user:pw "x"@proxy`, []string{"pw ", `x\"`, `x"`}, ""},
		{"http://user:p@ss@proxy:3128", []string{"p@ss", "p%40ss"}, ""},
		{"http://user:%zz%41b@proxy:bad", []string{"%zz%41b"}, ""},
		{"http://user:\x01abc@proxy", []string{"abc"}, ""},
		{"socks5://x:y@proxy:1080", []string{"x:y"}, "proxy:1080"},
	} {
		env := Environment{LookupEnv: func(name string) (string, bool) {
			if name != "HTTPS_PROXY" {
				return "", false
			}
			return test.proxy, true
		}}
		v := &Redactor{}
		v.HideEnvironment(env.Getenv)
		texts := []string{test.proxy, strconv.Quote(test.proxy), text.Clean(test.proxy, text.MaxLine)}
		form := test.proxy // as Go reads the variable
		if !strings.Contains(form, "://") {
			form = "http://" + form
		}
		if proxy, err := url.Parse(form); err != nil {
			err = fmt.Errorf("invalid proxy address %q: %w", test.proxy, err)
			texts = append(texts, err.Error(), strconv.Quote(err.Error()))
		} else {
			texts = append(texts, proxy.String(), proxy.Redacted(), fmt.Sprintf("proxyconnect tcp: dial %s: refused", proxy), proxy.User.String()+"@"+proxy.Host)
		}
		for _, text := range texts {
			got := v.Text(text)
			for _, secret := range test.secrets {
				if strings.Contains(got, secret) {
					t.Errorf("%q: %q has %q", test.proxy, got, secret)
				}
			}
			if !strings.Contains(got, test.host) {
				t.Errorf("%q: %q lacks the host", test.proxy, got)
			}
		}
	}
	for _, text := range []string{"https://ssm.us-east-1.amazonaws.com/x@y", "s3://bucket/a@b", "see http://169.254.169.254/latest, or a@b", "://", "x://@", "http://(hidden)@proxy"} {
		if got := (&Redactor{}).Text(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// A text may be cut before it is printed, also by others, and show a secret as a URL does.
func TestSecretsInPartsAndEncoded(t *testing.T) {
	secret := "IQoJb3JpZ2luX2VjEJ+q/" + strings.Repeat("Zm9v+2Fy/Q==xYz19K", 30)
	v := &Redactor{}
	v.Hide(secret)
	page := "<Message>The Canonical String should have been x-amz-security-token:" + secret + " host</Message>"
	for name, shown := range map[string]string{
		"cut to a line":        text.Clean(strings.Repeat("x", text.MaxLine-100)+secret, text.MaxLine),
		"cut to a value":       text.Quote("<html>" + secret),
		"cut by a verb":        fmt.Sprintf("%.60q", secret),
		"the end of an output": "..." + secret[200:],
		"the middle":           secret[100:200],
		"a page":               page,
		"in a URL":             "GET /?X-Amz-Security-Token=" + url.QueryEscape(secret) + "&x=1",
		"in a URL, lower case": strings.NewReplacer("%2B", "%2b", "%2F", "%2f", "%3D", "%3d").Replace(url.QueryEscape(secret)),
		"in a path":            url.PathEscape(secret),
		"in a URL in a URL":    url.QueryEscape("http://x/?t=" + url.QueryEscape(secret)),
		"in a URL, cut":        text.Clean("GET /?t="+url.QueryEscape(secret), 300),
		"in JSON":              strings.ReplaceAll(secret, "/", `\/`),
		"in HTML":              strings.ReplaceAll(secret, "+", "&#43;"),
	} {
		got := v.Text(shown)
		for i := 0; i+16 <= len(secret); i++ {
			if part := secret[i : i+16]; strings.Contains(got, part) {
				t.Errorf("%s: %q has %q", name, got, part)
				break
			}
		}
		if plain, err := url.QueryUnescape(got); err == nil && strings.Contains(plain, secret[:16]) {
			t.Errorf("%s: %q has an encoded part", name, got)
		}
		if !strings.Contains(got, redacted) {
			t.Errorf("%s: nothing is hidden in %q", name, got)
		}
	}
	if got := v.Text(page); got != "<Message>The Canonical String should have been x-amz-security-token:(hidden) host</Message>" {
		t.Error(got)
	}
}
