package host

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
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
		golden.Is(t, "progress.txt", strings.Join(got, "\n")+"\n")
	})
}
