package record

import "testing"

func TestFailure(t *testing.T) {
	const whole = "2026-11-29T23:00:43.295Z INFO identified the node {}\n\nemr-static-ip failed: arguments or addresses are wrong (exit code 2)\n" +
		"on i-0761094085716c281 (CORE)\nwhat failed\n  a cause: 10.0.1.11\n  and more\nnothing was changed\nwhat to do\n  the remedy\n"
	for _, test := range []struct{ log, cause, remedy string }{
		{whole, "a cause: 10.0.1.11\nand more", "the remedy"},
		{"what failed\n  operation error EC2: Assign, https response error StatusCode: 403, RequestID: 69b8-aa, api error X: no action. Encoded authorization failure message: 1gl6\n",
			"operation error EC2: Assign, api error X: no action", ""},
		{"", "it said nothing", ""},
		{"working\nemr-static-ip: no luck\n\n", "emr-static-ip: no luck", ""},
	} {
		if cause, remedy := Failure(test.log); cause != test.cause || remedy != test.remedy {
			t.Errorf("%q:\ngot  %q, %q\nwant %q, %q", test.log, cause, remedy, test.cause, test.remedy)
		}
	}
}
