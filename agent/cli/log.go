package cli

import (
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// NewLogger is the log of a run on w: a line for people (format console) or a JSON object for programs (json) per entry, with the
// time in UTC. verbose adds what is only of use when something is being looked for.
func NewLogger(w io.Writer, format string, verbose bool) *zap.Logger {
	config := zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", MessageKey: "message", NameKey: "logger",
		LineEnding: zapcore.DefaultLineEnding,
		EncodeTime: func(t time.Time, e zapcore.PrimitiveArrayEncoder) {
			e.AppendString(t.UTC().Format("2006-01-02T15:04:05.000Z"))
		},
		EncodeLevel:      zapcore.CapitalLevelEncoder,
		EncodeDuration:   zapcore.StringDurationEncoder,
		ConsoleSeparator: " ",
	}
	encoder := zapcore.NewConsoleEncoder(config)
	if format == "json" {
		config.EncodeLevel = zapcore.LowercaseLevelEncoder
		encoder = zapcore.NewJSONEncoder(config)
	}
	level := zapcore.InfoLevel
	if verbose {
		level = zapcore.DebugLevel
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(text.NewWriter(w))), level),
		zap.ErrorOutput(zapcore.AddSync(io.Discard)))
}
