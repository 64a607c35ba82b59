package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/quorate/quorate/simulator/corpus"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/verdict"
)

// needsHistory are cases that are refused for what the verifier saw earlier, which
// appraise is not told: it judges a node as if it were new.
var needsHistory = map[string]bool{"tpm-firmware-rollback": true, "verifier-clock": true}

// TestCorpus judges every case of the corpus offline with the program: evidence
// verify must come to the recorded verdict, appraise to the same decision and check.
func TestCorpus(t *testing.T) {
	cases, err := corpus.Load()
	must(t, err)
	dir := t.TempDir()
	must(t, os.CopyFS(dir, corpus.Files()))
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			file := filepath.Join(dir, c.Name, "evidence.json")
			args := []string{"evidence", "verify", file}
			if c.Set != nil {
				args = append(args, "--policy", filepath.Join(dir, c.Name, "policy"))
			}
			var verified verifyView
			offline(t, exitGood, &verified, args...)
			if verified.Same == nil || !*verified.Same {
				t.Errorf("decided again: %+v", verified.Again)
			}
			if c.Set == nil || needsHistory[c.Name] {
				return
			}
			var judged verdict.Verdict
			offline(t, exitOf(c.Expect.Decision), &judged, "appraise", "--consortium", filepath.Join(dir, "consortium.yaml"),
				"--policy", filepath.Join(dir, c.Name, "policy"), "--evidence", file)
			if judged.Decision != c.Expect.Decision || firstCheck(judged) != c.Expect.Check {
				t.Errorf("appraise: %v by %s, want %v by %s", judged.Decision, firstCheck(judged), c.Expect.Decision, c.Expect.Check)
			}
		})
	}
}

// TestCorpusWithAnotherPolicy: evidence verify is not satisfied with any policy,
// nor with a record whose verdict somebody improved.
func TestCorpusWithAnotherPolicy(t *testing.T) {
	dir := t.TempDir()
	must(t, os.CopyFS(dir, corpus.Files()))
	if code, _ := runOffline("evidence", "verify", filepath.Join(dir, "command-line", "evidence.json"),
		"--policy", filepath.Join(dir, "admitted-composed-uki", "policy")); code != exitRefused {
		t.Errorf("another policy: exit code %d", code)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "command-line", "evidence.json"))
	must(t, err)
	file, err := evidence.ParseFile(raw)
	must(t, err)
	file.Record.Verdict.Decision, file.Record.Verdict.Findings = verdict.Admitted, nil
	raw, err = file.Marshal()
	must(t, err)
	improved := filepath.Join(dir, "improved.json")
	must(t, os.WriteFile(improved, raw, 0o600))
	var verified verifyView
	offline(t, exitRefused, &verified, "evidence", "verify", improved, "--policy", filepath.Join(dir, "command-line", "policy"))
	if verified.Same == nil || *verified.Same || !verified.Authentic {
		t.Errorf("an improved verdict: %+v", verified)
	}
}

func firstCheck(v verdict.Verdict) verdict.CheckID {
	if len(v.Findings) == 0 {
		return ""
	}
	return v.Findings[0].Check
}

func exitOf(d verdict.Decision) int {
	if d == verdict.Admitted {
		return exitGood
	}
	return exitRefused
}

func runOffline(args ...string) (code int, out string) {
	var stdout, problems bytes.Buffer
	code = run(append(args, "--json"), &stdout, &problems)
	return code, stdout.String() + problems.String()
}

// offline runs the program with --json, expects an exit code, and decodes the answer.
func offline(t *testing.T, want int, into any, args ...string) {
	t.Helper()
	code, out := runOffline(args...)
	if code != want {
		t.Fatalf("quorate %v: exit code %d, want %d\n%s", args, code, want, out)
	}
	must(t, json.Unmarshal([]byte(out), into))
}
