package netcfg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
)

// readLinks reads all links and their IPv4 addresses.
func readLinks(ctx context.Context) ([]Link, error) {
	list, err := dump(ctx, "links", netlink.LinkList)
	if err != nil {
		return nil, err
	}
	addrs, err := dump(ctx, "addresses", func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, err
	}
	byIndex := map[int]netlink.Link{}
	for _, l := range list {
		byIndex[l.Attrs().Index] = l
	}
	everywhere := sysctlOn("all")
	var links []Link
	for _, l := range list {
		a := l.Attrs()
		link := Link{Name: a.Name, Index: a.Index, MAC: a.HardwareAddr, Kind: l.Type(), Down: a.Flags&net.FlagUp == 0}
		if m, ok := byIndex[a.MasterIndex]; ok {
			link.Master, link.MasterKind = m.Attrs().Name, m.Type()
		}
		for _, e := range addrs {
			ip, ok := netip.AddrFromSlice(e.IP.To4())
			if e.LinkIndex != a.Index || !ok {
				continue
			}
			bits, _ := e.Mask.Size()
			address := Address{Prefix: netip.PrefixFrom(ip, bits), Secondary: e.Flags&syscall.IFA_F_SECONDARY != 0}
			if e.Peer != nil {
				if peer, ok := netip.AddrFromSlice(e.Peer.IP.To4()); ok {
					bits, _ := e.Peer.Mask.Size()
					address.Peer = netip.PrefixFrom(peer, bits)
				}
			}
			link.Addrs = append(link.Addrs, address)
		}
		link.Promote = everywhere || sysctlOn(a.Name)
		links = append(links, link)
	}
	return links, nil
}

// dump reads a netlink dump. If the kernel says that the list changed meanwhile, dump reads it
// again: partial data is never used.
func dump[T any](ctx context.Context, what string, read func() ([]T, error)) ([]T, error) {
	for range nfAttempts {
		list, err := read()
		if err == nil {
			return list, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, syscall.EINTR) {
			return nil, fmt.Errorf("reading %s over netlink: %w", what, err)
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("reading %s over netlink: %w", what, err)
		}
	}
	return nil, fmt.Errorf("reading %s over netlink: they changed during each of %d attempts", what, nfAttempts)
}

func addAddress(a AddAddress) error {
	err := netlink.AddrAdd(linkRef(a.Link, a.Index), addrRef(a.Prefix, netip.Prefix{}))
	if err != nil && !errors.Is(err, syscall.EEXIST) {
		return fmt.Errorf("adding address %s to link %s: %w", a.Prefix, a.Link, err)
	}
	return nil
}

func deleteAddress(d DeleteAddress) (err error) {
	if d.Promote {
		if err := setSysctl(d.Link, "1"); err != nil {
			return fmt.Errorf("keeping the other addresses of link %s while %s is deleted: %w", d.Link, d.Prefix, err)
		}
		defer func() { err = errors.Join(err, setSysctl(d.Link, "0")) }()
	}
	err = netlink.AddrDel(linkRef(d.Link, d.Index), addrRef(d.Prefix, d.Peer))
	if err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fmt.Errorf("deleting address %s from link %s: %w", d.Prefix, d.Link, err)
	}
	return nil
}

func linkRef(name string, index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: name, Index: index}}
}

func addrRef(p, peer netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if peer.IsValid() {
		a.Peer = ipNet(peer)
	}
	return a
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

func sysctlFile(link string) string {
	return filepath.Join("/proc/sys/net/ipv4/conf", filepath.Base(link), "promote_secondaries")
}

// sysctlOn reads promote_secondaries. A setting that cannot be read counts as off, which is the
// safe assumption.
func sysctlOn(link string) bool {
	b, err := os.ReadFile(sysctlFile(link))
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

func setSysctl(link, value string) error {
	return os.WriteFile(sysctlFile(link), []byte(value), 0)
}
