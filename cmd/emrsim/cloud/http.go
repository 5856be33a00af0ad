package cloud

import (
	"net"
	"net/http"
	"time"
)

// Handler serves the AWS API over HTTP: all services at one address, selected by X-Amz-Target or
// Action. It verifies signatures.
func (c *Cloud) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c.answer(w, req, func(in *inbound) (*reply, error) {
			in.verify = true
			return c.serve(req.Context(), in)
		})
	})
}

// IMDSHandler serves one instance's metadata service over HTTP.
func (c *Cloud) IMDSHandler(instanceID string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c.answer(w, req, func(in *inbound) (*reply, error) {
			return c.serveIMDS(req.Context(), instanceID, in)
		})
	})
}

// roundTrip is the minimum time of an answer, as on a network. The SDK's client (smithy-go 1.28)
// closes the body of a request as soon as it has the head of the response. If its writing goroutine
// has not reached the end of the body by then, it drops the connection while the response is half
// read ("use of closed network connection"). On a busy machine without a network in between, this
// happened about once in some thousand calls.
const roundTrip = 3 * time.Millisecond

func (c *Cloud) answer(w http.ResponseWriter, req *http.Request, serve func(*inbound) (*reply, error)) {
	body, err := readBody(req)
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	arrived := time.Now()
	r, err := serve(&inbound{method: req.Method, host: req.Host, path: req.URL.Path, rawQuery: req.URL.RawQuery, header: req.Header, body: body})
	if err != nil {
		cut(w)
		return
	}
	if c.wait(req.Context(), roundTrip-time.Since(arrived)) != nil {
		cut(w)
		return
	}
	r.headers(w.Header())
	w.WriteHeader(r.status)
	if r.broken {
		_, _ = w.Write(r.body[:len(r.body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler) // the server closes the connection
	}
	_, _ = w.Write(r.body) // the caller may have gone
}

// cut ends the connection without an answer. It resets a TCP connection.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it the connection ends with a FIN, which is not the failure to be modelled
	}
	_ = conn.Close()
}
