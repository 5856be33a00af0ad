package netcfg

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// nf_tables and conntrack are reached over a netlink socket of our own, for three reasons:
//   - The nftables package passes over expressions that it does not know. A rule with one more
//     condition would look like ours.
//   - The kernel fills its answers up to the size of the largest buffer it has seen. With 4 KiB,
//     the size that the netlink package reads with, 140,000 rules take minutes, because the kernel
//     counts from the first rule again for every buffer.
//   - The kernel refuses a message that is larger than the socket's send buffer.

const (
	nfTime     = 60 * time.Second       // bounds one exchange with the kernel
	nfPoll     = 200 * time.Millisecond // how often a wait looks at its context
	nfBuffer   = 256 << 10              // for one read; the kernel fills at most 32 KiB of it
	nfSend     = 4 << 20                // send buffer: a transaction is one message for the kernel
	nfAttempts = 20                     // how often an interrupted dump is read again
)

// nfMessage is one message to a netfilter subsystem.
type nfMessage struct {
	kind   int // subsystem << 8 | message
	flags  int
	family byte
	data   []byte // attributes
}

// nfRequest builds a message; its attributes must fit a netlink attribute, which is 64 KiB long.
func nfRequest(kind, flags int, family byte, attrs ...netlink.Attribute) (nfMessage, error) {
	data, err := netlink.MarshalAttributes(attrs)
	return nfMessage{kind, flags, family, data}, err
}

func nfString(kind uint16, s string) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: append([]byte(s), 0)}
}

func nfDecoder(b []byte) (*netlink.AttributeDecoder, error) {
	ad, err := netlink.NewAttributeDecoder(b)
	if err == nil {
		ad.ByteOrder = binary.BigEndian
	}
	return ad, err
}

// append adds the message in the kernel's format.
func (m nfMessage) append(b []byte, seq uint32) []byte {
	resource := []byte{0, 0}
	if m.kind == unix.NFNL_MSG_BATCH_BEGIN || m.kind == unix.NFNL_MSG_BATCH_END {
		resource = []byte{0, unix.NFNL_SUBSYS_NFTABLES}
	}
	size := unix.NLMSG_HDRLEN + 4 + len(m.data)
	b = binary.NativeEndian.AppendUint32(b, uint32(size))
	b = binary.NativeEndian.AppendUint16(b, uint16(m.kind))
	b = binary.NativeEndian.AppendUint16(b, uint16(m.flags|unix.NLM_F_REQUEST))
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, m.family, unix.NFNETLINK_V0)
	b = append(append(b, resource...), m.data...)
	return append(b, make([]byte, (4-size%4)%4)...)
}

// nfSocket is a netlink socket in the network namespace of the calling thread.
type nfSocket struct {
	fd  int
	end time.Time
	buf *[nfBuffer]byte
}

// nfBuffers keeps the buffers of closed sockets: a process that looks at the kernel once needs one.
var nfBuffers = sync.Pool{New: func() any { return new([nfBuffer]byte) }}

func nfOpen(ctx context.Context) (*nfSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &nfSocket{fd: fd, end: time.Now().Add(nfTime), buf: nfBuffers.Get().(*[nfBuffer]byte)}
	if d, ok := ctx.Deadline(); ok && d.Before(s.end) {
		s.end = d
	}
	// Root of the machine may have any size, root of a user namespace at most net.core.wmem_max.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, nfSend) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, nfSend)
	}
	tv := unix.NsecToTimeval(nfPoll.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		s.close()
		return nil, os.NewSyscallError("setsockopt", err)
	}
	return s, nil
}

func (s *nfSocket) close() {
	unix.Close(s.fd)
	nfBuffers.Put(s.buf)
}

func (s *nfSocket) send(b []byte) error {
	return os.NewSyscallError("sendto", unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
}

// receive reads what the kernel has to say next. It ends with the context.
func (s *nfSocket) receive(ctx context.Context) ([]byte, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if time.Now().After(s.end) {
			return nil, fmt.Errorf("waiting for the kernel's answer over netlink: %w", os.ErrDeadlineExceeded)
		}
		n, _, flags, _, err := unix.Recvmsg(s.fd, s.buf[:], nil, 0)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, os.NewSyscallError("recvmsg", err)
		case flags&unix.MSG_TRUNC != 0:
			return nil, errors.New("the kernel's answer over netlink was cut short")
		}
		return s.buf[:n], nil
	}
}

// nfReply is one message of the kernel.
type nfReply struct {
	kind, flags int
	seq         uint32
	data        []byte
}

// replies splits what was read into messages.
func replies(b []byte) (list []nfReply, err error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return nil, fmt.Errorf("a netlink message of %d bytes in an answer of %d", size, len(b))
		}
		list = append(list, nfReply{int(binary.NativeEndian.Uint16(b[4:])), int(binary.NativeEndian.Uint16(b[6:])),
			binary.NativeEndian.Uint32(b[8:]), b[unix.NLMSG_HDRLEN:size]})
		b = b[min(len(b), (size+3)&^3):]
	}
	return list, nil
}

// errno is the error that a message of type NLMSG_ERROR or NLMSG_DONE carries; nil for success.
func (r nfReply) errno() error {
	if len(r.data) < 4 {
		return nil
	}
	if code := int32(binary.NativeEndian.Uint32(r.data)); code < 0 {
		return syscall.Errno(-code)
	}
	return nil
}

// nfDump asks for a list and calls each for every entry. If the kernel says that the list changed
// meanwhile, nfDump calls reset and reads it again: partial lists are never used.
func nfDump(ctx context.Context, m nfMessage, reset func(), each func(family byte, ad *netlink.AttributeDecoder) error) error {
	m.flags |= unix.NLM_F_DUMP
	for range nfAttempts {
		reset()
		whole, err := nfDumpOnce(ctx, m, each)
		if err != nil || whole {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return fmt.Errorf("it changed during each of %d attempts: %w", nfAttempts, syscall.EINTR)
}

// nfDumpOnce reports whether the list is whole.
func nfDumpOnce(ctx context.Context, m nfMessage, each func(byte, *netlink.AttributeDecoder) error) (whole bool, err error) {
	s, err := nfOpen(ctx)
	if err != nil {
		return false, err
	}
	defer s.close()
	if err := s.send(m.append(nil, 1)); err != nil {
		return false, err
	}
	whole = true
	for {
		b, err := s.receive(ctx)
		if err != nil {
			return false, err
		}
		list, err := replies(b)
		if err != nil {
			return false, err
		}
		for _, r := range list {
			if r.flags&unix.NLM_F_DUMP_INTR != 0 {
				whole = false
			}
			switch {
			case r.kind == unix.NLMSG_DONE || r.kind == unix.NLMSG_ERROR:
				err := r.errno()
				if errors.Is(err, syscall.EINTR) {
					return false, nil
				}
				return whole, err
			case len(r.data) < 4:
				return false, fmt.Errorf("a netfilter message of %d bytes", len(r.data))
			case !whole: // read to the end, and not used
			default:
				ad, err := nfDecoder(r.data[4:])
				if err != nil {
					return false, err
				}
				if err := each(r.data[0], ad); err != nil {
					return false, err
				}
			}
		}
	}
}

// nfTalk sends one message that is neither a dump nor part of a transaction. Answer, if not nil, is
// called for what the kernel returns.
func nfTalk(ctx context.Context, m nfMessage, answer func(*netlink.AttributeDecoder) error) error {
	s, err := nfOpen(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	m.flags |= unix.NLM_F_ACK
	if err := s.send(m.append(nil, 1)); err != nil {
		return err
	}
	for {
		b, err := s.receive(ctx)
		if err != nil {
			return err
		}
		list, err := replies(b)
		if err != nil {
			return err
		}
		for _, r := range list {
			switch {
			case r.kind == unix.NLMSG_ERROR:
				return r.errno()
			case answer == nil || len(r.data) < 4:
			default:
				ad, err := nfDecoder(r.data[4:])
				if err != nil {
					return err
				}
				if err := answer(ad); err != nil {
					return err
				}
			}
		}
	}
}

// nfBatch sends messages as one transaction: all of them take effect, or none. With trial the
// kernel checks them and throws them away, as for `nft --check`: it never sees the end of the
// transaction.
func nfBatch(ctx context.Context, messages []nfMessage, trial bool) error {
	if len(messages) == 0 {
		return nil
	}
	s, err := nfOpen(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	b := nfMessage{kind: unix.NFNL_MSG_BATCH_BEGIN}.append(nil, 0)
	for i, m := range messages {
		if i == len(messages)-1 {
			m.flags |= unix.NLM_F_ACK // the kernel acknowledges messages in their order, errors always
		}
		b = m.append(b, uint32(i+1))
	}
	if !trial {
		b = nfMessage{kind: unix.NFNL_MSG_BATCH_END}.append(b, uint32(len(messages)+1))
	}
	if err := s.send(b); err != nil {
		return fmt.Errorf("sending %d messages of %d bytes: %w", len(messages), len(b), err)
	}
	var failed error // the first error is the cause of others
	for {
		b, err := s.receive(ctx)
		if err != nil {
			return errors.Join(failed, err)
		}
		list, err := replies(b)
		if err != nil {
			return errors.Join(failed, err)
		}
		for _, r := range list {
			if r.kind != unix.NLMSG_ERROR {
				continue
			}
			if err := r.errno(); err != nil && failed == nil {
				failed = fmt.Errorf("message %d of %d: %w", r.seq, len(messages), err)
			}
			if r.seq == uint32(len(messages)) {
				return failed
			}
		}
	}
}
