package site

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The packages of the shipped programs that hosts and verifiers run.
var packages = []string{
	"github.com/quorate/quorate/cmd/quorate", "github.com/quorate/quorate/cmd/quorate-agent",
	"github.com/quorate/quorate/cmd/quorate-verifier",
}

// Build compiles the shipped programs as the README says, and more packages,
// into a folder. It has to run inside the module.
func Build(ctx context.Context, dir string, more ...string) error {
	args := append([]string{"build", "-buildvcs=false", "-o", dir + "/"}, packages...)
	return compile(ctx, append(args, more...))
}

func compile(ctx context.Context, args []string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}

// BuildWithClock is Build of packages whose programs' clocks are wrong by so many
// seconds: the standard library's time.Now is compiled with an addition. Programs
// of Go ask the kernel's shared page for the time, where nothing can be put
// between; everything else about them is as shipped.
func BuildWithClock(ctx context.Context, dir string, seconds int, packages ...string) error {
	overlay, err := wrongClock(ctx, dir, seconds)
	if err != nil {
		return fmt.Errorf("build with a wrong clock: %w", err)
	}
	args := append([]string{"build", "-buildvcs=false", "-overlay", overlay, "-o", dir + "/"}, packages...)
	return compile(ctx, args)
}

// wrongClock writes the changed source file and returns the path of the overlay
// that puts it into the place of the original.
func wrongClock(ctx context.Context, dir string, seconds int) (overlay string, err error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	const now = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(source), now) != 1 {
		return "", fmt.Errorf("%s has another Now", original)
	}
	changed := filepath.Join(dir, "time.go.txt")
	text := strings.Replace(string(source), now, now+fmt.Sprintf("\tsec += %d\n", seconds), 1)
	if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
		return "", err
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, replace, 0o600)
}
