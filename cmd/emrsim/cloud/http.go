package cloud

import (
	"net"
	"net/http"
	"time"
)

// Handler is the AWS API over HTTP: all services at one address, told apart by X-Amz-Target or Action. Signatures are verified.
func (c *Cloud) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c.answer(w, req, func(in *inbound) (*reply, error) {
			in.verify = true
			return c.serve(req.Context(), in)
		})
	})
}

// IMDSHandler is one instance's metadata service over HTTP.
func (c *Cloud) IMDSHandler(instanceID string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c.answer(w, req, func(in *inbound) (*reply, error) {
			return c.serveIMDS(req.Context(), instanceID, in)
		})
	})
}

// roundTrip is the least time an answer takes, as on a network. The SDK's client (smithy-go 1.28) closes a request's body as soon as it has the
// response's head; when its own writing goroutine has not noticed the body's end by then, it drops the connection with the response half
// read ("use of closed network connection"). On a busy machine with no network in between this happened once in some thousand calls.
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
	_, _ = w.Write(r.body) // a caller that has gone needs no answer
}

// cut ends the connection without an answer, by a reset where the connection is TCP.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it the end is a FIN, which is no failure of this model's
	}
	_ = conn.Close()
}
