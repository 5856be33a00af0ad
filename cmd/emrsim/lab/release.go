package lab

import (
	"regexp"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// releases matches the release labels of EMR: emr-7.13.0, and from version 8 on emr-spark-8.1.0.
// There is no emr-8.0.0: https://docs.aws.amazon.com/emr/latest/ReleaseGuide
var releases = regexp.MustCompile(`^emr-([5-7]\.\d+\.\d+|spark-([89]|[1-9]\d+)\.\d+\.\d+)$`)

// ReleaseLabel completes a release such as emr-7.x to an existing one, and reports whether EMR
// could have a release with the label.
func ReleaseLabel(release string) (label string, known bool) {
	switch release {
	case "emr-5.x":
		release = "emr-5.36.2"
	case "emr-6.x":
		release = "emr-6.15.0"
	case "emr-7.x":
		release = cloud.DefaultRelease
	case "emr-spark-8.x":
		release = "emr-spark-8.1.0"
	}
	return release, releases.MatchString(release)
}
