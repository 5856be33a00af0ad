package agent

import "github.com/emr-static-ip/emr-static-ip/agent/state"

// State is what a run leaves behind for the next.
type State = state.State

// Settings are the part of a Config that a run without addresses repeats.
type Settings = state.Settings

// Phase is how far the run that wrote the state file had come.
type Phase = state.Phase

// The phases.
const (
	PhaseClaiming   = state.Claiming
	PhaseAttached   = state.Attached
	PhaseProgrammed = state.Programmed
	PhaseWithdrawn  = state.Withdrawn
	PhaseReleasing  = state.Releasing
	PhaseReleased   = state.Released
)

// ScopeOrigin is where a scope comes from.
type ScopeOrigin = state.ScopeOrigin

// The origins of a scope.
const (
	ScopeAsked   = state.ScopeAsked
	ScopeDerived = state.ScopeDerived
)

// LastError is what is known of failed runs under --on-error continue.
type LastError = state.LastError
