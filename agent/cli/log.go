package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// NewLogger returns the log of a run. The format console writes a line for people for each entry,
// the format json an object for programs. Times are in UTC. verbose adds entries that help to find
// a fault.
//
// Fields such as address, instance and step are for programs that filter the entries. A line for
// people has no step, no field that repeats its message, and none that every line has.
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
	level := zapcore.InfoLevel
	if verbose {
		level = zapcore.DebugLevel
	}
	sink := zapcore.Lock(zapcore.AddSync(text.NewWriter(w)))
	var core zapcore.Core
	if format == "json" {
		config.EncodeLevel = zapcore.LowercaseLevelEncoder
		core = zapcore.NewCore(zapcore.NewJSONEncoder(config), sink, level)
	} else {
		core = console{zapcore.NewCore(zapcore.NewConsoleEncoder(config), sink, level)}
	}
	return zap.New(core, zap.ErrorOutput(zapcore.AddSync(io.Discard)))
}

// console leaves out the fields that say the same as the message.
type console struct{ zapcore.Core }

// With leaves out all fields, which would be on every line.
func (c console) With([]zapcore.Field) zapcore.Core { return c }

func (c console) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c console) Write(e zapcore.Entry, fields []zapcore.Field) error {
	var kept []zapcore.Field
	for _, f := range fields {
		value := f.String
		if s, ok := f.Interface.(fmt.Stringer); ok && f.Type == zapcore.StringerType {
			value = s.String()
		}
		if f.Key != "step" && f.Key != "event" && (value == "" || !strings.Contains(e.Message, value)) {
			kept = append(kept, f)
		}
	}
	if strings.Contains(e.Message, "\n") { // joined errors: an escape would be no sentence
		e.Message = text.Line(e.Message)
	}
	return c.Core.Write(e, kept)
}
