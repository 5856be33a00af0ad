package ssmcoord

import (
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// oneAnswer is a Parameter Store that gives the same answer to every call, and an empty list to all
// but the first.
type oneAnswer struct {
	body  string
	calls int
	date  time.Time // of the answers; zero: none
}

func (a *oneAnswer) RoundTrip(r *http.Request) (*http.Response, error) {
	io.Copy(io.Discard, r.Body)
	r.Body.Close()
	if a.calls++; a.calls > 1 {
		a.body = "{}"
	}
	header := http.Header{}
	if !a.date.IsZero() {
		header.Set("Date", a.date.UTC().Format(http.TimeFormat))
	}
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, Header: header,
		ContentLength: int64(len(a.body)), Body: io.NopCloser(strings.NewReader(a.body)),
	}, nil
}

func (a *oneAnswer) ledger() *Ledger {
	return NewLedger(aws.Config{
		Region: "eu-west-1", Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		HTTPClient: &http.Client{Transport: a}, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	}, "/emr-static-ip", "subnet-0a")
}

// TestUnreadableIsBounded: a record of 4 KB that is none does not become a message of 4 KB.
func TestUnreadableIsBounded(t *testing.T) {
	for _, value := range []string{`{"v":` + strings.Repeat("9", 4000) + `}`, `{"time":"` + strings.Repeat("x", 4000) + `"}`} {
		body, err := json.Marshal(map[string]any{"Parameters": []map[string]string{{"Name": "/emr-static-ip/subnet-0a/10.0.1.21", "Value": value}}})
		if err != nil {
			t.Fatal(err)
		}
		a := netip.MustParseAddr("10.0.1.21")
		entries, err := (&oneAnswer{body: string(body)}).ledger().Read(t.Context(), []netip.Addr{a})
		if err != nil || entries[a].State != Unreadable || len(entries[a].Problem.Error()) > maxProblem+10 {
			t.Errorf("%+v, %v", entries[a], err)
		}
	}
}

// TestAgeIsByParameterStoresClock: a node whose clock is minutes ahead does not take the claim of a
// new instance, which EC2 does not list yet, for an old one.
func TestAgeIsByParameterStoresClock(t *testing.T) {
	at := time.Now().Add(-4 * time.Minute).Truncate(time.Second)
	value := Record{Version: 1, Instance: "i-0bbb", ENI: "eni-0bbb", Role: "CORE", Time: at}.Render()
	a := netip.MustParseAddr("10.0.1.21")
	for _, test := range []struct {
		date time.Time
		want Action
	}{{at.Add(5 * time.Second), Skip}, {at.Add(5 * time.Minute), TakeOver}, {time.Time{}, TakeOver}} { // without a date the own clock counts
		body, err := json.Marshal(map[string]any{"Parameters": []map[string]any{
			{"Name": "/emr-static-ip/subnet-0a/10.0.1.21", "Value": value, "LastModifiedDate": at.Unix()},
		}})
		if err != nil {
			t.Fatal(err)
		}
		ledger := (&oneAnswer{body: string(body), date: test.date}).ledger()
		entries, err := ledger.Read(t.Context(), []netip.Addr{a})
		if err != nil {
			t.Fatal(err)
		}
		if v := Judge(self, entries[a], Holder{}, Unseen, ledger.Now()); v.Action != test.want {
			t.Errorf("answer of %s: %s (%s), want %s", test.date, v.Action, v.Reason, test.want)
		}
	}
}

// FuzzLedgerAnswer: whatever Parameter Store answers, an address is absent only where the answer
// says so, has a claim only where that is a whole one, and everything else is unreadable, in words
// that are bounded, or an error.
func FuzzLedgerAnswer(f *testing.F) {
	good := Record{Version: 1, Instance: "i-0a", ENI: "eni-0a", Cluster: "j-A1", Role: "TASK", Time: clock}.Render()
	quoted, err := json.Marshal(good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`{"Parameters":[{"Name":"/emr-static-ip/subnet-0a/10.0.1.21","Value":` + string(quoted) + `,"LastModifiedDate":1.7e9}],"InvalidParameters":["/emr-static-ip/subnet-0a/10.0.1.22"]}`)
	f.Add(`{"Parameters":[{"Name":"/emr-static-ip/subnet-0a/10.0.1.21","Value":"blank"}],"InvalidParameters":["/emr-static-ip/subnet-0a/10.0.1.21","/emr-static-ip/subnet-0a/10.0.1.22"]}`)
	f.Add(`{"InvalidParameters":["/emr-static-ip/subnet-0a/10.0.1.21","/emr-static-ip/subnet-0b/10.0.1.22"]}`)
	f.Add(`{"Parameters":[{"Name":"/emr-static-ip/subnet-0a/10.0.1.21","Value":null}],"NextToken":"x"}`)
	f.Add(`{"Parameters":null,"InvalidParameters":null}`)
	f.Add(``)
	f.Add(`<html>`)
	f.Add(`{"Parameters":[{"Name":"/emr-static-ip/subnet-0a/::ffff:10.0.1.21","Value":` + string(quoted) + `},{"Name":"/emr-static-ip/subnet-0a/10.0.1.21/x","Value":` + string(quoted) + `}]}`)
	addrs := []netip.Addr{netip.MustParseAddr("10.0.1.21"), netip.MustParseAddr("10.0.1.22")}
	f.Fuzz(func(t *testing.T, body string) {
		answer := &oneAnswer{body: body}
		l := answer.ledger()
		entries, err := l.Read(t.Context(), addrs)
		if err == nil {
			for _, a := range addrs {
				e, ok := entries[a]
				switch {
				case !ok:
					t.Fatalf("no entry of %v", a)
				case e.State == Absent:
					if !strings.Contains(body, a.String()) && !strings.Contains(body, `\`) || !strings.Contains(strings.ToLower(body), "invalidparameters") {
						t.Fatalf("%v is absent by %q", a, body)
					}
				case e.State == Claimed:
					if _, err := ParseRecord(e.Record.Render()); err != nil || e.Problem != nil {
						t.Fatalf("%v is claimed by %+v: %v, %v", a, e.Record, err, e.Problem)
					}
				case e.Problem == nil || e.Record != Record{}:
					t.Fatalf("unreadable: %+v", e)
				default:
					text := e.Problem.Error()
					if len(text) > maxProblem+10 || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) {
						t.Fatalf("%d bytes: %q", len(text), text)
					}
				}
			}
			if len(entries) != len(addrs) {
				t.Fatalf("entries %v", entries)
			}
		}
		claims, err := (&oneAnswer{body: body}).ledger().Claims(t.Context(), "i-0a")
		for _, a := range claims {
			if err != nil || !a.Is4() || !strings.Contains(body, "i-0a") && !strings.Contains(body, `\`) {
				t.Fatalf("claim of %v, %v", a, err)
			}
		}
	})
}
