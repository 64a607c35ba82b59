package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/verdict"
)

// The operator's day against a real verifier and real agents: invite, learn,
// approve, see a host refused and explained, see another suspended, and check
// everything offline.
func TestOperatorsDay(t *testing.T) {
	w := newWorld(t)
	good := w.host("validator-1", bootlog.Debian())
	policy := w.learn()
	n := w.await("validator-1", inState("admitted"))
	if !n.Approved || n.Serial == 0 || n.NotAfter == nil || !n.Connected {
		t.Errorf("admitted node: %+v", n)
	}
	w.refusedHost()
	bundle := w.bundle()
	w.suspended(good, bundle)
	w.audits(policy)
	w.operators()
}

// learn waits for the first evidence, learns a policy from it, approves policy
// and node.
func (w *world) learn() string {
	w.await("validator-1", func(n nodeView) bool { return n.Evidence != "" })
	policy := filepath.Join(w.dir, "policy")
	var learned policyView
	w.ok(&learned, "policy", "learn", "org-a/validator-1", "--out", policy, "--challenge-every", "1s", "--late-after", "30s")
	if learned.Version != 1 || learned.Name != "validators" || len(learned.Manifests) == 0 {
		w.t.Errorf("learned %+v", learned)
	}
	if code, _, problems := w.quorate("policy", "learn", "org-a/validator-1", "--out", policy); code != exitUsage || !strings.Contains(problems, "--force") {
		w.t.Errorf("overwriting a policy: exit code %d, %s", code, problems)
	}
	w.says(exitGood, "policy", "lint", policy)
	var approved approvalView
	w.ok(&approved, "policy", "approve", policy)
	if !approved.Active || approved.Digest != learned.Digest || approved.By != "org-a/alice" {
		w.t.Errorf("approved %+v, learned %+v", approved, learned)
	}
	if text := w.says(exitGood, "node", "approve", "org-a/validator-1"); !strings.Contains(text, "Approved.") {
		w.t.Errorf("approve: %s", text)
	}
	return policy
}

// refusedHost boots a host with one more kernel argument and has it explained.
func (w *world) refusedHost() {
	changed := bootlog.Debian()
	changed.CommandLine += " init=/bin/sh"
	w.host("validator-2", changed)
	w.await("validator-2", func(n nodeView) bool { return len(n.Findings) > 0 && n.Findings[0].Check == verdict.BootCommandLine })
	var v explainView
	w.ok(&v, "node", "explain", "org-a/validator-2")
	if v.CommandLine == nil || v.CommandLine.Found != changed.CommandLine || v.CommandLine.Accepted != bootlog.Debian().CommandLine ||
		!slices.Equal(v.CommandLine.Added, []string{"init=/bin/sh"}) || len(v.CommandLine.Missing) != 0 {
		w.t.Errorf("command lines: %+v", v.CommandLine)
	}
	text := w.says(exitGood, "node", "explain", "org-a/validator-2")
	for _, part := range []string{"boot.command-line", "init=/bin/sh", "^^^^^^^^^^^^", "remedy", "quorate explain",
		"in the manifest validators-boot", "quorate policy learn org-a/validator-2 --out policy"} {
		if !strings.Contains(text, part) {
			w.t.Errorf("explanation without %q:\n%s", part, text)
		}
	}
	if text := w.says(exitGood, "node", "list"); !strings.Contains(text, "validator-2") || !strings.Contains(text, "boot.command-line") {
		w.t.Errorf("list:\n%s", text)
	}
}

// bundle verifies the bundle that validator-1's agent keeps, with a roster.
func (w *world) bundle() string {
	bundle, roster := filepath.Join(w.state("validator-1"), "admission.bundle"), filepath.Join(w.dir, "roster")
	w.eventually("a roster that lists the node", func() bool {
		var r rosterView
		w.ok(&r, "admission", "roster", "--out", roster)
		return len(r.Admitted) == 1
	})
	var v bundleView
	w.ok(&v, "admission", "verify", bundle, "--roster", roster)
	if !v.Admitted || v.Node != "org-a/validator-1" || v.KeyProven || len(v.Rosters) != 1 || !v.Test {
		w.t.Errorf("bundle: %+v", v)
	}
	w.says(exitGood, "admission", "verify", bundle, "--node-key", v.NodeKey.String(), "--node", v.Node)
	w.answer(exitRefused, &v, "admission", "verify", bundle, "--role", "observer")
	if v.Admitted || v.Refusal == nil || v.Refusal.Check != "admission.role" {
		w.t.Errorf("bundle for another role: %+v", v)
	}
	return bundle
}

func (w *world) suspended(good *bootlog.Host, bundle string) {
	must(w.t, good.Exec("/tmp/miner", sha256.Sum256([]byte("miner"))))
	n := w.await("validator-1", inState("suspended"))
	if n.Findings[0].Check != verdict.RuntimeIMAUnlisted {
		w.t.Errorf("suspended for %v", n.Findings)
	}
	roster := filepath.Join(w.dir, "roster")
	w.eventually("the roster to bar the node", func() bool {
		var r rosterView
		w.ok(&r, "admission", "roster", "--out", roster)
		return len(r.Barred) == 1
	})
	text := w.says(exitRefused, "admission", "verify", bundle, "--roster", roster)
	if !strings.Contains(text, "admission.suspended") {
		w.t.Errorf("barred bundle:\n%s", text)
	}
	w.says(exitGood, "node", "explain", "org-a/validator-1")
}

// audits checks offline what the verifier did, from evidence, policy and journal.
func (w *world) audits(policy string) {
	file, bad := filepath.Join(w.dir, "evidence.json"), filepath.Join(w.dir, "bad.json")
	var got fetchedView
	w.ok(&got, "evidence", "get", "org-a/validator-2", "--out", bad)
	w.ok(&got, "evidence", "get", "org-a/validator-1", "--out", file)
	if got.Node != "org-a/validator-1" || got.Bytes == 0 {
		w.t.Errorf("fetched %+v", got)
	}
	for _, path := range []string{file, bad} {
		var v verifyView
		w.ok(&v, "evidence", "verify", path, "--policy", policy)
		if !v.Authentic || v.Same == nil || !*v.Same || v.Again.Decision != verdict.Denied {
			w.t.Errorf("%s decided again: %+v", path, v)
		}
	}
	w.says(exitGood, "evidence", "verify", file)
	w.says(exitGood, "evidence", "show", bad)
	var judged verdict.Verdict
	w.answer(exitRefused, &judged, "appraise", "--policy", policy, "--evidence", bad)
	if judged.Decision != verdict.Denied || judged.Findings[0].Check != verdict.BootCommandLine {
		w.t.Errorf("appraised: %+v", judged)
	}
	w.wider(bad)
	text := w.says(exitRefused, "policy", "explain", bad)
	if !strings.Contains(text, "boot.command-line") || !strings.Contains(text, "pass  tpm.class") {
		w.t.Errorf("explained:\n%s", text)
	}
	w.tampered(file, policy)
	w.journal()
	if text := w.says(exitGood, "policy", "show"); !strings.Contains(text, "name: validators") || !strings.Contains(text, "set digest") {
		w.t.Errorf("policy in force:\n%s", text)
	}
	var status statusView
	w.ok(&status, "status")
	if status.States["suspended"] != 1 || !strings.HasPrefix(status.Policy, "validators sha256:") || status.Sessions != 2 {
		w.t.Errorf("status: %+v", status)
	}
	w.says(exitGood, "status")
}

// wider learns the next version of the policy from the refused boot, offline and
// online, and sees that it would admit that host.
func (w *world) wider(bad string) {
	dir := filepath.Join(w.dir, "wider")
	var learned policyView
	w.ok(&learned, "policy", "learn", bad, "--out", dir, "--version", "7")
	if learned.Version != 7 {
		w.t.Errorf("learned version %d", learned.Version)
	}
	w.says(exitGood, "appraise", "--policy", dir, "--evidence", bad)
	w.ok(&learned, "policy", "learn", "org-a/validator-2", "--out", dir, "--force")
	if learned.Version != 2 {
		w.t.Errorf("after version 1 in force, learned version %d", learned.Version)
	}
	text := w.says(exitRefused, "evidence", "verify", bad, "--policy", dir)
	if !strings.Contains(text, "quorate policy show") {
		w.t.Errorf("verified with another policy:\n%s", text)
	}
}

// tampered changes one byte of an evidence file at a time, in every part that the
// decision rests on, and none passes.
func (w *world) tampered(file, policy string) {
	raw, err := os.ReadFile(file)
	must(w.t, err)
	path := filepath.Join(w.dir, "tampered.json")
	for _, part := range []string{
		`"quote":"`, `"signature":"`, `"nonce":"`, `"exporter":"`, `"ak":"`, `"nodeKey":"sha256:`, `"node":"org-a/`, `"genesis":"sha256:`,
		`"pcrValues":["`, `"bootLog":"sha256:`, `"blobs":{"sha256:`, `"policySet":"sha256:`, `"verdict":{"decision":"`,
	} {
		at := bytes.Index(raw, []byte(part))
		if at < 0 {
			w.t.Errorf("the file has no %s", part)
			continue
		}
		changed := slices.Clone(raw)
		changed[at+len(part)+2] ^= 1
		must(w.t, os.WriteFile(path, changed, 0o600))
		if code, _, _ := w.quorate("evidence", "verify", path, "--policy", policy); code != exitRefused {
			w.t.Errorf("changed in %s: exit code %d", part, code)
		}
	}
}

// journal verifies the journal from the verifier and from its folder, and sees an
// edited copy refused.
func (w *world) journal() {
	dir := filepath.Join(w.config.Data, "journal")
	var online, local auditView
	w.ok(&online, "journal", "verify")
	w.ok(&local, "journal", "verify", "--dir", dir)
	if !online.Sound || online.Size == 0 || local.Size < online.Size {
		w.t.Errorf("journals: %+v, %+v", online, local)
	}
	text := w.says(exitGood, "journal", "show")
	for _, part := range []string{"genesis", "org-a/alice approves sha256:", "admission", "is suspended"} {
		if !strings.Contains(text, part) {
			w.t.Errorf("journal without %q:\n%s", part, text)
		}
	}
	var some journalView
	w.ok(&some, "journal", "show", "--dir", dir, "--from", "1", "--limit", "2")
	if len(some.Entries) != 2 || some.Entries[0].Index != 1 || some.Entries[0].Type != "invitation" {
		w.t.Errorf("two entries: %+v", some)
	}
	edited := filepath.Join(w.dir, "edited")
	must(w.t, os.CopyFS(edited, os.DirFS(dir)))
	bundles, err := filepath.Glob(filepath.Join(edited, "tile/entries/*"))
	must(w.t, err)
	edit(w.t, bundles)
	var v auditView
	w.answer(exitRefused, &v, "journal", "verify", "--dir", edited)
	if v.Sound || v.Problem == "" {
		w.t.Errorf("edited journal: %+v", v)
	}
}

// edit changes one letter in every file of a journal's entries.
func edit(t *testing.T, paths []string) {
	t.Helper()
	for _, path := range paths {
		files := []string{path}
		if isDir(path) {
			var err error
			files, err = filepath.Glob(filepath.Join(path, "*"))
			must(t, err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			must(t, err)
			raw = []byte(strings.Replace(string(raw), "org-a/alice", "org-a/malic", 1))
			must(t, os.Chmod(file, 0o600))
			must(t, os.WriteFile(file, raw, 0o600))
		}
	}
}

func (w *world) operators() {
	if code, _, problems := w.quorate("node", "show", "org-a/nobody"); code != exitRefused || !strings.Contains(problems, "quorate node list") {
		w.t.Errorf("unknown node: exit code %d, %s", code, problems)
	}
	if code, _, problems := w.quorate("node", "suspend", "org-a/validator-2"); code != exitUsage || !strings.Contains(problems, "--reason") {
		w.t.Errorf("suspension without reason: exit code %d, %s", code, problems)
	}
	var n nodeView
	w.ok(&n, "node", "resume", "org-a/validator-1", "--reason", "a drill")
	w.ok(&n, "node", "suspend", "org-a/validator-2", "--reason", "a drill")
	if n.State != "suspended" {
		w.t.Errorf("suspended node: %+v", n)
	}
	w.says(exitGood, "node", "retire", "org-a/validator-2", "--reason", "end of the drill")
	other := filepath.Join(w.dir, "other.key")
	stranger, _, err := note.GenerateKey(rand.Reader, "org-a/mallory")
	must(w.t, err)
	must(w.t, os.WriteFile(other, []byte(stranger+"\n"), 0o600))
	if code := run([]string{"node", "list", "--consortium", w.created.Consortium, "--key", other}, testWriter{w.t}, testWriter{w.t}); code != exitRefused {
		w.t.Errorf("a stranger's key: exit code %d", code)
	}
}

func (w *world) eventually(what string, condition func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited a minute for %s", what)
		}
	}
}
