package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"quorate": main})
}

// Scripts of the commands that need no verifier. Each runs with the boot logs and
// IMA lists of real machines beside it, and certificates of made-up TPM vendors.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			for name, from := range map[string]string{
				"logs": "../../verifier/eventlog/testdata/genuine", "odd": "../../verifier/eventlog/testdata/go-attestation",
				"lists": "../../verifier/ima/testdata", "example": "../../verifier/example",
			} {
				if err := os.CopyFS(filepath.Join(env.WorkDir, name), os.DirFS(from)); err != nil {
					return err
				}
			}
			return writeVendors(filepath.Join(env.WorkDir, "vendors"))
		},
	})
}
