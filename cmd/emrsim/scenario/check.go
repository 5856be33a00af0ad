package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Check finds what is wrong in a scenario without running it: unknown commands, wrong flags, wrong
// numbers of words, addresses that are none. It returns all problems with file and line. It does
// not check lines with variables.
func Check(file string, text []byte) error {
	var problems []error
	used := false
	for n, line := range strings.Split(script(string(text)), "\n") {
		words, err := split(line)
		if err == nil && len(words) > 0 {
			used = true
			err = checkLine(line, words)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s:%d: %w", file, n+1, err))
		}
	}
	if !used {
		problems = append(problems, fmt.Errorf("%s: no command", file))
	}
	return errors.Join(problems...)
}

// script returns the commands of a scenario: the text before the first embedded file.
func script(text string) string {
	if strings.HasPrefix(text, "-- ") {
		return ""
	}
	if at := strings.Index(text, "\n-- "); at >= 0 {
		return text[:at+1]
	}
	return text
}

// address matches an address, a range of addresses, or a network, which ends in a slash.
var address = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+(-[\d.]*\d)?/?`)

// named returns all addresses that a scenario names. If EC2 gave one of them to a new node as its
// primary IP, the outcome would depend on chance.
func named(text string) (all []netip.Addr) {
	for line := range strings.Lines(script(text)) {
		for _, word := range address.FindAllString(line, -1) {
			if list, err := addresses([]string{word}); err == nil {
				all = append(all, list...)
			}
		}
	}
	return all
}

func checkLine(line string, words []string) error {
	for strings.HasPrefix(words[0], "[") && strings.HasSuffix(words[0], "]") {
		switch condition := strings.TrimPrefix(strings.Trim(words[0], "[]"), "!"); condition {
		case "other", "root", "iptables", "nft":
		default:
			return fmt.Errorf("unknown condition [%s]", condition)
		}
		if words = words[1:]; len(words) == 0 {
			return errors.New("no command after the condition")
		}
	}
	negative := words[0] == "!"
	if negative {
		if words = words[1:]; len(words) == 0 {
			return errors.New("no command after !")
		}
	}
	name := words[0]
	if slices.Contains(builtin, name) {
		return nil
	}
	c, known := commands[name]
	if !known {
		return fmt.Errorf("unknown command %q", name)
	}
	if strings.Contains(line, "$") {
		return nil
	}
	_, err := c.prepare(name, negative, words[1:])
	return err
}

// split splits a line into words as testscript does: single quotes hold a word together, two of
// them inside quotes are one, and # begins a comment.
func split(line string) (words []string, err error) {
	var word strings.Builder
	inWord, quoted := false, false
	end := func() {
		if inWord {
			words = append(words, word.String())
			word.Reset()
			inWord = false
		}
	}
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\'' && quoted && i+1 < len(line) && line[i+1] == '\'':
			word.WriteByte('\'')
			i++
		case c == '\'':
			quoted = !quoted
			inWord = true
		case quoted:
			word.WriteByte(c)
		case c == ' ' || c == '\t' || c == '\r':
			end()
		case c == '#' && !inWord:
			return words, nil
		default:
			inWord = true
			word.WriteByte(c)
		}
	}
	if quoted {
		return nil, errors.New("a quotation mark without its pair")
	}
	end()
	return words, nil
}
