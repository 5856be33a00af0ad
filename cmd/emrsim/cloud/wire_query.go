package cloud

import (
	"net/url"
	"sort"
	"strconv"
	"strings"
)

// query reads the parameters of an EC2 call and remembers which were read. The remaining ones are
// refused.
type query struct {
	form url.Values
	bad  *Error
}

func newQuery(form url.Values) *query { return &query{form: form} }

// text returns the value of a parameter, or "" if it is missing.
func (q *query) text(name string) string {
	v, ok := q.form[name]
	if !ok || len(v) == 0 {
		return ""
	}
	delete(q.form, name)
	return v[0]
}

// list reads name.1, name.2, ...
func (q *query) list(name string) []string {
	var out []string
	for n := 1; ; n++ {
		v, ok := q.form[name+"."+strconv.Itoa(n)]
		if !ok {
			return out
		}
		delete(q.form, name+"."+strconv.Itoa(n))
		out = append(out, v[0])
	}
}

// flag reads a boolean parameter.
func (q *query) flag(name string) bool {
	switch v := q.text(name); v {
	case "", "false":
		return false
	case "true":
		return true
	default:
		q.fail("InvalidParameterValue", "Invalid value '"+printable(v)+"' for boolean parameter "+name)
		return false
	}
}

// number reads an integer. It returns -1 if the parameter is missing.
func (q *query) number(name string) int {
	v := q.text(name)
	if v == "" {
		return -1
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		q.fail("InvalidParameterValue", "Invalid value '"+printable(v)+"' for integer parameter "+name)
		return -1
	}
	return n
}

// tags reads Tag.1.Key, Tag.1.Value, ...
func (q *query) tags() (out []tag, withValue []bool) { return q.tagsOf("") }

// tagsOf reads tags whose names begin with parent.
func (q *query) tagsOf(parent string) (out []tag, withValue []bool) {
	for n := 1; ; n++ {
		prefix := parent + "Tag." + strconv.Itoa(n)
		if _, ok := q.form[prefix+".Key"]; !ok {
			return out, withValue
		}
		_, has := q.form[prefix+".Value"]
		out = append(out, tag{q.text(prefix + ".Key"), q.text(prefix + ".Value")})
		withValue = append(withValue, has)
	}
}

func (q *query) fail(code, message string) {
	if q.bad == nil {
		q.bad = &Error{Code: code, Message: message, Status: 400}
	}
}

// rest returns the first error of the reads, or an error for a parameter that was not read.
func (q *query) rest(call *Call) *Error {
	if q.bad != nil {
		return q.bad
	}
	if len(q.form) == 0 {
		return nil
	}
	names := make([]string, 0, len(q.form))
	for name := range q.form {
		names = append(names, printable(name))
	}
	sort.Strings(names)
	return notImplemented("the parameters " + strings.Join(names, ", ") + " of " + call.Key())
}
