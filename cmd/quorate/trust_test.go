package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/vendorca"
	"github.com/quorate/quorate/verifier"
	"github.com/quorate/quorate/verifier/trust"
)

// writeVendors puts certificates of made-up vendors into dir, good ones and all
// kinds that an import must refuse, and a consortium file in dir/net whose
// bundle is empty.
func writeVendors(dir string) error {
	now := time.Now()
	acme, err := vendorca.New(vendorca.Options{Name: "Acme Silicon", Now: now})
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"good/acme.crt":        acme.Root, // DER
		"good/notes.txt":       []byte("where these came from\n"),
		"bad/intermediate.pem": certificatePEM(acme.Intermediate),
		"bad/two.pem":          append(acme.RootPEM(), certificatePEM(acme.Intermediate)...),
		"bad/trailing.der":     append(bytes.Clone(acme.Root), 0),
		"bad/text.pem":         append([]byte("Acme\n"), acme.RootPEM()...),
		"bad/key.pem":          pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: acme.Root}),
		"bad/oversized.pem":    append(acme.RootPEM(), bytes.Repeat([]byte("\n"), trust.MaxFile)...),
		"bad/empty.pem":        {},
	}
	for name, at := range map[string]time.Time{"Other Silicon": now, "Old Silicon": now.AddDate(-11, 0, 0), "Ending Silicon": now.AddDate(-10, 0, 30), "swtpm-localca": now} {
		ca, err := vendorca.New(vendorca.Options{Name: name, Now: at})
		if err != nil {
			return err
		}
		files[strings.ToLower(strings.ReplaceAll(name, " ", "-"))+".pem"] = ca.RootPEM()
	}
	leaf, err := vendorca.New(vendorca.Options{Name: "Acme Silicon", Now: now, Chain: vendorca.ChainNotCA})
	if err != nil {
		return err
	}
	files["bad/leaf.pem"] = certificatePEM(leaf.Intermediate)
	for name, raw := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, raw, 0o644)); err != nil {
			return err
		}
	}
	_, err = verifier.Init(verifier.Setup{
		Dir: filepath.Join(dir, "net"), Name: "org-a.verifier.example-net", Member: "org-a", Operator: "alice", Consortium: "example-net",
		LedgerID: "example-1", Genesis: sha256.Sum256([]byte("genesis")), Attest: "127.0.0.1:1", Enroll: "127.0.0.1:2",
	})
	return err
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// vendors writes the vendors' files and moves the test there.
func vendors(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	must(t, writeVendors(dir))
	t.Chdir(dir)
}

// quietly runs the program without a world.
func quietly(args ...string) (int, string) {
	var out, problems bytes.Buffer
	code := run(args, &out, &problems)
	return code, out.String() + problems.String()
}

// The line that an import prints makes the verifier's own check pass: what
// list calls pinned is what a verifier loads.
func TestImportedBundleIsPinned(t *testing.T) {
	vendors(t)
	if code, out := quietly("trust", "import", "good", "--class", "discrete", "--into", "net/trust"); code != exitGood {
		t.Fatal(out)
	}
	list := []string{"trust", "list", "net/trust", "--consortium", "net/consortium.yaml"}
	code, out := quietly(list...)
	if code != exitRefused || !strings.Contains(out, "pins another one") {
		t.Fatalf("%d: %s", code, out)
	}
	_, line, _ := strings.Cut(out, "endorsement:\n  ")
	raw, err := os.ReadFile("net/consortium.yaml")
	must(t, err)
	_, old, _ := strings.Cut(string(raw), "\n  roots: ")
	old, _, _ = strings.Cut(old, "\n")
	text := strings.Replace(string(raw), "roots: "+old, strings.TrimSpace(line), 1)
	consortium, err := admission.ParseConsortium([]byte(text))
	must(t, err)
	bundle, err := trust.ReadFS(os.DirFS("net/trust"))
	must(t, err)
	if consortium.Endorsement.Roots != bundle.Digest() {
		t.Error("the printed line pins another bundle")
	}
	must(t, os.WriteFile("net/consortium.yaml", []byte(text), 0o644))
	if code, out := quietly(list...); code != exitGood || !strings.Contains(out, "pins this bundle") {
		t.Errorf("%d: %s", code, out)
	}
}

// Whatever the reason to refuse one certificate, the bundle stays as it was,
// byte for byte.
func TestImportIsAllOrNothing(t *testing.T) {
	vendors(t)
	if code, out := quietly("trust", "import", "good", "--class", "discrete", "--into", "trust"); code != exitGood {
		t.Fatal(out)
	}
	before := snapshot(t, "trust")
	bad, err := filepath.Glob("bad/*")
	must(t, err)
	bad = append(bad, "old-silicon.pem", "swtpm-localca.pem", "good/acme.crt", "missing.pem")
	if len(bad) < 10 {
		t.Fatalf("only %d bad files", len(bad))
	}
	for _, name := range bad {
		if name == "bad/intermediate.pem" {
			continue // a CA with keyCertSign may be trusted like a root
		}
		code, out := quietly("trust", "import", "other-silicon.pem", name, "--class", "discrete", "--into", "trust")
		if code == exitGood || !strings.Contains(out, name) || !strings.Contains(out, "nothing was imported") {
			t.Errorf("%s: exit code %d, %s", name, code, out)
		}
		if snapshot(t, "trust") != before {
			t.Fatalf("%s: the bundle changed", name)
		}
	}
}

// A write that fails in the middle leaves nothing behind.
func TestImportUndoesAFailedWrite(t *testing.T) {
	vendors(t)
	raw, err := os.ReadFile("swtpm-localca.pem")
	must(t, err)
	cert, err := trust.Parse(raw)
	must(t, err)
	// A folder stands where the second file must go; it is no .pem file, so the
	// bundle reads well.
	must(t, os.MkdirAll(filepath.Join("trust", "test-virtual", trust.FileName(cert)), 0o755))
	before := snapshot(t, "trust")
	code, out := quietly("trust", "import", "other-silicon.pem", "swtpm-localca.pem", "--test", "--class", "virtual", "--into", "trust")
	if code != exitUnknown || !strings.Contains(out, "nothing was imported") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if after := snapshot(t, "trust"); after != before {
		t.Errorf("left behind:\n%s", after)
	}
}

// snapshot is every file below a folder with its content.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		b.WriteString(path + "\n")
		if d.IsDir() {
			return nil
		}
		raw, err := os.ReadFile(path)
		b.Write(raw)
		return err
	}))
	return b.String()
}
