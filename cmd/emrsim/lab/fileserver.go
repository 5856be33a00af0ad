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

// A fileServer is the server of the data centre. It sends one file over HTTP and remembers the
// source address of each request.
type fileServer struct {
	*namespace
	file    []byte
	servers []*http.Server

	mu   sync.Mutex
	seen map[string]netip.Addr // request id -> source address
}

// newFileServer makes the server of the data centre. It answers after its network is set up and
// serve was called.
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
	for _, port := range []uint16{httpPort, hdfsPort} {
		l, err := s.listen(ctx, netip.AddrPortFrom(at, port).String(), "")
		if err != nil {
			return err
		}
		s.servers = append(s.servers, serveHTTP(l, http.HandlerFunc(s.send)))
	}
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
	w.Write(s.file) // the client reports a broken connection
}

// source returns the source address of a request, or false if no request with that id arrived.
func (s *fileServer) source(request string) (netip.Addr, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.seen[request]
	return a, ok
}

func (s *fileServer) stop() {
	for _, server := range s.servers {
		server.Close()
	}
	s.close()
}

// serveHTTP serves h on l until the server is closed.
func serveHTTP(l net.Listener, h http.Handler) *http.Server {
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go server.Serve(l) // fails only when the server or l is closed
	return server
}
