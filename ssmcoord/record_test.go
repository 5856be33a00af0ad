package ssmcoord

import (
	"strings"
	"testing"
	"time"
)

func TestParseRecord(t *testing.T) {
	good := Record{Version: 1, Instance: "i-0123456789abcdef0", ENI: "eni-0123456789abcdef0", Cluster: "j-2AXXXXXXGAPLF", Role: "CORE", Time: clock}
	if got, err := ParseRecord(good.Render()); err != nil || got != good {
		t.Fatalf("round trip: %+v, %v", got, err)
	}
	if _, err := ParseRecord(strings.TrimSuffix(good.Render(), "}") + `,"later":{"x":1}}`); err != nil {
		t.Errorf("a field of a later release: %v", err)
	}
	edit := func(f func(*Record)) string { r := good; f(&r); return r.Render() }
	for name, value := range map[string]string{
		"empty":                 "",
		"blank, as the script":  "blank",
		"an address":            "10.0.1.11",
		"null":                  "null",
		"a list":                "[]",
		"text after it":         good.Render() + "{}",
		"a later version":       strings.Replace(good.Render(), `"v":1`, `"v":2`, 1),
		"no version":            strings.Replace(good.Render(), `"v":1,`, ``, 1),
		"no instance":           edit(func(r *Record) { r.Instance = "" }),
		"an instance from hell": edit(func(r *Record) { r.Instance = "i-\x1b[2J" }),
		"no interface":          edit(func(r *Record) { r.ENI = "eni-" }),
		"a strange cluster":     edit(func(r *Record) { r.Cluster = "j-../x" }),
		"a strange role":        edit(func(r *Record) { r.Role = "core" }),
		"no time":               edit(func(r *Record) { r.Time = time.Time{} }),
		"keys in capitals":      `{"V":1,"INSTANCE":"i-0a","ENI":"eni-0a","TIME":"2026-11-21T03:00:00Z"}`,
		"one key in capitals":   strings.Replace(good.Render(), `"eni"`, `"Eni"`, 1),
		"a letter that folds":   strings.Replace(good.Render(), `"instance"`, `"in\u017ftance"`, 1),
		"a key in capitals too": strings.TrimSuffix(good.Render(), "}") + `,"Instance":"i-0b"}`,
		"two instances":         strings.TrimSuffix(good.Render(), "}") + `,"instance":"i-0b"}`,
		"two times the same":    strings.TrimSuffix(good.Render(), "}") + `,"role":"CORE"}`,
		"an escaped key":        strings.TrimSuffix(good.Render(), "}") + `,"inst\u0061nce":"i-0b"}`,
		"two keys of tomorrow":  strings.TrimSuffix(good.Render(), "}") + `,"later":1,"later":2}`,
		"a word behind it":      good.Render() + " x",
		"a byte behind it":      good.Render() + "\x00",
		"cut off":               strings.TrimSuffix(good.Render(), "}"),
		"null for an instance":  strings.Replace(good.Render(), `"i-0123456789abcdef0"`, `null`, 1),
		"too long":              `{"x":"` + strings.Repeat("x", MaxRecord) + `"}`,
	} {
		if r, err := ParseRecord(value); err == nil {
			t.Errorf("%s: accepted as %+v", name, r)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add(Record{Version: 1, Instance: "i-0a", ENI: "eni-0a", Cluster: "j-A1", Role: "TASK", Time: clock}.Render())
	f.Add("blank")
	f.Add(`{"v":1,"instance":"i-0a","eni":"eni-0a","time":"2026-11-21T03:00:00+05:30"}`)
	f.Add(`{"v":1}{"v":1}`)
	f.Fuzz(func(t *testing.T, value string) {
		r, err := ParseRecord(value)
		if err != nil {
			return
		}
		again, err := ParseRecord(r.Render())
		if err != nil {
			t.Fatalf("%q is a record, what it renders to is not: %v", value, err)
		}
		if !again.Time.Equal(r.Time.Truncate(time.Second)) || again.Instance != r.Instance || again.ENI != r.ENI || again.Cluster != r.Cluster || again.Role != r.Role {
			t.Fatalf("%+v becomes %+v", r, again)
		}
		if judged := Judge(self, Entry{State: Claimed, Record: r, Modified: clock}, Holder{}, Living, clock); r.Instance != self.Instance && judged.Action != Skip {
			t.Fatalf("the claim of a living owner is not skipped: %+v", judged)
		}
	})
}
