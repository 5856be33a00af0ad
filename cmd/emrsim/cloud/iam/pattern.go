package iam

import (
	"fmt"
	"strings"
)

// pattern is a text of a policy with wildcards and variables. In it * matches any text, ? matches
// any character, ${aws:userid} stands for a value of the request, and ${*}, ${?} and ${$} stand for
// the characters themselves.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
type pattern struct {
	source string
	parts  []patternPart
}

// patternPart is either fixed text or a variable.
type patternPart struct {
	glyphs   []glyph
	variable string // lower case; empty for fixed text
	fallback *string
}

// glyph is one character of a pattern.
type glyph struct {
	char byte
	kind glyphKind
}

type glyphKind byte

const (
	glyphChar glyphKind = iota
	glyphStar           // any text
	glyphPart           // any text without a colon: a * within one segment of an ARN
	glyphAny            // any character
	glyphNone           // any character except a colon: a ? in an ARN
)

// compile parses a pattern. Without wild, * and ? are ordinary characters. Without variables, ${ is
// ordinary text, as in documents of version 2008-10-17.
func compile(source string, wild, variables bool) (pattern, error) {
	p := pattern{source: source}
	var run []glyph
	for i := 0; i < len(source); i++ {
		ch := source[i]
		switch {
		case variables && ch == '$' && strings.HasPrefix(source[i:], "${"):
			end := strings.IndexByte(source[i:], '}')
			if end < 0 {
				return p, fmt.Errorf("a variable without an end in %+.200q", source)
			}
			name := source[i+2 : i+end]
			i += end
			if name == "*" || name == "?" || name == "$" {
				run = append(run, glyph{char: name[0]})
				continue
			}
			part, err := readVariable(name)
			if err != nil {
				return p, fmt.Errorf("%w in %+.200q", err, source)
			}
			p.parts = append(p.parts, patternPart{glyphs: run}, part)
			run = nil
		case wild && ch == '*':
			run = append(run, glyph{kind: glyphStar})
		case wild && ch == '?':
			run = append(run, glyph{kind: glyphAny})
		default:
			run = append(run, glyph{char: ch})
		}
	}
	p.parts = append(p.parts, patternPart{glyphs: run})
	return p, nil
}

// readVariable parses the text between ${ and }: a key and an optional default, as in aws:username,
// 'somebody'.
func readVariable(text string) (patternPart, error) {
	name, fallback, has := strings.Cut(text, ",")
	part := patternPart{variable: strings.ToLower(strings.TrimSpace(name))}
	if several, ok := KnownKey(part.variable); !ok || several {
		return part, fmt.Errorf("the variable %+.200q is not a key that the model knows and that has one value", "${"+text+"}")
	}
	if has {
		fallback = strings.TrimSpace(fallback)
		if len(fallback) < 2 || fallback[0] != '\'' || fallback[len(fallback)-1] != '\'' {
			return part, fmt.Errorf("the default in %+.200q is not in single quotes", "${"+text+"}")
		}
		fallback = fallback[1 : len(fallback)-1]
		part.fallback = &fallback
	}
	return part, nil
}

// resolve replaces variables by values of the request. It returns false if a value is missing; the
// pattern then matches nothing.
func (p *pattern) resolve(keys Keys) ([]glyph, bool) {
	if len(p.parts) == 1 {
		return p.parts[0].glyphs, true
	}
	var out []glyph
	for _, part := range p.parts {
		if part.variable == "" {
			out = append(out, part.glyphs...)
			continue
		}
		var value string
		switch values := keys[part.variable]; {
		case len(values) > 0:
			value = values[0]
		case part.fallback != nil:
			value = *part.fallback
		default:
			return nil, false
		}
		for i := range len(value) {
			out = append(out, glyph{char: value[i]}) // a * in the value is not a wildcard
		}
	}
	return out, true
}

// text returns the resolved pattern as plain text, for comparisons without wildcards.
func text(glyphs []glyph) string {
	b := make([]byte, len(glyphs))
	for i, g := range glyphs {
		b[i] = g.char
	}
	return string(b)
}

// match reports whether the pattern matches all of s.
func match(glyphs []glyph, s string) bool {
	// now marks the positions in the pattern that can be reached after each character of s.
	now, next := make([]bool, len(glyphs)+1), make([]bool, len(glyphs)+1)
	now[0] = true
	follow(glyphs, now)
	for i := range len(s) {
		clear(next)
		for at, g := range glyphs {
			if !now[at] {
				continue
			}
			switch {
			case g.kind == glyphStar, g.kind == glyphPart && s[i] != ':':
				next[at] = true
			case g.kind == glyphAny, g.kind == glyphNone && s[i] != ':', g.kind == glyphChar && g.char == s[i]:
				next[at+1] = true
			}
		}
		now, next = next, now
		follow(glyphs, now)
	}
	return now[len(glyphs)]
}

// follow marks the positions after wildcards that match the empty text.
func follow(glyphs []glyph, places []bool) {
	for at, g := range glyphs {
		if places[at] && (g.kind == glyphStar || g.kind == glyphPart) {
			places[at+1] = true
		}
	}
}

// segments splits a resolved ARN pattern at its first five colons.
func segments(glyphs []glyph) [][]glyph {
	var out [][]glyph
	start := 0
	for i, g := range glyphs {
		if g.kind == glyphChar && g.char == ':' && len(out) < 5 {
			out = append(out, glyphs[start:i])
			start = i + 1
		}
	}
	return append(out, glyphs[start:])
}

// matchARN compares each of the six parts of an ARN separately, as ArnEquals and ArnLike do.
func matchARN(glyphs []glyph, s string) bool {
	patterns, parts := segments(glyphs), strings.SplitN(s, ":", 6)
	if len(patterns) != 6 || len(parts) != 6 {
		return false
	}
	for i := range patterns {
		if !match(patterns[i], parts[i]) {
			return false
		}
	}
	return true
}

// inSegments keeps the wildcards of a Resource element within one segment of the ARN. Only a * at
// the end of a segment may match beyond the segment's colon. end reports whether the pattern ends
// with these glyphs.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
func inSegments(glyphs []glyph, end bool) []glyph {
	out := make([]glyph, len(glyphs))
	for i, g := range glyphs {
		last := i+1 == len(glyphs) && end || i+1 < len(glyphs) && glyphs[i+1] == glyph{char: ':'}
		switch {
		case g.kind == glyphAny:
			g.kind = glyphNone
		case g.kind == glyphStar && !last:
			g.kind = glyphPart
		}
		out[i] = g
	}
	return out
}
