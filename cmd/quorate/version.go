package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionView is what `version` prints.
type versionView struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty" doc:"commit it was built from"`
	Modified bool   `json:"modified" doc:"built from files that differ from the commit"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (c *cli) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: "Say which quorate this is", Example: "  quorate version --json", Args: exactly(0),
		RunE: func(*cobra.Command, []string) error {
			v := versionView{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					switch s.Key {
					case "vcs.revision":
						v.Revision = s.Value
					case "vcs.modified":
						v.Modified = s.Value == "true"
					}
				}
			}
			return c.show(v, func() { c.say("quorate %s %s %s %s", v.Version, v.Revision, v.Go, v.Platform) })
		},
	}
	return shaped(cmd, versionView{})
}
