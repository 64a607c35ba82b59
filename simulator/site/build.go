package site

import (
	"context"
	"fmt"
	"os"
	"os/exec"
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
	cmd := exec.CommandContext(ctx, "go", append(args, more...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}
