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

// dumps bounds how often an interrupted dump is read again.
const dumps = 20

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
	kinds := map[int]string{}
	for _, l := range list {
		kinds[l.Attrs().Index] = l.Type()
	}
	var links []Link
	for _, l := range list {
		a := l.Attrs()
		master := kinds[a.MasterIndex]
		link := Link{Name: a.Name, Index: a.Index, MAC: a.HardwareAddr, Kind: l.Type(), Bonded: master == "bond" || master == "team"}
		for _, e := range addrs {
			ip, ok := netip.AddrFromSlice(e.IP.To4())
			if e.LinkIndex != a.Index || !ok {
				continue
			}
			bits, _ := e.Mask.Size()
			link.Addrs = append(link.Addrs, Address{netip.PrefixFrom(ip, bits), e.Flags&syscall.IFA_F_SECONDARY != 0})
		}
		link.Promote = sysctlOn("all") || sysctlOn(a.Name)
		links = append(links, link)
	}
	return links, nil
}

// dump reads a netlink dump, again if the kernel says that it changed meanwhile: partial data is never used.
func dump[T any](ctx context.Context, what string, read func() ([]T, error)) ([]T, error) {
	for range dumps {
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
	return nil, fmt.Errorf("reading %s over netlink: they changed during each of %d attempts", what, dumps)
}

func addAddress(a AddAddress) error {
	err := netlink.AddrAdd(linkRef(a.Link, a.Index), addrRef(a.Prefix))
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
	err = netlink.AddrDel(linkRef(d.Link, d.Index), addrRef(d.Prefix))
	if err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fmt.Errorf("deleting address %s from link %s: %w", d.Prefix, d.Link, err)
	}
	return nil
}

func linkRef(name string, index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: name, Index: index}}
}

func addrRef(p netip.Prefix) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}}
}

func sysctlFile(link string) string {
	return filepath.Join("/proc/sys/net/ipv4/conf", filepath.Base(link), "promote_secondaries")
}

// sysctlOn reads promote_secondaries. What cannot be read counts as off, which is the careful answer.
func sysctlOn(link string) bool {
	b, err := os.ReadFile(sysctlFile(link))
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

func setSysctl(link, value string) error {
	return os.WriteFile(sysctlFile(link), []byte(value), 0)
}
