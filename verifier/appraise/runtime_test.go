package appraise

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

func TestA126_UnlistedFile(t *testing.T) {
	set := debianSet(t)
	good := sha256.Sum256([]byte("/usr/bin/agent"))
	for name, row := range map[string]struct {
		entry bootlog.Entry
		want  verdict.CheckID
	}{
		"listed":              {bootlog.FileEntry("/usr/bin/agent", good), ""},
		"good digest in /tmp": {bootlog.FileEntry("/tmp/agent", good), verdict.RuntimeIMAUnlisted},
		"other digest":        {bootlog.FileEntry("/usr/bin/agent", sha256.Sum256([]byte("evil"))), verdict.RuntimeIMAUnlisted},
		"buffer":              {bootlog.BufferEntry("ima-policy", []byte("dont_measure")), verdict.RuntimeIMAUnlisted},
		"violation":           {bootlog.ViolationEntry("/usr/bin/agent"), verdict.RuntimeIMAViolation},
		"A130 kexec":          {bootlog.BufferEntry("kexec-cmdline", []byte("root=/dev/evil")), verdict.RuntimeKexec},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, bootlog.Debian())
			h.measure(row.entry)
			v := judge(set, h)
			if row.want == "" {
				admitted(t, v)
				return
			}
			denied(t, v, row.want)
			if f := find(t, v, row.want); f.Where != "entry 2" || !strings.Contains(f.Got, row.entry.Path) {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestUnlistedNamesPathDigestAndWhatIsListed(t *testing.T) {
	set := debianSet(t)
	h := start(t, bootlog.Debian())
	evil := sha256.Sum256([]byte("evil"))
	h.measure(bootlog.FileEntry("/usr/bin/agent", evil))
	f := find(t, judge(set, h), verdict.RuntimeIMAUnlisted)
	good := sha256.Sum256([]byte("/usr/bin/agent"))
	if f.Got != "/usr/bin/agent "+bootlog.Text(evil) || !strings.Contains(f.Want, bootlog.Text(good)) {
		t.Errorf("%+v", f)
	}
}

func TestUnlistedStaysRefused(t *testing.T) {
	set := debianSet(t)
	h := start(t, bootlog.Debian())
	v, history := Next(set, h.verified(), History{TPM: chip}, noon)
	admitted(t, v)
	h.run("/tmp/miner")
	v, history = Next(set, h.verified(), history, noon)
	denied(t, v, verdict.RuntimeIMAUnlisted)
	h.run("/usr/bin/agent")
	v, history = Next(set, h.verified(), history, noon)
	denied(t, v, verdict.RuntimeIMAUnlisted)
	v, history = Next(set, h.verified(), history, noon)
	denied(t, v, verdict.RuntimeIMAUnlisted)

	h.reboot(bootlog.Debian())
	v, _ = Next(set, h.verified(), history, noon)
	admitted(t, v)
}

// TestHistoryOnlySparesWork appraises step by step and all at once: an auditor who
// believes no history has to get the same bytes.
func TestHistoryOnlySparesWork(t *testing.T) {
	set := debianSet(t)
	b := bootlog.Debian()
	b.CommandLine += " debug"
	h := start(t, b)
	history := History{TPM: chip}
	for _, paths := range [][]string{nil, {"/tmp/a", "/usr/bin/agent"}, nil, {"/tmp/b"}} {
		h.run(paths...)
		step, next := Next(set, h.verified(), history, noon)
		history = next
		position := h.ima
		whole := Appraise(set, h.whole(), history.Bare(), noon)
		h.ima = position
		a, errA := json.Marshal(step)
		b, errB := json.Marshal(whole)
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Fatalf("step by step %s, at once %s", a, b)
		}
	}
}

func TestA099_NewPolicyJudgesEverythingAgain(t *testing.T) {
	h := start(t, bootlog.Debian())
	h.run("/usr/bin/tool")
	p, manifests := learned(t, h)
	old := compile(t, p, manifests)
	v, history := Next(old, h.whole(), History{TPM: chip}, noon)
	admitted(t, v)

	strict := debianSet(t) // knows no tool
	if from := history.From(strict, h.clock.Epoch, noon); from != 0 {
		t.Errorf("under a new policy the list is asked for from entry %d", from)
	}
	if from := history.From(old, h.clock.Epoch, noon); from != 3 {
		t.Errorf("under the same policy the list is asked for from entry %d, want 3", from)
	}
	v, _ = Next(strict, h.verified(), history, noon)
	denied(t, v, verdict.RuntimeIMAGap)
	if !Retryable(v) {
		t.Error("a policy change between challenge and evidence counts against the node")
	}
	v, _ = Next(strict, h.whole(), history, noon)
	denied(t, v, verdict.RuntimeIMAUnlisted)
	if Retryable(v) {
		t.Error("an unlisted file is retried")
	}
}

func TestMissingListIsRefused(t *testing.T) {
	h := start(t, bootlog.Debian())
	p, manifests := learned(t, h)
	h.list.Entries = nil
	set := compile(t, p, manifests)
	denied(t, Appraise(set, h.whole(), History{TPM: chip}, noon), verdict.RuntimeIMAMissing)
	p.Runtime.Required = false
	admitted(t, Appraise(compile(t, p, manifests), h.whole(), History{TPM: chip}, noon))
}

func TestRepeatedFindingsAreBounded(t *testing.T) {
	set := debianSet(t)
	h := start(t, bootlog.Debian())
	for i := range 1000 {
		h.run(fmt.Sprintf("/tmp/%d", i))
	}
	v, history := Next(set, h.verified(), History{TPM: chip}, noon)
	denied(t, v, verdict.RuntimeIMAUnlisted)
	if len(v.Findings) != maxRepeats+1 || !strings.Contains(v.Findings[maxRepeats].Got, "1000 entries refused") {
		t.Errorf("%d findings, the last %v", len(v.Findings), v.Findings[len(v.Findings)-1])
	}
	for i := range 10 {
		h.run(fmt.Sprintf("/tmp/more/%d", i))
	}
	v, _ = Next(set, h.verified(), history, noon)
	if len(v.Findings) != maxRepeats+1 || !strings.Contains(v.Findings[maxRepeats].Got, "1010 entries refused") {
		t.Errorf("%d findings, the last %v", len(v.Findings), v.Findings[len(v.Findings)-1])
	}
}

func TestRevokedFile(t *testing.T) {
	h := start(t, bootlog.Debian())
	p, manifests := learned(t, h)
	for _, m := range manifests {
		if m.Name == "validators-runtime" {
			m.Status, m.Since = policy.Revoked, noon
		}
	}
	v := Appraise(compile(t, p, manifests), h.whole(), History{TPM: chip}, noon)
	denied(t, v, verdict.RuntimeIMAUnlisted)
	if f := find(t, v, verdict.RuntimeIMAUnlisted); !strings.Contains(f.Message, "revoked it on 2026-11-22") {
		t.Errorf("%+v", f)
	}
}

func TestSteadyStateReusesTheBoot(t *testing.T) {
	set := debianSet(t)
	h := start(t, bootlog.Debian())
	full, history := Next(set, h.verified(), History{TPM: chip}, noon)
	steady, again := Next(set, h.verified(), history, noon)
	admitted(t, steady)
	if len(steady.Passed) != len(full.Passed) {
		t.Errorf("%d checks passed, %d at first", len(steady.Passed), len(full.Passed))
	}
	if &again.Passed[0] != &history.Passed[0] {
		t.Error("the boot was judged again")
	}
	// The same boot log in another epoch is another boot.
	h.reboot(bootlog.Debian())
	_, again = Next(set, h.verified(), history, noon)
	if &again.Passed[0] == &history.Passed[0] {
		t.Error("the boot was not judged again after a reboot")
	}
}
