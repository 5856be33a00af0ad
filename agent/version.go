package agent

import "runtime/debug"

// baseVersion is the release that this source is, or leads to. CHANGELOG.md says what is in it.
const baseVersion = "v0.9.0"

// version is stamped by the linker (-X .../agent.version=v1.2.3). It is empty in other builds.
var version string

// Version returns the version of this program: the stamped version, or that of the module, or
// baseVersion with the revision that the program was built from.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = nil
	}
	return versionOf(version, info)
}

func versionOf(stamped string, info *debug.BuildInfo) string {
	if stamped != "" {
		return stamped
	}
	if info == nil {
		return baseVersion + "-devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	var revision, modified string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+changes"
		}
	}
	if revision == "" {
		return baseVersion + "-devel"
	}
	return baseVersion + "-devel-" + revision + modified
}
