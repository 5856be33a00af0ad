package cloud

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits for the filters of one EC2 call.
const (
	maxFilters      = 50
	maxFilterValues = 200
	maxFilterLength = 255
)

func ec2Error(code, message string) *Error {
	return &Error{Code: code, Message: message, Status: http.StatusBadRequest}
}

// filter is one filter of a describe call. It matches if any of its values matches.
type filter struct {
	name   string
	values []string
}

// filters reads Filter.1.Name, Filter.1.Value.1, ... Each name must be one of known, or begin with
// "tag:".
func (q *query) filters(known ...string) []filter {
	var out []filter
	for n := 1; ; n++ {
		prefix := "Filter." + strconv.Itoa(n)
		if _, ok := q.form[prefix+".Name"]; !ok {
			break
		}
		f := filter{q.text(prefix + ".Name"), q.list(prefix + ".Value")}
		switch {
		case len(f.values) > maxFilterValues:
			q.fail("FilterLimitExceeded", "The maximum number of filter values specified on a single call is "+strconv.Itoa(maxFilterValues))
		case len(f.values) == 0:
			q.fail("InvalidParameterValue", "The filter '"+printable(f.name)+"' has no values")
		case !slices.Contains(known, f.name) && !(strings.HasPrefix(f.name, "tag:") && slices.Contains(known, "tag:")):
			q.fail("InvalidParameterValue", "The filter '"+printable(f.name)+"' is invalid")
		}
		for _, v := range f.values {
			if utf8.RuneCountInString(v) > maxFilterLength {
				q.fail("FilterLimitExceeded", "The maximum length for a filter value is 255 characters")
			}
		}
		out = append(out, f)
	}
	if len(out) > maxFilters {
		q.fail("FilterLimitExceeded", "The maximum number of filters on a single call is "+strconv.Itoa(maxFilters))
	}
	return out
}

// matches reports whether all filters match. field yields the values for a filter's name.
func matches(filters []filter, tags tagSet, field func(name string, yield func(string) bool)) bool {
	for i := range filters {
		f := &filters[i]
		hit := false
		accept := func(v string) bool {
			if f.accepts(v) {
				hit = true
			}
			return !hit
		}
		switch key, isTag := strings.CutPrefix(f.name, "tag:"); {
		case isTag:
			if v, ok := tags.get(key); ok {
				accept(v)
			}
		case f.name == "tag-key":
			for _, t := range tags {
				accept(t.key)
			}
		default:
			field(f.name, accept)
		}
		if !hit {
			return false
		}
	}
	return true
}

func (f *filter) accepts(v string) bool {
	for _, want := range f.values {
		if wildcard(want, v) {
			return true
		}
	}
	return false
}

// wildcard reports whether s matches a pattern in which * is any text and ? is any character.
func wildcard(pattern, s string) bool {
	if !strings.ContainsAny(pattern, "*?") {
		return pattern == s
	}
	p, star, mark, i := 0, -1, 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p, i = p+1, i+1
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// describe has the parameters that all describe calls share.
type describe struct {
	ids     []string
	filters []filter
	limit   int // 0: no paging
	start   int
	dryRun  bool
}

// describeInput reads the common parameters. idName is the name of the list of ids ("" for none). A
// page has from least to most entries.
func (q *query) describeInput(idName string, least, most int, known ...string) describe {
	d := describe{dryRun: q.flag("DryRun")}
	if idName != "" {
		d.ids = q.list(idName)
	}
	d.filters = q.filters(known...)
	size := q.number("MaxResults")
	token := q.text("NextToken")
	if size >= 0 {
		switch {
		case len(d.ids) > 0:
			q.fail("InvalidParameterCombination", "The parameter "+idName+" cannot be used with the parameter maxResults")
		case size < least || size > most:
			q.fail("InvalidParameterValue", "Value ( "+strconv.Itoa(size)+" ) for parameter maxResults is invalid. Expecting a value between "+strconv.Itoa(least)+" and "+strconv.Itoa(most)+".")
		}
		d.limit = size
	}
	if token != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(token, "page-"))
		if err != nil || n < 0 || !strings.HasPrefix(token, "page-") {
			q.fail("InvalidNextToken", "The token '"+printable(token)+"' is invalid")
		}
		d.start = n
		if d.limit == 0 {
			d.limit = most
		}
	}
	return d
}

// params returns a short form of the parameters for the record.
func (d *describe) params() string {
	if len(d.filters) == 0 && len(d.ids) == 1 {
		return d.ids[0]
	}
	var b strings.Builder
	b.WriteString(few(d.ids))
	for _, f := range d.filters {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(printable(f.name))
		b.WriteByte('=')
		b.WriteString(few(f.values))
	}
	return b.String()
}

// few joins values, and shortens a long list to its first three.
func few(values []string) string {
	if len(values) <= 3 {
		return printable(strings.Join(values, ","))
	}
	return printable(strings.Join(values[:3], ",")) + ",+" + strconv.Itoa(len(values)-3)
}

// operation returns the operation of a describe call. list writes the entries as of t.
func (d *describe) operation(r *request, list func(x *xmlWriter, now, t time.Time) *Error) (*operation, *Error) {
	op := &operation{params: d.params(), unfiltered: len(d.ids) == 0 && len(d.filters) == 0, dryRun: d.dryRun}
	if err := r.query.rest(r.call); err != nil {
		return op, err
	}
	op.run = func(now time.Time) ([]byte, bool, *Error) {
		t := now
		if r.cloud.opts.StaleEC2.Probability > 0 {
			t = now.Add(-r.cloud.opts.StaleEC2.draw(newRand(mixNumber(r.call.Seed, 6))))
		}
		var x xmlWriter
		if err := list(&x, now, t); err != nil {
			return nil, false, err
		}
		return x.b, false, nil
	}
	return op, nil
}

// page returns the bounds of one page of n entries, and the next token. The token is a position in
// the filtered list. As on AWS, an entry that appears or disappears between two pages may be missed
// or shown twice.
func (d *describe) page(n int) (from, to int, token string) {
	from, to = min(d.start, n), n
	if d.limit > 0 && from+d.limit < n {
		to = from + d.limit
		token = "page-" + strconv.Itoa(to)
	}
	return from, to, token
}

// An inventory is what a describe call may list.
type inventory[T any] struct {
	set        string // name of the response's list
	all        []T
	find       func(id string) (found T, ok bool)
	code, noun string // of the error for ids that do not exist
	tags       func(T) tagSet
	field      func(item T, name string, yield func(string) bool) // for filters
	write      func(T)
	size       int // of an item in the response, in bytes, if it is worth a thought
}

// list writes one page of what the call asks for by ids and filters.
func list[T any](d *describe, x *xmlWriter, l inventory[T]) *Error {
	if len(d.ids) > 0 {
		l.all = nil
		var missing []string
		for _, id := range d.ids {
			if item, ok := l.find(id); ok {
				l.all = append(l.all, item)
			} else {
				missing = append(missing, id)
			}
		}
		if missing != nil {
			return notFound(l.code, l.noun, missing)
		}
	}
	var found []T
	for _, item := range l.all {
		var tags tagSet
		if l.tags != nil {
			tags = l.tags(item)
		}
		if matches(d.filters, tags, func(name string, yield func(string) bool) { l.field(item, name, yield) }) {
			found = append(found, item)
		}
	}
	from, to, token := d.page(len(found))
	if l.size > 0 {
		x.b = make([]byte, 0, 64+l.size*(to-from))
	}
	x.open(l.set)
	for _, item := range found[from:to] {
		l.write(item)
	}
	x.close(l.set)
	x.text("nextToken", token)
	return nil
}

// notFound returns EC2's error for ids that do not exist.
func notFound(code, noun string, missing []string) *Error {
	if len(missing) == 1 {
		return ec2Error(code, "The "+noun+" ID '"+printable(missing[0])+"' does not exist")
	}
	return ec2Error(code, "The "+noun+" IDs '"+printable(strings.Join(missing, ", "))+"' do not exist")
}
