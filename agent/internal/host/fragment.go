package host

import (
	"html"
	"net/url"
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/internal/lazyregexp"
)

// fragmentSize is the length in bytes of the shortest part of a secret that the redactor hides. A
// text may be cut before it is printed, and the cut may go through a secret.
const fragmentSize = 12

// fragments are the parts of secrets, each of fragmentSize bytes.
type fragments map[string]struct{}

// add makes every part of a secret known.
func (f fragments) add(secret string) {
	for i := 0; i+fragmentSize <= len(secret); i++ {
		f[secret[i:i+fragmentSize]] = struct{}{}
	}
}

// hide replaces each stretch of s that consists of parts of secrets.
func (f fragments) hide(s string) string {
	if len(f) == 0 || len(s) < fragmentSize {
		return s
	}
	var b strings.Builder
	kept := 0 // s is copied up to here
	for i := 0; i+fragmentSize <= len(s); i++ {
		if _, ok := f[s[i:i+fragmentSize]]; !ok {
			continue
		}
		end := i + fragmentSize
		for end < len(s) {
			if _, ok := f[s[end+1-fragmentSize:end+1]]; !ok {
				break
			}
			end++
		}
		b.WriteString(s[kept:i] + redacted)
		kept, i = end, end-1
	}
	return b.String() + s[kept:]
}

// percentEscape is an escape of a URL.
var percentEscape = lazyregexp.New(`%(25)*[0-9A-F]{2}`)

// encodedForms returns the other forms in which somebody may show a secret: in a URL, in a URL
// inside a URL, in HTML and in JSON.
func encodedForms(secret string) []string {
	forms := []string{html.EscapeString(secret), strings.ReplaceAll(html.EscapeString(secret), "+", "&#43;"), strings.ReplaceAll(secret, "/", `\/`), inQuotation(secret)}
	for _, escape := range []func(string) string{url.QueryEscape, url.PathEscape} {
		once := escape(secret)
		for _, form := range []string{once, escape(once)} {
			forms = append(forms, form, percentEscape.ReplaceAllStringFunc(form, strings.ToLower))
		}
	}
	slices.Sort(forms)
	return slices.DeleteFunc(slices.Compact(forms), func(form string) bool { return form == secret })
}
