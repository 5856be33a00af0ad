package agent

import (
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// Names that files of the run still use. They go when those files are rewritten (issue 12).
var (
	clean    = text.Clean
	coded    = exit.With
	counted  = text.Count
	quoted   = text.Quote
	readIPv4 = text.IPv4
)

const (
	maxLine   = text.MaxLine
	maxQuoted = text.MaxQuoted
)
