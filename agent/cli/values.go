package cli

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
	"github.com/emr-static-ip/emr-static-ip/internal/tag"
)

// The functions below return parsers of one flag's value. A parser stores the value, or returns
// what is wrong with it. name is where the value was written.

func oneOf(into *string, values ...string) func(name, text string) error {
	return func(name, value string) error {
		for _, v := range values {
			if value == v {
				*into = v
				return nil
			}
		}
		problem := fmt.Errorf("%s %s is not one of %s", name, text.Quote(value), strings.Join(values, ", "))
		if likely := text.Nearest(value, values); likely != "" {
			problem = fmt.Errorf("%w: did you mean %s?", problem, likely)
		}
		return problem
	}
}

func parseBool(into *bool) func(name, text string) error {
	return func(name, value string) error {
		v, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%s %s is neither true nor false", name, text.Quote(value))
		}
		*into = v
		return nil
	}
}

func parseDuration(into *time.Duration, most time.Duration) func(name, text string) error {
	return func(name, value string) error {
		d, err := time.ParseDuration(value)
		if err != nil {
			return fmt.Errorf("%s %s is not a time with its unit, such as 90s or 10m", name, text.Quote(value))
		}
		if d <= 0 || d > most {
			return fmt.Errorf("%s %s must be more than 0 and at most %s", name, text.Quote(value), most)
		}
		*into = d
		return nil
	}
}

func parseRate(into *float64) func(name, text string) error {
	return func(name, value string) error {
		r, err := strconv.ParseFloat(value, 64)
		if err != nil || math.IsNaN(r) || r <= 0 || r > 1000 {
			return fmt.Errorf("%s %s is not a number above 0 and up to 1000 (calls a second)", name, text.Quote(value))
		}
		*into = r
		return nil
	}
}

func parseDir(into *string) func(name, text string) error {
	return func(name, value string) error {
		if !filepath.IsAbs(value) {
			return fmt.Errorf("%s %s is not an absolute path", name, text.Quote(value))
		}
		if !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
			return fmt.Errorf("%s %s has a control character, or is not UTF-8", name, text.Quote(value))
		}
		if value = filepath.Clean(value); value == "/" {
			return fmt.Errorf("%s must not be the root directory", name)
		}
		*into = value
		return nil
	}
}

// parseFile reads the name of a file that is to be made.
func parseFile(into *string) func(name, text string) error {
	return func(name, value string) error {
		if !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
			return fmt.Errorf("%s %s has a control character, or is not UTF-8", name, text.Quote(value))
		}
		if filepath.Clean(value) == "/" || strings.HasSuffix(value, "/") {
			return fmt.Errorf("%s %s is a directory, and no file", name, text.Quote(value))
		}
		*into = value
		return nil
	}
}

// parsePrefix reads the ledger's place in Parameter Store. AWS allows letters, digits and ._- in 15
// levels and 1011 characters. The subnet and the address take two levels. Names must not begin with
// aws or ssm.
func parsePrefix(into *string) func(name, text string) error {
	return func(name, value string) error {
		fail := func(why string) error { return fmt.Errorf("%s %s %s", name, text.Quote(value), why) }
		levels := strings.Split(strings.TrimPrefix(value, "/"), "/")
		first := strings.ToLower(levels[0])
		switch {
		case !strings.HasPrefix(value, "/"):
			return fail("must begin with a slash")
		case strings.HasSuffix(value, "/") || strings.Contains(value, "//"):
			return fail("has an empty part (two slashes together, or one at the end)")
		case strings.HasPrefix(first, "aws") || strings.HasPrefix(first, "ssm"):
			return fail("begins with aws or ssm, which AWS reserves")
		case len(levels) > 13 || len(value) > 900:
			return fail("is too long: at most 13 parts and 900 characters")
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r > 127 || !prefixByte(byte(r)) }) {
			return fail("has a character other than letters, digits and . _ - /")
		}
		*into = value
		return nil
	}
}

func prefixByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._-/", c) >= 0
}

func parseSubnet(into *string) func(name, text string) error {
	return func(name, value string) error {
		if !text.EC2ID("subnet-").Fits(value) {
			return fmt.Errorf("%s %s is no subnet: subnet- and hexadecimal digits", name, text.Quote(value))
		}
		*into = value
		return nil
	}
}

func parseCluster(into *string) func(name, text string) error {
	return func(name, value string) error {
		if form := clusterForm(); !form.Fits(value) {
			return fmt.Errorf("%s %s is not the id of a cluster: %s", name, text.Quote(value), form.Name)
		}
		*into = value
		return nil
	}
}

func clusterForm() text.Form {
	return text.EMRID("an id is j- and then capital letters and digits, such as j-1K48XXXXXXHCB", "j-")
}

// isRole reports whether s is the name of an IAM role, or its ARN:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
func isRole(s string) bool {
	const most, account = 64, 12
	if part := strings.SplitN(s, ":", 6); part[0] == "arn" {
		if len(part) != 6 || part[2] != "iam" || part[3] != "" || len(part[4]) != account || strings.Trim(part[4], "0123456789") != "" || !strings.HasPrefix(part[5], "role/") {
			return false
		}
		s = part[5][strings.LastIndexByte(part[5], '/')+1:]
	}
	return s != "" && len(s) <= most && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+=,.@_-") == ""
}

func parseRoleName(into *string) func(name, text string) error {
	return func(name, value string) error {
		if !isRole(value) {
			return fmt.Errorf("%s %s is not the name or the ARN of an IAM role", name, text.Quote(value))
		}
		*into = value
		return nil
	}
}

// parseTags reads tags, several of them with commas between, which no tag has.
func parseTags(name string, texts []string) ([]tag.Tag, error) {
	var items []string
	for _, list := range texts {
		for item := range strings.SplitSeq(list, ",") {
			items = append(items, strings.TrimSpace(item))
		}
	}
	tags, err := tag.ParseList(items)
	if err != nil {
		var problems []error
		for line := range strings.Lines(err.Error()) {
			problems = append(problems, errors.New(name+" "+strings.TrimSpace(line)))
		}
		err = errors.Join(text.Limit(problems)...)
	}
	return tags, err
}

// parseRegion reads a region's name, which becomes part of the names of endpoints.
func parseRegion(into *string) func(name, text string) error {
	return func(name, value string) error {
		if err := pool.CheckRegion(value); err != nil {
			return fmt.Errorf("%s %w", name, err)
		}
		*into = value
		return nil
	}
}
