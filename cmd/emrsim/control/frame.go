// Package control lets other terminals work with a rehearsal that stays (emrsim launch --keep):
// list nodes, open shells, end and add nodes. A client sends one request as a line of JSON; then
// frames go both ways until the server has sent the exit code.
package control

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// Kinds of frames.
const (
	frameStdin  byte = 'i' // to the server: input; an empty one means its end
	frameResize byte = 'w' // to the server: rows and columns, two bytes each
	frameStdout byte = 'o' // to the client
	frameStderr byte = 'e' // to the client
	frameExit   byte = 'x' // to the client: the exit code, one byte; the last frame
)

// maxFrame is the maximum size of a frame's payload.
const maxFrame = 1 << 16

// A Request is what a client asks for.
type Request struct {
	Command string   `json:"command"` // nodes, shell, exec, end, add
	Node    string   `json:"node,omitempty"`
	Args    []string `json:"args,omitempty"`
	Abrupt  bool     `json:"abrupt,omitempty"`
	Term    string   `json:"term,omitempty"` // the client's TERM, if its input is a terminal
	Rows    uint16   `json:"rows,omitempty"`
	Columns uint16   `json:"columns,omitempty"`
}

// A sender writes frames. Its methods may be used concurrently.
type sender struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *sender) send(kind byte, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	head := [5]byte{kind}
	binary.BigEndian.PutUint32(head[1:], uint32(len(payload)))
	if _, err := s.w.Write(head[:]); err != nil {
		return err
	}
	_, err := s.w.Write(payload)
	return err
}

// stream is the writer of one kind of frames.
type stream struct {
	sender *sender
	kind   byte
}

func (s stream) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := p[:min(len(p), maxFrame)]
		if err := s.sender.send(s.kind, part); err != nil {
			return n, err
		}
		n, p = n+len(part), p[len(part):]
	}
	return n, nil
}

// receive reads a frame.
func receive(r io.Reader) (kind byte, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("a frame of %d bytes", n)
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r, payload)
	return head[0], payload, err
}
