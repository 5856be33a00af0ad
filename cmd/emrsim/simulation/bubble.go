package simulation

import (
	"errors"
	"io"
	"os"
	"reflect"
	"testing"
	"testing/synctest"
	"time"
)

// InBubble runs f in virtual time, in a program that is not a test. Time passes only while every
// goroutine of f waits.
//
// synctest needs a *testing.T, and testing gives one only to tests. So InBubble runs a test of its
// own by testing.MainStart, which go test uses for this, too. It parses the command line's flags:
// call it once, after all else has parsed them.
func InBubble(f func()) error {
	args, stdout := os.Args, os.Stdout
	defer func() { os.Args, os.Stdout = args, stdout }()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	os.Args, os.Stdout = []string{args[0], "-test.count=1", "-test.timeout=0"}, null // it prints PASS
	test := func(t *testing.T) { synctest.Test(t, func(*testing.T) { f() }) }
	if code := testing.MainStart(noTest{}, []testing.InternalTest{{Name: "virtual", F: test}}, nil, nil, nil).Run(); code != 0 {
		return errors.New("the simulation failed")
	}
	return nil
}

// noTest is what testing.MainStart needs from the tool that builds tests. It is not used.
type noTest struct{}

type corpusEntry = struct {
	Parent     string
	Path       string
	Data       []byte
	Values     []any
	Generation int
	IsSeed     bool
}

func (noTest) ImportPath() string                                       { return "" }
func (noTest) ModulePath() string                                       { return "" }
func (noTest) MatchString(string, string) (bool, error)                 { return true, nil }
func (noTest) SetPanicOnExit0(bool)                                     {}
func (noTest) StartCPUProfile(io.Writer) error                          { return nil }
func (noTest) StopCPUProfile()                                          {}
func (noTest) StartTestLog(io.Writer)                                   {}
func (noTest) StopTestLog() error                                       { return nil }
func (noTest) WriteProfileTo(string, io.Writer, int) error              { return nil }
func (noTest) RunFuzzWorker(func(corpusEntry) error) error              { return nil }
func (noTest) CheckCorpus([]any, []reflect.Type) error                  { return nil }
func (noTest) ResetCoverage()                                           {}
func (noTest) SnapshotCoverage()                                        {}
func (noTest) ReadCorpus(string, []reflect.Type) ([]corpusEntry, error) { return nil, nil }

func (noTest) CoordinateFuzzing(time.Duration, int64, time.Duration, int64, int, []corpusEntry, []reflect.Type, string, string) error {
	return nil
}

func (noTest) InitRuntimeCoverage() (mode string, tearDown func(string, string) (string, error), snapshot func() float64) {
	return "", nil, nil
}
