package lab

import (
	"regexp"
	"slices"
	"strings"
)

// logLine matches a line of the log, which depends on when things happen.
var logLine = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z (DEBUG|INFO|WARN|ERROR) `)

// passing matches lines of a report that depend on the machine, on time, or on other nodes.
var passing = regexp.MustCompile(`^(version|instance|cluster|subnet|interface|primary IP|AWS calls|conntrack|last run) |^changed=`)

// Identifiers, times and the like, which the model makes up anew for each cluster.
var invented = []struct {
	is   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\b(i|eni|subnet|vpc|ig|vpce|acl|sg)-[0-9a-f]{17}\b`), "$1-N"},
	{regexp.MustCompile(`\bj-[0-9A-Z]{13}\b`), "j-N"},
	{regexp.MustCompile(`\b02(:[0-9a-f]{2}){5}\b`), "MAC"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]?\d\d:?\d\d:?\d\d(\.\d+)?Z?`), "TIME"},
	{regexp.MustCompile(`\d{8}T\d{6}Z`), "TIME"},
	{regexp.MustCompile(`\b\d+ ms\b`), "N ms"},
	{regexp.MustCompile(`\bprocess \d+`), "process N"},
	{regexp.MustCompile(`duration=\S+`), "duration=N"},
	{regexp.MustCompile(`failure message: [\w-]+`), "failure message: CODE"},
	{regexp.MustCompile(`\b198\.18\.0\.\d+\b`), "PUBLIC"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+->`), "127.0.0.1:PORT->"},
	{regexp.MustCompile(`\b1[12]m\d+s\b`), "12m0s"}, // a clock that is wrong
}

// onList matches the static IP of a core node, which depends on the node's rank.
var onList = regexp.MustCompile(`\b10\.0\.1\.1[0-3]\b`)

// steady returns a text without what differs from cluster to cluster, for a golden file.
func (c *Cluster) steady(text string) string {
	for _, n := range c.Nodes() {
		text = regexp.MustCompile(`\b`+regexp.QuoteMeta(n.Primary.Address.String())+`\b`).ReplaceAllString(text, "PRIMARY")
	}
	for _, r := range invented {
		text = r.is.ReplaceAllString(text, r.with)
	}
	return text
}

// section returns a section of a report, with its title.
func section(report, title string) string {
	_, after, _ := strings.Cut("\n"+report, "\n"+title+"\n")
	text := title + "\n"
	for line := range strings.Lines(after) {
		if !strings.HasPrefix(line, " ") {
			break
		}
		text += line
	}
	return text
}

// told returns what a run tells an operator: the end of a failed run without its log, or the
// report. What was changed depends on the machine, and is left out.
func (c *Cluster) told(got Result) string {
	var lines []string
	section := ""
	for line := range strings.Lines(got.Stdout + got.Stderr) {
		line = strings.TrimRight(line, "\n")
		if !strings.HasPrefix(line, " ") {
			section = line
		}
		changes := strings.HasPrefix(section, "change") && line != section
		if line != "" && !changes && !logLine.MatchString(line) && !passing.MatchString(line) {
			lines = append(lines, line)
		}
	}
	return c.steady(strings.Join(slices.Clip(lines), "\n"))
}
