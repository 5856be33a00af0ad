package iam

import (
	"regexp"
	"strings"
	"testing"

	agentiam "github.com/emr-static-ip/emr-static-ip/agent/iam"
)

// FuzzParsePolicy checks that the parser survives any text, and that a policy it accepts can be
// evaluated for any request.
func FuzzParsePolicy(f *testing.F) {
	f.Add(agentiam.Place{}.Policy(agentiam.InstanceProfile), "ec2:CreateTags", "arn:aws:ec2:us-east-1:1:instance/i-1", "aws:tagkeys", "Name")
	f.Add(`{"Statement": {"Effect": "Deny", "NotAction": "a:*", "NotResource": "arn:aws:a:*:b?:*c*", "Condition": {"ForAnyValue:StringNotLikeIfExists": {"aws:TagKeys": ["*", "${*}"]}}}}`,
		"a:b", "*", "aws:requesttag/x", "*")
	f.Add(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "arn:aws:a:::${aws:userid, '*'}", "Condition": {"ArnLike": {"ec2:Vpc": "${ec2:Subnet}"}}}]}`,
		"b", "arn:aws:a:::x", "ec2:vpc", "arn:::::")
	f.Fuzz(func(t *testing.T, document, action, resource, key, value string) {
		if len(document)+len(resource)+len(value) > 1<<12 {
			return // the time for matching grows with the product of both lengths
		}
		p, err := ParsePolicy([]byte(document))
		if err != nil {
			if p != nil {
				t.Fatal("ParsePolicy returned a policy and an error")
			}
			return
		}
		r := Request{Action: action, Resources: []string{resource}, Contexts: []Keys{{strings.ToLower(key): {value}}}}
		err = Policies{p}.Authorize(r)
		deny := Policies{p, mustPolicy(t, `{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}`)}
		if deny.Authorize(r) == nil {
			t.Fatal("a request is allowed although a statement denies everything")
		}
		allow := Policies{p, mustPolicy(t, `{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}`)}
		if err == nil && allow.Authorize(r) != nil {
			t.Fatal("adding an Allow statement made an allowed request denied")
		}
	})
}

// FuzzPolicyPattern checks that the matcher agrees with a regular expression for the same pattern.
func FuzzPolicyPattern(f *testing.F) {
	for _, seed := range [][2]string{{"", ""}, {"*", "a:b"}, {"a*b?c", "axxbxc"}, {"arn:aws:x:*:y*:z/*", "arn:aws:x:r:yy:z/"}, {"a*:b", "a:c:b"}, {"**?", ":"}, {"${*}a*", "*ab"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, source, s string) {
		if len(source) > 200 || len(s) > 200 {
			return
		}
		p, err := compile(source, true, strings.Contains(source, "${*}"))
		if err != nil || len(p.parts) > 1 {
			return
		}
		glyphs := p.parts[0].glyphs
		for _, glyphs := range [][]glyph{glyphs, inSegments(glyphs, true)} {
			var expression strings.Builder
			expression.WriteString(`(?s)\A`)
			for _, g := range glyphs {
				switch g.kind {
				case glyphStar:
					expression.WriteString(`.*`)
				case glyphPart:
					expression.WriteString(`[^:]*`)
				case glyphAny:
					expression.WriteString(`.`)
				case glyphNone:
					expression.WriteString(`[^:]`)
				default:
					expression.WriteString(regexp.QuoteMeta(string(rune(g.char))))
				}
			}
			expression.WriteString(`\z`)
			latin := func(s string) string { // one rune for each byte, as in the matcher
				r := make([]rune, len(s))
				for i := range len(s) {
					r[i] = rune(s[i])
				}
				return string(r)
			}
			want := regexp.MustCompile(expression.String()).MatchString(latin(s))
			if got := match(glyphs, s); got != want {
				t.Errorf("%q on %q: %v, want %v", source, s, got, want)
			}
		}
	})
}
