package text

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Table writes rows with aligned columns.
func Table(b *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// Cells returns texts of others as cells of a table: cleaned, and a dash for nothing.
func Cells(values ...string) []string {
	cells := make([]string, len(values))
	for i, v := range values {
		if cells[i] = Clean(v, MaxQuoted); v == "" {
			cells[i] = "-"
		}
	}
	return cells
}

// Age returns a duration in its two largest units: 26d, 3h5m, 4m10s, 12s.
func Age(d time.Duration) string {
	const day = 24 * time.Hour
	switch d = max(0, d.Round(time.Second)); {
	case d >= 2*day:
		return fmt.Sprintf("%dd", d/day)
	case d >= time.Hour:
		return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s")
	}
	return d.String()
}
