package host

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		p := NewProgress(zap.New(core), time.Now())
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		for range 150 {
			p.Waiting(ctx, 2*time.Minute, "for %s", "x\x1b\ny")
			time.Sleep(time.Second)
		}
		var got []string
		for _, entry := range logs.All() {
			got = append(got, entry.Message)
		}
		want := []string{
			`waiting: for x\u001b\ny (at most 1m55s more)`,
			`waiting: for x\u001b\ny (at most 55s more)`,
			`waiting: for x\u001b\ny (at most 7m55s more)`,
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	})
}
