package agent

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// Environment is what a run touches outside its own memory: a node's by default; in tests a namespace, a file tree, a
// model of the cloud.
type Environment struct {
	Root string            // put before every path of a node: its EMR files, its state; empty on a node
	HTTP http.RoundTripper // for AWS and IMDS; nil: the SDK's own transport, and one that ignores proxies
	Rand func() float64    // jitter, in [0,1)
	// Resolve looks up a host name and Dial opens a TCP connection, from the given address where it is valid; nil: the system's. AWS and IMDS are
	// not called through them.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	Dial    func(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error)
	// OpenKernel reaches the node's kernel; nil: netcfg.Open.
	OpenKernel func(context.Context, netcfg.Options) (netcfg.Kernel, error)
	// SaveState writes the state file; nil: the function of that name.
	SaveState func(dir string, s State) error
	// Systemctl runs systemctl with these arguments; nil: the program, without a shell.
	Systemctl func(ctx context.Context, args ...string) error
	// Executable is the file that this program was started from; nil: /proc/self/exe.
	Executable func() (string, error)
	LookupEnv  func(string) (string, bool) // environment variables
	Stdout     io.Writer                   // the report
	Stderr     io.Writer                   // the log, and the error that ends the run
	Log        *zap.Logger                 // nil until the command line has said which format is wanted
}

// Path is where the node's absolute path p is found.
func (e Environment) Path(p string) string { return filepath.Join(e.Root, p) }

// Getenv is the value of an environment variable; empty where it is not set.
func (e Environment) Getenv(name string) string {
	lookup := e.LookupEnv
	if lookup == nil {
		lookup = os.LookupEnv
	}
	value, _ := lookup(name)
	return value
}
