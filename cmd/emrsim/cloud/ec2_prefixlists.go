package cloud

import (
	"net/netip"
	"slices"
	"time"
)

// PrefixList is a list of networks that AWS maintains, for example the addresses of a service with
// gateway endpoints: https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html
type PrefixList struct {
	ID, Name string // pl-..., com.amazonaws.REGION.s3
	CIDRs    []netip.Prefix
}

// prefixLists returns the region's lists. Their networks are documentation ranges.
func (c *Cloud) prefixLists() []PrefixList {
	name := func(service string) string { return "com.amazonaws." + c.opts.Region + "." + service }
	return []PrefixList{
		{"pl-02cd2c6b", name("dynamodb"), []netip.Prefix{netip.MustParsePrefix("203.0.113.128/25")}},
		{"pl-63a5400a", name("s3"), []netip.Prefix{netip.MustParsePrefix("203.0.113.0/26"), netip.MustParsePrefix("203.0.113.64/26")}},
	}
}

func prepareDescribePrefixLists(r *request) (*operation, *Error) {
	d := r.query.describeInput("PrefixListId", 5, 1000, "prefix-list-id", "prefix-list-name")
	return d.operation(r, func(x *xmlWriter, now, t time.Time) *Error {
		lists := r.cloud.prefixLists()
		find := func(id string) (PrefixList, bool) {
			i := slices.IndexFunc(lists, func(l PrefixList) bool { return l.ID == id })
			if i < 0 {
				return PrefixList{}, false
			}
			return lists[i], true
		}
		field := func(l PrefixList, name string, yield func(string) bool) {
			switch name {
			case "prefix-list-id":
				yield(l.ID)
			case "prefix-list-name":
				yield(l.Name)
			}
		}
		return list(&d, x, inventory[PrefixList]{"prefixListSet", lists, find, "InvalidPrefixListId.NotFound", "prefix list", nil, field, func(l PrefixList) {
			x.open("item")
			x.text("prefixListId", l.ID)
			x.text("prefixListName", l.Name)
			x.open("cidrSet")
			for _, p := range l.CIDRs {
				x.text("item", p.String())
			}
			x.close("cidrSet")
			x.close("item")
		}, 0})
	})
}
