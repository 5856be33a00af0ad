package agent

import (
	"net/netip"
)

// view holds what IMDS says about the static IP of the state file.
type view struct {
	answers bool   // IMDS answers properly
	lists   bool   // it lists the static IP
	foreign string // why the state file is not this instance's; nothing of it is used then
	silent  error  // why IMDS does not answer properly
}

// item says whether IMDS lists the static IP.
func (v view) item(static netip.Addr) *Item {
	item := &Item{What: "IMDS lists " + static.String(), State: itemMissing}
	switch {
	case !v.answers:
		item.State, item.Detail = itemUnknown, "IMDS does not answer"
	case v.lists:
		item.State = itemPresent
	}
	return item
}
