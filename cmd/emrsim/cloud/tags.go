package cloud

// tag is one tag of a resource.
type tag struct{ key, value string }

// tagSet keeps tags in the order in which they were set. For a handful of tags a list is faster
// than a map.
type tagSet []tag

func (s tagSet) get(key string) (string, bool) {
	for _, t := range s {
		if t.key == key {
			return t.value, true
		}
	}
	return "", false
}

func (s *tagSet) set(key, value string) {
	for i, t := range *s {
		if t.key == key {
			(*s)[i].value = value
			return
		}
	}
	*s = append(*s, tag{key, value})
}

func (s *tagSet) remove(key string) {
	for i, t := range *s {
		if t.key == key {
			*s = append((*s)[:i:i], (*s)[i+1:]...)
			return
		}
	}
}

func (s tagSet) toMap() map[string]string {
	m := make(map[string]string, len(s))
	for _, t := range s {
		m[t.key] = t.value
	}
	return m
}
