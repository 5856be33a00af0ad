package cloud

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

func TestConcurrentWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{ConcurrentCreates: Race{Probability: 1, Window: time.Second}, ConcurrentUpdates: Race{Probability: 0}})
		a, b := w.on(w.cores[0].InstanceID), w.on(w.cores[1].InstanceID)
		put := func(c clients) error {
			_, err := c.ssm.PutParameter(t.Context(), putInput("/x", "v"))
			return err
		}
		if err := errors.Join(put(a), put(b)); err != nil {
			t.Errorf("a second create inside the window: %v", err)
		}
		if err := put(a); code(err) != "ParameterAlreadyExists" {
			t.Errorf("the creator's second create: %v", err)
		}
		time.Sleep(2 * time.Second)
		if err := put(b); code(err) != "ParameterAlreadyExists" {
			t.Errorf("a create after the window: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{ConcurrentUpdates: Race{Probability: 1, Window: time.Second}})
		a, b := w.on(w.cores[0].InstanceID), w.on(w.cores[1].InstanceID)
		in := putInput("/x", "v")
		in.Overwrite = aws.Bool(true)
		if _, err := a.ssm.PutParameter(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		if _, err := b.ssm.PutParameter(t.Context(), in); code(err) != "TooManyUpdates" {
			t.Errorf("update at once: %v", err)
		}
		if _, err := b.ssm.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: in.Name}); code(err) != "TooManyUpdates" {
			t.Errorf("delete at once: %v", err)
		}
		time.Sleep(2 * time.Second)
		if _, err := b.ssm.PutParameter(t.Context(), in); err != nil {
			t.Errorf("later: %v", err)
		}
	})
}

// TestRecreate checks that a deleted name cannot be created again for a while, and that an existing
// parameter can be changed.
func TestRecreate(t *testing.T) {
	for _, test := range []struct {
		name    string
		o       Recreate
		code    string
		created bool
	}{
		{"off", Recreate{}, "", true},
		{"refused", Recreate{Refuse: 1}, "TooManyUpdates", false},
		{"lost", Recreate{Lose: 1}, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Options{Recreate: test.o})
				a, b := w.on(w.cores[0].InstanceID), w.on(w.cores[1].InstanceID)
				in := putInput("/x", "v")
				in.Overwrite = aws.Bool(true)
				put := func(c clients, want string) {
					t.Helper()
					if _, err := c.ssm.PutParameter(t.Context(), in); code(err) != want {
						t.Errorf("put: %v, want %q", err, want)
					}
				}
				there := func(want bool) {
					t.Helper()
					if got := len(w.Parameters()) == 1; got != want {
						t.Errorf("parameter exists: %t, want %t", got, want)
					}
				}
				put(a, "") // a new name
				put(b, "") // an existing name
				for _, d := range []time.Duration{0, RecreateWait - time.Nanosecond} {
					if _, err := a.ssm.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: in.Name}); err != nil && code(err) != "ParameterNotFound" {
						t.Fatal(err)
					}
					time.Sleep(d)
					put(b, test.code)
					there(test.created)
				}
				time.Sleep(time.Nanosecond)
				put(b, "")
				there(true)
			})
		})
	}
}

// TestRecreateIsDrawn checks that each call draws its outcome if both failures are possible.
func TestRecreateIsDrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{Recreate: Recreate{Refuse: 0.3, Lose: 0.3}})
		c := w.on(w.cores[0].InstanceID)
		refused, lost, created := 0, 0, 0
		for i := range 300 {
			in := putInput(fmt.Sprintf("/x/%d", i), "v")
			if _, err := c.ssm.PutParameter(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			if _, err := c.ssm.DeleteParameter(t.Context(), &ssm.DeleteParameterInput{Name: in.Name}); err != nil {
				t.Fatal(err)
			}
			switch _, err := c.ssm.PutParameter(t.Context(), in); {
			case code(err) == "TooManyUpdates":
				refused++
			case err != nil:
				t.Fatal(err)
			case len(w.Parameters()) == created:
				lost++
			default:
				created++
			}
		}
		if refused < 60 || lost < 60 || created < 90 {
			t.Errorf("%d refused, %d lost, %d created", refused, lost, created)
		}
	})
}

func TestStaleReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{StaleSSM: Staleness{Probability: 1, MaxAge: 2 * time.Second}})
		c := w.on("")
		if _, err := c.ssm.PutParameter(t.Context(), putInput("/x", "v")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		found := 0
		for range 100 {
			if _, err := c.ssm.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/x")}); err == nil {
				found++
			} else if code(err) != "ParameterNotFound" {
				t.Fatal(err)
			}
		}
		if found < 20 || found > 80 {
			t.Errorf("%d of 100 reads saw the parameter, want about 50", found)
		}
		time.Sleep(2 * time.Second)
		if _, err := c.ssm.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/x")}); err != nil {
			t.Errorf("a read later than the greatest age: %v", err)
		}
	})
}
