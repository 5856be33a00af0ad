package emr

import (
	"fmt"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// localInstance is the message of job-flow-state.txt that is about this node.
const localInstance = "localInstance"

// parseJobFlowState reads job-flow-state.txt, which is in protobuf's text format. It reads plain
// fields of the outermost message, and the role in localInstance, which takes precedence. It skips
// everything else: nested messages repeat some names for other nodes.
//
//	jobFlowId: "j-3H4A2KJ5EXAMPLE"
//	instanceRole: "master"
//	localInstance { instanceRole: "MASTER" }
//	candidates { host: "..." instanceRole: "core" }
func parseJobFlowState(f *File, text string) {
	var within []string // names of the messages and lists around a token
	var local File      // fields of localInstance
	name := ""          // the last word
	colon := false      // a colon followed it
	for token := range textTokens(text) {
		switch token {
		case "{", "<", "[":
			within = append(within, name)
			name, colon = "", false
		case "}", ">", "]":
			within = within[:max(0, len(within)-1)]
			name, colon = "", false
		case ":":
			colon = true
		case ",", ";":
			name, colon = "", false
		default:
			switch {
			case !colon:
				name = token
				continue
			case len(within) == 0:
				stateField(f, name, token)
			case len(within) == 1 && within[0] == localInstance && name == "instanceRole":
				stateField(&local, name, token)
			}
			name, colon = "", false
		}
	}
	f.Problems = append(f.Problems, local.Problems...)
	if local.Role != "" {
		f.Role = local.Role
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
