package cloud

import (
	"errors"
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
			t.Errorf("two creates at once: %v", err)
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
			t.Errorf("%d of 100 reads saw it, want about 50", found)
		}
		time.Sleep(2 * time.Second)
		if _, err := c.ssm.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/x")}); err != nil {
			t.Errorf("a read later than the greatest age: %v", err)
		}
	})
}
