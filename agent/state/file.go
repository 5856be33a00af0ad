package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/atomicfile"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

// The reasons why Load refuses an existing state file. A missing file is no error.
var (
	ErrCorrupt = errors.New("is damaged")
	ErrVersion = errors.New("has a format that this version does not know")
	// ErrForeign is for a file that came with an AMI of another instance.
	ErrForeign = errors.New("belongs to another instance")
	ErrUnsafe  = errors.New("could have been written by somebody else")
)

// File is the name of the state file in the state directory.
const File = "state.json"

// maxState limits the state file. 4096 addresses in each of three pools, with intents and former
// ones, take less than half of it.
const maxState = 1 << 20

// Load reads the state that an earlier run left in dir. If there is none, Load returns (State{},
// false, nil). If instanceID is not empty and the file belongs to another instance, the error is
// ErrForeign, since its addresses are somebody else's. Load returns no state with an error.
func Load(dir, instanceID string) (State, bool, error) {
	p := filepath.Join(dir, File)
	s, err := loadState(dir, p)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return State{}, false, nil
	case err != nil:
		return State{}, false, fmt.Errorf("reading state file %s: %w", p, err)
	case instanceID != "" && s.InstanceID != instanceID:
		return State{}, false, fmt.Errorf("reading state file %s: it %w (%s; this is %s), probably through an image",
			p, ErrForeign, text.Quote(s.InstanceID), instanceID)
	}
	return s, true, nil
}

func loadState(dir, p string) (State, error) {
	if err := checkOwnDir(dir); err != nil {
		return State{}, err
	}
	if err := checkOwn(p, 0); err != nil {
		return State{}, err
	}
	data, err := text.ReadFile(p, maxState)
	if errors.Is(err, text.ErrTooLong) || errors.Is(err, syscall.EIO) { // no run can ever read it
		return State{}, fmt.Errorf("it %w: it %w", ErrCorrupt, err)
	}
	if err != nil {
		return State{}, err
	}
	return decodeState(data)
}

func decodeState(data []byte) (State, error) {
	var v struct {
		Version *int `json:"version"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return State{}, fmt.Errorf("it %w: %w", ErrCorrupt, text.JSONError(err))
	}
	if v.Version == nil {
		return State{}, fmt.Errorf("it %w: no version", ErrCorrupt)
	}
	if *v.Version != Version {
		return State{}, fmt.Errorf("it %w: %d, not %d", ErrVersion, *v.Version, Version)
	}
	var s State
	if err := json.Unmarshal(data, &s); err != nil {
		return State{}, fmt.Errorf("it %w: %w", ErrCorrupt, text.JSONError(err))
	}
	if err := s.validate(); err != nil {
		return State{}, fmt.Errorf("it %w: %w", ErrCorrupt, err)
	}
	return s, nil
}

// validate checks what a later run acts upon.
func (s State) validate() error {
	if s.InstanceID == "" {
		return errors.New("no instance")
	}
	switch s.Phase {
	case Claiming, Attached, Programmed, Withdrawn, Releasing, Released:
	default:
		return fmt.Errorf("unknown phase %s", text.Quote(string(s.Phase)))
	}
	single := []struct {
		what string
		addr interface {
			IsValid() bool
			Is4() bool
		}
	}{{"primary", s.Primary}, {"static", s.Static}, {"former", s.Before}}
	for _, a := range single {
		if a.addr.IsValid() && !a.addr.Is4() {
			return fmt.Errorf("%s address %v is not IPv4", a.what, a.addr)
		}
	}
	pools := append(s.Settings.Pools.Named(), pool.Named{What: "former", Addrs: s.Former}, pool.Named{What: "intended", Addrs: s.Intents},
		pool.Named{What: "unproven", Addrs: s.Unproven})
	for _, set := range pools {
		if len(set.Addrs) > pool.Max {
			return fmt.Errorf("%d %s addresses", len(set.Addrs), set.What)
		}
		for _, a := range set.Addrs {
			if !a.Is4() {
				return fmt.Errorf("%s address %q is not IPv4", set.What, a)
			}
		}
	}
	if len(s.VPC) > MaxNetworks {
		return fmt.Errorf("%d VPC CIDRs", len(s.VPC))
	}
	if len(s.Gateways) > MaxNetworks {
		return fmt.Errorf("%d networks of gateway endpoints", len(s.Gateways))
	}
	for _, p := range slices.Concat(s.VPC, s.Gateways) {
		if !p.IsValid() || !p.Addr().Is4() {
			return fmt.Errorf("network %v is not IPv4", p)
		}
	}
	return nil
}

// MaxNetworks limits each list of networks. AWS allows 50 VPC CIDRs at most.
const MaxNetworks = 1000

// Save replaces the state file in dir. It fills in the version. It makes dir, for this user
// alone, if dir is missing. The caller holds the Lock of dir.
func Save(dir string, s State) error { return SaveUsing(dir, s, nil) }

// SaveUsing is Save with write in place of Write, if write is not nil.
func SaveUsing(dir string, s State, write func(dir string, content []byte) error) error {
	if write == nil {
		write = Write
	}
	s.Version = Version
	err := s.validate()
	if err == nil {
		var content []byte
		if content, err = json.MarshalIndent(s, "", "  "); err == nil {
			return write(dir, append(content, '\n'))
		}
	}
	return fmt.Errorf("writing state file %s: %w", filepath.Join(dir, File), err)
}

// Write replaces the state file in dir by content. A crash or a power failure leaves the old
// file or the new one.
func Write(dir string, content []byte) error {
	p := filepath.Join(dir, File)
	err := ensureStateDir(dir)
	if err == nil {
		if err = checkOwn(p, 0); err == nil || errors.Is(err, fs.ErrNotExist) {
			err = atomicfile.Replace(p, bytes.NewReader(content), 0o600)
		}
	}
	if err != nil {
		return fmt.Errorf("writing state file %s: %w", p, err)
	}
	return nil
}

// checkOwn checks that p has the wanted type and is not a link, that it belongs to root or to this
// user, and that nobody else may write it. Its errors have a remedy.
func checkOwn(p string, want fs.FileMode) error {
	info, err := os.Lstat(p)
	if err != nil {
		return err
	}
	mode := info.Mode()
	if mode.Type() != want {
		kind := "a file"
		if want == fs.ModeDir {
			kind = "a directory"
		}
		return unsafeFile(fmt.Errorf("%s %w: it is not %s (%s)", p, ErrUnsafe, kind, mode), "find out who put it there, and remove it")
	}
	if mode.Perm()&0o022 != 0 {
		return unsafeFile(fmt.Errorf("%s %w: mode %s", p, ErrUnsafe, mode), "find out who wrote there, then: chmod go-w "+p)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: its owner is unknown", p)
	}
	if own := os.Geteuid(); int(stat.Uid) != own && stat.Uid != 0 {
		return unsafeFile(fmt.Errorf("%s %w: it belongs to user %d, not %d", p, ErrUnsafe, stat.Uid, own),
			fmt.Sprintf("find out who owns it, then: chown %d %s", own, p))
	}
	return nil
}

// unsafeFile returns the error for a file that others could have written.
func unsafeFile(err error, remedy string) error {
	return exit.With(exit.Internal, err, remedy+"; a state that is not needed can be removed: run again with the list of addresses")
}
