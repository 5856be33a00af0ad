// Package host is the machine that a run works on, as the run sees it: its files, environment
// variables, kernel, clock and log. Tests replace parts of it.
package host

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// Environment is everything that a run touches outside its own memory. The zero value is the
// machine itself. Tests use a namespace, a file tree and a model of the cloud.
type Environment struct {
	// Root is the directory that has the node's files, for tests. It is empty on a node.
	Root string
	// HTTP sends the requests to AWS and IMDS. nil means the SDK's own transport, and for IMDS one
	// that ignores proxies.
	HTTP http.RoundTripper
	// Rand returns random numbers in [0,1), for jitter. nil means math/rand.
	Rand func() float64
	// Resolve looks up the addresses of a host. nil means the system's resolver. AWS and IMDS are
	// not looked up with it.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// NameServerAnswers reports whether a name server answers a question for a name. nil means DNS.
	NameServerAnswers func(ctx context.Context, server netip.Addr, name string) bool
	// Dial opens a TCP connection, from the given address if that is valid. nil means the system's.
	// AWS and IMDS are not called with it.
	Dial func(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error)
	// OpenKernel opens the node's kernel. nil means netcfg.Open.
	OpenKernel func(context.Context, netcfg.Options) (netcfg.Kernel, error)
	// SaveState writes the content of the state file in dir. nil means the package state's own.
	SaveState func(dir string, content []byte) error
	// Systemctl runs systemctl. nil means the program itself, without a shell.
	Systemctl func(ctx context.Context, args ...string) error
	// Executable returns the file of the running program. nil means /proc/self/exe.
	Executable func() (string, error)
	// LookupEnv returns an environment variable. nil means os.LookupEnv.
	LookupEnv func(string) (string, bool)
	// Environ returns all environment variables as NAME=value. nil means that nothing looks at
	// them.
	Environ func() []string
	// Stdout gets the report.
	Stdout io.Writer
	// Stderr gets the log, and the error that ends the run.
	Stderr io.Writer
	// Log is nil until the command line has said which format is wanted.
	Log *zap.Logger

	// Redactor hides secrets in Stdout and Stderr. nil hides nothing.
	Redactor *Redactor
}

// Path returns where the node's absolute path p is found.
func (e Environment) Path(p string) string { return filepath.Join(e.Root, p) }

// Getenv returns the value of an environment variable, or "" if it is not set.
func (e Environment) Getenv(name string) string {
	lookup := e.LookupEnv
	if lookup == nil {
		lookup = os.LookupEnv
	}
	value, _ := lookup(name)
	return value
}

// Logger returns the log of the run. It is never nil.
func (e Environment) Logger() *zap.Logger {
	if e.Log == nil {
		return zap.NewNop()
	}
	return e.Log
}

// Random returns the run's source of jitter.
func (e Environment) Random() func() float64 {
	if e.Rand != nil {
		return e.Rand
	}
	return rand.Float64
}

// LookupHost returns the addresses of a host, IPv4 addresses first, within LookupWait.
func (e Environment) LookupHost(ctx context.Context, host string) ([]netip.Addr, error) {
	if e.Resolve != nil {
		ctx, cancel := context.WithTimeout(ctx, LookupWait)
		defer cancel()
		return e.Resolve(ctx, host)
	}
	return resolve(ctx, host, net.DefaultResolver.LookupNetIP)
}

// DialTCP opens a TCP connection, from the given address if that is valid.
func (e Environment) DialTCP(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	if e.Dial != nil {
		return e.Dial(ctx, from, to)
	}
	var d net.Dialer
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	return d.DialContext(ctx, "tcp", to.String())
}

// ProgramFile returns the file that this program was started from.
func (e Environment) ProgramFile() (string, error) {
	if e.Executable == nil {
		return "/proc/self/exe", nil // works also if that file is gone
	}
	p, err := e.Executable()
	if err != nil {
		return "", fmt.Errorf("finding this program's own file: %w", err)
	}
	return p, nil
}

// Exists reports whether there is anything at p, also a dangling link.
func Exists(p string) bool {
	_, err := os.Lstat(p)
	return err == nil
}
