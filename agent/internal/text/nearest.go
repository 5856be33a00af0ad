package text

import (
	"strings"
	"unicode/utf8"
)

// maxGuess limits the words that are compared, in bytes. A longer word is not a typing error.
const maxGuess = 64

// Nearest returns the name that word was probably meant to be, or "". A short word with two errors
// matches nothing.
func Nearest(word string, names []string) string {
	if len(word) > maxGuess || !utf8.ValidString(word) {
		return ""
	}
	word = strings.ToLower(word)
	best, least := "", min(len(word)/3, 3)+1
	for _, name := range names {
		lower := strings.ToLower(name)
		d := slips(word, lower)
		if len(word) >= 3 && strings.HasPrefix(lower, word) {
			d = min(d, 1)
		}
		if d < least {
			best, least = name, d
		}
	}
	return best
}

// slips returns how many letters must be inserted, deleted, changed, or swapped with their
// neighbour to turn a into b.
func slips(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
