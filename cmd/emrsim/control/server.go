package control

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/terminal"
)

// A Site is the rehearsal that other terminals work with.
type Site struct {
	Cluster *lab.Cluster
	Binary  string   // the program of the bootstrap action
	Args    []string // its arguments
}

// Serve answers other terminals until the context ends. It needs the socket that Open has opened in
// the process that started this one.
func (s *Site) Serve(ctx context.Context) error {
	l, err := listener()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() { l.Close() })
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("serving other terminals: %w", err)
		}
		all.Go(func() {
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			s.answer(ctx, c)
		})
	}
}

// maxRequest is the maximum size of a request.
const maxRequest = 1 << 20

// answer serves one connection.
func (s *Site) answer(ctx context.Context, c *net.UnixConn) {
	if uid, err := peer(c); err != nil || uid != os.Geteuid() {
		return
	}
	in := bufio.NewReader(io.LimitReader(c, maxRequest))
	line, err := in.ReadBytes('\n')
	if err != nil {
		return
	}
	// What follows the request is not limited.
	rest := io.MultiReader(io.LimitReader(in, int64(in.Buffered())), c)
	out := &sender{w: c}
	t := &talk{Site: s, in: rest, out: out, stdout: stream{out, frameStdout}, stderr: stream{out, frameStderr}}
	code := 2
	if err := json.Unmarshal(line, &t.Request); err == nil {
		code, err = t.do(ctx)
		if err != nil {
			fmt.Fprintln(t.stderr, "emrsim:", err)
			if code <= 0 {
				code = 1
			}
		}
	} else {
		fmt.Fprintln(t.stderr, "emrsim: a request that cannot be read:", err)
	}
	_ = out.send(frameExit, []byte{byte(code)}) // the client may have gone
}

// A talk is one request while it is answered.
type talk struct {
	*Site
	Request
	in             io.Reader
	out            *sender
	stdout, stderr stream
}

func (t *talk) do(ctx context.Context) (code int, err error) {
	switch t.Command {
	case "nodes":
		return 0, t.nodes()
	case "shell", "exec":
		return t.session(ctx)
	case "end":
		return t.end(ctx)
	case "add":
		return t.add(ctx)
	}
	return 2, fmt.Errorf("unknown request %q", t.Command)
}

func (t *talk) nodes() error {
	w := tabwriter.NewWriter(t.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tROLE\tINSTANCE\tPRIMARY IP\tSTATIC IP")
	for _, n := range t.Cluster.Nodes() {
		static := "-"
		for _, a := range t.Cluster.Secondary(n) {
			static = a.String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", n.Name, n.Role, n.Instance, n.Primary.Address, static)
	}
	return w.Flush()
}

// node returns the node of the request.
func (t *talk) node() (*lab.Node, error) {
	var names []string
	for _, n := range t.Cluster.Nodes() {
		if n.Name == t.Node {
			return n, nil
		}
		names = append(names, n.Name)
	}
	return nil, fmt.Errorf("no node %q: there are %s", t.Node, strings.Join(names, ", "))
}

// session runs a shell or a program, on a pseudo-terminal if the client has a terminal.
func (t *talk) session(ctx context.Context) (int, error) {
	n, err := t.node()
	if err != nil {
		return 2, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := lab.Session{Argv: t.Request.Args, Term: t.Term}
	if t.Term == "" {
		// A pipe of the kernel: the end of the program does not wait for the client's input.
		r, w, err := os.Pipe()
		if err != nil {
			return 1, err
		}
		defer r.Close()
		go func() {
			defer cancel() // the client has gone
			t.input(w, func() { w.Close() }, nil)
			w.Close()
		}()
		s.Stdin, s.Stdout, s.Stderr = r, t.stdout, t.stderr
		return t.Cluster.Session(ctx, n, s)
	}
	control, tty, err := terminal.Open()
	if err != nil {
		return 1, err
	}
	defer control.Close()
	if err := terminal.Resize(control, terminal.Size{Rows: t.Rows, Columns: t.Columns}); err != nil {
		return 1, errors.Join(err, tty.Close())
	}
	if len(t.Request.Args) == 0 {
		fmt.Fprint(t.stdout, strings.ReplaceAll(t.Cluster.Hint(), "\n", "\r\n"))
	}
	go func() {
		defer cancel()
		t.input(control, func() {}, func(size terminal.Size) { _ = terminal.Resize(control, size) })
	}()
	finish := terminal.Copy(t.stdout, control)
	s.Terminal = tty
	code, err := t.Cluster.Session(ctx, n, s)
	tty.Close()
	finish()
	return code, err
}

// input passes the client's input on until the client goes.
func (t *talk) input(to io.Writer, end func(), resize func(terminal.Size)) {
	for {
		kind, payload, err := receive(t.in)
		switch {
		case err != nil:
			return
		case kind == frameStdin && len(payload) == 0:
			end()
		case kind == frameStdin:
			if _, err := to.Write(payload); err != nil {
				end() // the program does not read any more
			}
		case kind == frameResize && len(payload) == 4 && resize != nil:
			resize(terminal.Size{Rows: binary.BigEndian.Uint16(payload), Columns: binary.BigEndian.Uint16(payload[2:])})
		}
	}
}

// end ends a node.
func (t *talk) end(ctx context.Context) (int, error) {
	n, err := t.node()
	if err != nil {
		return 2, err
	}
	switch {
	case t.Abrupt:
	case t.Cluster.ID == "": // a unit of systemd releases the address there
		fmt.Fprintf(t.stdout, "%s: systemd does not run here, so nothing releases the address at poweroff: EC2 frees it when the instance has ended\n", n.Name)
	default:
		fmt.Fprintf(t.stdout, "%s: EMR's shutdown actions run\n", n.Name)
		got, err := t.Cluster.RunShutdownActions(ctx, n)
		if err != nil {
			return 1, err
		}
		t.show(got)
	}
	t.Cluster.Terminate(n)
	fmt.Fprintf(t.stdout, "%s: instance %s is terminated\n", n.Name, n.Instance)
	return 0, nil
}

// add adds a node of a role and runs the bootstrap action on it, as a resize does.
func (t *talk) add(ctx context.Context) (int, error) {
	role := strings.ToUpper(t.Node)
	n, err := t.Cluster.Grow(ctx, role)
	switch plain := t.Cluster.ID == ""; {
	case plain != (role == ""): // the wrong kind of node
		return 2, err
	case err != nil:
		return 1, err
	}
	fmt.Fprintf(t.stdout, "%s: %s is up: %s %s; the bootstrap action runs\n", n.Name, n.Instance, n.Link, n.Primary.Address)
	got, err := t.Cluster.Run(ctx, n, lab.Command{Program: t.Binary, Args: t.Site.Args})
	if err != nil {
		return 1, err
	}
	t.show(got)
	return got.ExitCode, nil
}

// show passes on what a program has printed: the log, and then the report, as on the node.
func (t *talk) show(got lab.Result) {
	io.WriteString(t.stderr, got.Stderr)
	io.WriteString(t.stdout, got.Stdout)
}
