package doctor

import "testing"

func TestReservedOfOne(t *testing.T) {
	for n, want := range map[int]string{
		1: "the address is in an explicit subnet CIDR reservation, so EC2 gives it only",
		2: "all 2 are in explicit subnet CIDR reservations, so EC2 gives them only",
	} {
		if got := reserved(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
}
