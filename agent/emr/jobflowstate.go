package emr

import (
	"fmt"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// parseJobFlowState reads job-flow-state.txt, which is in protobuf's text format. It reads plain
// fields of the outermost message. It skips everything else: nested messages repeat some names for
// other nodes.
//
//	jobFlowId: "j-3H4A2KJ5EXAMPLE"
//	instanceRole: "master"
//	candidates { host: "..." instanceRole: "core" }
func parseJobFlowState(f *File, text string) {
	depth := 0
	name := ""     // the last word
	colon := false // a colon followed it
	for token := range textTokens(text) {
		switch token {
		case "{", "<", "[":
			depth++
			name, colon = "", false
		case "}", ">", "]":
			depth = max(0, depth-1)
			name, colon = "", false
		case ":":
			colon = true
		case ",", ";":
			name, colon = "", false
		default:
			if colon && depth == 0 {
				stateField(f, name, token)
			}
			if colon {
				name, colon = "", false
			} else {
				name = token
			}
		}
	}
}

// textTokens yields the punctuation marks, words, numbers and strings of protobuf text, without
// blanks and comments. A string has its opening quotation mark and not its closing one. A string
// without a closing mark ends with its line.
func textTokens(text string) func(yield func(string) bool) {
	const marks = "{}<>[]:,;"
	return func(yield func(string) bool) {
		for i := 0; i < len(text); {
			begin := i
			switch c := text[i]; {
			case strings.IndexByte(" \t\r\n", c) >= 0:
				i++
				continue
			case c == '#':
				for i < len(text) && text[i] != '\n' {
					i++
				}
				continue
			case strings.IndexByte(marks, c) >= 0:
				i++
			case c == '"' || c == '\'':
				for i++; i < len(text) && text[i] != c && text[i] != '\n'; i++ {
					if text[i] == '\\' && i+1 < len(text) && text[i+1] != '\n' {
						i++
					}
				}
				token := text[begin:i]
				if i < len(text) {
					i++
				}
				if !yield(token) {
					return
				}
				continue
			default:
				for i < len(text) && strings.IndexByte(marks+" \t\r\n#\"'", text[i]) < 0 {
					i++
				}
			}
			if !yield(text[begin:i]) {
				return
			}
		}
	}
}

// stateField sets one field. In protobuf, the last of several values counts.
func stateField(f *File, name, value string) {
	value = strings.TrimLeft(value, `"'`)
	problem := func(err error) {
		if len(f.Problems) < text.MaxProblems {
			f.Problems = append(f.Problems, fmt.Errorf("field %s: %w", name, err))
		}
	}
	take := func(into *string, want text.Form) {
		if want.Fits(value) {
			*into = value
		} else {
			problem(fmt.Errorf("%s is not %s", text.Quote(value), want.Name))
		}
	}
	switch name {
	case "jobFlowId":
		take(&f.ClusterID, clusterIDForm())
	case "instanceGroupId":
		take(&f.GroupID, groupIDForm())
	case "releaseLabel":
		take(&f.Release, text.Word("a release label"))
	case "region":
		take(&f.Region, text.Word("a region"))
	case "instanceRole":
		r, err := ParseRole(value)
		if err != nil {
			problem(err)
			return
		}
		f.Role = r
	}
}
