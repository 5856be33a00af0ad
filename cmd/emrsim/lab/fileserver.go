package lab

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// FileSize is the size of the file that a download fetches, in bytes.
const FileSize = 4 << 20

// A fileServer is the data centre's: it sends one file over HTTP, and remembers for each request from which address it came.
type fileServer struct {
	*namespace
	file   []byte
	server *http.Server

	mu   sync.Mutex
	seen map[string]netip.Addr // request id -> source address
}

// newFileServer makes the data centre's server; it answers once the network around it stands and serve was called.
func newFileServer(ctx context.Context) (*fileServer, error) {
	ns, err := newNamespace(ctx, "file-server", nil)
	if err != nil {
		return nil, err
	}
	s := &fileServer{namespace: ns, file: make([]byte, FileSize), seen: map[string]netip.Addr{}}
	var seed [32]byte
	rand.NewChaCha8(seed).Read(s.file)
	return s, nil
}

func (s *fileServer) serve(ctx context.Context, at netip.Addr) error {
	l, err := s.listen(ctx, netip.AddrPortFrom(at, httpPort).String(), "")
	if err != nil {
		return err
	}
	s.server = serveHTTP(l, http.HandlerFunc(s.send))
	return nil
}

// send answers GET /file?request=ID.
func (s *fileServer) send(w http.ResponseWriter, r *http.Request) {
	source, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.mu.Lock()
	s.seen[r.URL.Query().Get("request")] = source.Addr()
	s.mu.Unlock()
	w.Header().Set("Content-Length", strconv.Itoa(len(s.file)))
	w.Write(s.file) // a client that goes away is the client's finding
}

// source is the address from which a request came; false where none with that id arrived.
func (s *fileServer) source(request string) (netip.Addr, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.seen[request]
	return a, ok
}

func (s *fileServer) stop() {
	if s.server != nil {
		s.server.Close()
	}
	s.close()
}

// serveHTTP answers on l until the server is closed.
func serveHTTP(l net.Listener, h http.Handler) *http.Server {
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go server.Serve(l) // its only error is that it was closed, or that l was
	return server
}
