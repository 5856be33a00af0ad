package agent

import (
	"time"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
)

// Names that files of the run use for what has moved to packages of its own.
var (
	brokenProxyText = host.BrokenProxyText
	clean           = text.Clean
	coded           = exit.With
	counted         = text.Count
	countAbsence    = state.CountAbsence
	explainAt       = ec2.ExplainAt
	forgetAbsence   = state.ForgetAbsence
	hasSystemd      = systemd.Running
	pause           = host.Sleep
	isPermission    = ec2.IsPermission
	lockTelling     = state.LockWith
	newArbiter      = ec2.NewNode
	openAWS         = ec2.Open
	openIMDS        = ec2.OpenIMDS
	quoted          = text.Quote
	sameContent     = systemd.SameContent
	saveState       = state.SaveUsing
	systemctl       = systemd.Systemctl
	units           = systemd.Units
)

// Errors that the run tells apart.
var (
	ErrStateForeign = state.ErrForeign
	ErrStateVersion = state.ErrVersion
)

const (
	// StateVersion is the format of the state file.
	StateVersion = state.Version

	absentChecks = state.AbsentChecks
	stateFile    = state.File

	maxLine     = text.MaxLine
	maxQuoted   = text.MaxQuoted
	proxyRemedy = host.ProxyRemedy

	shutdownAction = systemd.ShutdownAction
	unitDir        = systemd.Dir
	unitProgram    = systemd.Program
	unitService    = systemd.Service
	unitTimer      = systemd.Timer
)

func newPatience(log *zap.Logger) *host.Progress { return host.NewProgress(log, time.Now()) }

// Types that the run uses.
type (
	EMRFiles     = emr.Files
	RoleDecision = emr.Decision

	arbiter    = ec2.Node
	awsSession = ec2.Session

	named = pool.Named
)

// ReadEMRFiles reads EMR's files.
func ReadEMRFiles(root string) EMRFiles { return emr.ReadFiles(root) }
