package cmd_test

import (
	"crypto/sha256"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"

	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/simulator/vendorca"
	"github.com/quorate/quorate/verifier"
)

// shipped are the programs that run on hosts, verifiers and operators' machines.
var shipped = []string{"quorate", "quorate-agent", "quorate-signer", "quorate-verifier", "quorate-gate"}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// build links the shipped programs into a folder.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	args := []string{"build", "-o", dir + "/"}
	for _, name := range shipped {
		args = append(args, "./"+name)
	}
	output(t, "go", args...)
	return dir
}

// ledger reports whether a program links CometBFT, whose own types bring in testing.
func ledger(deps []string) bool { return slices.Contains(deps, "github.com/cometbft/cometbft/types") }

// No shipped program holds a simulator, whoever imports it; the program for
// simulations does, so the question is one that can be answered with yes.
func TestA054_NoSimulatorInShippedPrograms(t *testing.T) {
	holds := func(name string) bool {
		deps := strings.Fields(output(t, "go", "list", "-deps", "./"+name))
		if len(deps) < 50 {
			t.Fatalf("%s: %d packages", name, len(deps))
		}
		return slices.ContainsFunc(deps, func(p string) bool {
			return strings.HasPrefix(p, module+"simulator/") || strings.Contains(p, "go-tpm-tools/simulator") || p == "testing" && !ledger(deps)
		})
	}
	for _, name := range shipped {
		if holds(name) {
			t.Errorf("%s holds a simulator", name)
		}
	}
	if !holds("quorate-sim") {
		t.Error("quorate-sim holds no simulator: the question is wrong")
	}
}

// A compressed message is one in an encoding that nobody registered: no shipped
// program links one in.
func TestA144_NoCompression(t *testing.T) {
	links := func(name, wanted string) bool {
		return slices.Contains(strings.Fields(output(t, "go", "list", "-deps", "./"+name)), wanted)
	}
	for _, name := range shipped {
		if links(name, "google.golang.org/grpc/encoding/gzip") {
			t.Errorf("%s registers gzip for its messages", name)
		}
		if !links(name, "google.golang.org/grpc/encoding/proto") {
			t.Errorf("%s has no encoding of messages at all: the question is wrong", name)
		}
	}
}

var (
	weakening = regexp.MustCompile(`--[a-z-]*(skip|insecure|unsafe|debug|disable|ignore|bypass|override|mock|fake|trust-all|no-verify|no-check|allow)[a-z-]*`)
	command   = regexp.MustCompile(`(?m)^  ([a-z][a-z-]*) {2,}\S`)
)

// helps returns the help of a program and of all its commands, by command line.
func helps(t *testing.T, program string, args ...string) map[string]string {
	t.Helper()
	text := output(t, program, append(slices.Clone(args), "--help")...)
	all := map[string]string{strings.Join(args, " "): text}
	_, list, found := strings.Cut(text, "Available Commands:\n")
	if !found {
		return all
	}
	list, _, _ = strings.Cut(list, "\n\n")
	for _, m := range command.FindAllStringSubmatch(list, -1) {
		for line, help := range helps(t, program, append(slices.Clone(args), m[1])...) {
			all[line] = help
		}
	}
	return all
}

// Nothing on a command line or in the environment makes a shipped program check
// less.
func TestA185_NoSwitchSkipsACheck(t *testing.T) {
	if !weakening.MatchString("  --skip-verify   for tests") || weakening.MatchString("  --trust string   folder of roots") {
		t.Fatal("the pattern is wrong")
	}
	dir, seen := build(t), 0
	for _, name := range shipped {
		for line, help := range helps(t, filepath.Join(dir, name)) {
			seen++
			if flag := weakening.FindString(help); flag != "" {
				t.Errorf("%s %s has a flag %s", name, line, flag)
			}
		}
	}
	if seen < 30 {
		t.Errorf("%d helps read; did the format change?", seen)
	}
	want := []string{
		"QUORATE_BUNDLE", "QUORATE_CONSORTIUM", "QUORATE_KEY", "QUORATE_NODE", "QUORATE_VERIFIER",
		"os.Environ in ../agent/launch/launch.go", "os.Environ in ../cmd/quorate-agent/signer.go", // handed on to the program that they start
		"os.Getenv in ../agent/launch/notify.go", "os.Getenv in ../cmd/quorate-gate/carry.go", "os.Getenv in ../cmd/quorate-gate/command.go",
		"os.Getenv in ../cmd/quorate/main.go",
	}
	if got := environment(t); !slices.Equal(got, want) {
		t.Errorf("of the environment shipped programs read %q, want %q", got, want)
	}
}

var variable = regexp.MustCompile(`QUORATE_[A-Z_]+`)

// environment returns the variables that shipped code names and where it reads any.
func environment(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, dir := range []string{"agent", "verifier", "admission", "proto", "cmd/quorate", "cmd/quorate-agent", "cmd/quorate-signer", "cmd/quorate-verifier", "cmd/quorate-gate"} {
		for _, file := range goFiles(t, dir, true) {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BasicLit:
					found = append(found, variable.FindAllString(n.Value, -1)...)
				case *ast.SelectorExpr:
					if slices.Contains([]string{"Getenv", "LookupEnv", "Environ", "ExpandEnv"}, n.Sel.Name) {
						found = append(found, "os."+n.Sel.Name+" in "+file)
					}
				}
				return true
			})
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// A key that a file may not have is refused at the start, not ignored.
func TestA185_UnknownKeysInFiles(t *testing.T) {
	dir := t.TempDir()
	vendor, err := vendorca.New(vendorca.Options{Seed: t.Name(), Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	trust := filepath.Join(dir, "roots", "test-virtual")
	if err := os.MkdirAll(trust, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(trust, "vendor.pem"), string(vendor.RootPEM()))
	made, err := verifier.Init(verifier.Setup{
		Dir: filepath.Join(dir, "verifier"), Name: "org-a.verifier.example-net", Member: "org-a", Operator: "alice",
		Consortium: "example-net", LedgerID: "example-1", Genesis: sha256.Sum256([]byte("genesis")),
		Attest: "127.0.0.1:1", Enroll: "127.0.0.1:2", Trust: filepath.Dir(trust), Test: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "agent.yaml")
	write(t, config, "node: org-a/validator-1\nconsortium: consortium.yaml\n")
	for file, read := range map[string]func(string) error{
		made.Config: func(path string) error { _, err := verifier.ReadConfig(path); return err },
		config:      func(path string) error { _, err := agent.LoadConfig(path); return err },
	} {
		if err := read(file); err != nil {
			t.Fatalf("twin: %v", err)
		}
		good, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"skipQuote: true\n", "debug: true\n", "allowTestRoots: true\n"} {
			write(t, file, string(good)+key)
			if err := read(file); err == nil || !strings.Contains(err.Error(), strings.SplitN(key, ":", 2)[0]) {
				t.Errorf("%s with %q: %v", filepath.Base(file), key, err)
			}
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// floors are the first versions without faults that let evidence or callers
// through; nothing older may come back, not even by way of another module.
var floors = map[string]string{
	"github.com/google/go-attestation": "v0.6.4",
	"github.com/google/go-tpm-tools":   "v0.4.10",
	"google.golang.org/grpc":           "v1.79.3",
}

const oldestGo = "1.26.6"

// TestA188_DependenciesAboveTheirFloors asks the go command which versions a
// build takes; what the file asks for is only a lower bound.
func TestA188_DependenciesAboveTheirFloors(t *testing.T) {
	for path, floor := range floors {
		version := strings.TrimSpace(output(t, "go", "list", "-m", "-f", "{{if .Replace}}replaced{{else}}{{.Version}}{{end}}", path))
		if below(version, floor) {
			t.Errorf("%s is %s, want %s or later", path, version, floor)
		}
	}
	if !below("v0.5.1", "v0.6.4") || !below("replaced", "v0.6.4") || below("v0.10.0", "v0.6.4") {
		t.Error("versions are compared wrongly")
	}
	text, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	file, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Replace) > 0 || below("v"+file.Go.Version, "v"+oldestGo) {
		t.Errorf("go %s, %d replaced modules", file.Go.Version, len(file.Replace))
	}
	for _, name := range shipped { // its parser takes headers for hashes, and can be crashed
		if strings.Contains(output(t, "go", "list", "-deps", "./"+name), "/go-eventlog/") {
			t.Errorf("%s parses logs with go-eventlog", name)
		}
	}
}

func below(version, floor string) bool {
	return !semver.IsValid(version) || semver.Compare(version, floor) < 0
}
