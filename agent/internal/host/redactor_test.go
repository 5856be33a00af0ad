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
		env := Environment{LookupEnv: func(name string) (string, bool) { return test.proxy, name == "HTTPS_PROXY" }}
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
