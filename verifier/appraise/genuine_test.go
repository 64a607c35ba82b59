package appraise

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

// stubLine is the command line of the recorded EFI stub boot, whose log has only
// its digest.
const stubLine = "root=/dev/vda2 ro console=ttyS0 ima_policy=tcb initrd=initrd"

// genuine are the recorded logs of complete boots.
func genuine(t testing.TB) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, pattern := range []string{"genuine/*.log", "go-tpm-tools/*.bin", "go-attestation/*_eventlog"} {
		files, err := filepath.Glob(filepath.Join("..", "eventlog", "testdata", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			log, err := eventlog.Parse(raw, eventlog.SHA256, eventlog.DefaultLimits)
			if err != nil {
				continue
			}
			if _, err := log.Facts(nil); err == nil {
				all[filepath.Base(file)] = raw
			}
		}
	}
	if len(all) < 10 {
		t.Fatalf("only %d genuine logs", len(all))
	}
	return all
}

// recorded is a host that booted as a recorded log says.
func recorded(t testing.TB, raw []byte) *host {
	t.Helper()
	h := &host{t: t, node: papertpm.NewNode("host"), raw: raw}
	h.list = bootlog.NewList(replayed(t, raw))
	h.run("/usr/sbin/init")
	return h
}

func learnedFrom(t testing.TB, raw []byte) *policy.Set {
	t.Helper()
	l := lesson
	l.CommandLines = []string{stubLine}
	p, manifests, err := Learn(l, []Sample{{recorded(t, raw).whole(), chip}}, noon)
	if err != nil {
		t.Fatal(err)
	}
	return compile(t, p, manifests)
}

// refusals are the checks by which a log is refused, on its way to a verdict or by it.
func refusals(t testing.TB, set *policy.Set, raw []byte) (checks []verdict.CheckID) {
	t.Helper()
	if _, err := eventlog.Parse(raw, eventlog.SHA256, eventlog.DefaultLimits); err != nil {
		return []verdict.CheckID{checkOf(t, err)}
	}
	have, want := recorded(t, raw).evidence()
	verified, err := evidence.Verify(have, want)
	if err != nil {
		return []verdict.CheckID{checkOf(t, err)}
	}
	v := Appraise(set, verified, History{TPM: chip}, noon)
	for _, f := range v.Findings {
		if f.Severity == verdict.Deny {
			checks = append(checks, f.Check)
		}
	}
	if (v.Decision == verdict.Admitted) != (len(checks) == 0) {
		t.Fatalf("%v with %v", v.Decision, checks)
	}
	return checks
}

func checkOf(t testing.TB, err error) verdict.CheckID {
	t.Helper()
	var refusal *verdict.Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("no refusal: %v", err)
	}
	return refusal.Check
}

// foreign alters a log in every place where it can hold something that was not
// there: each event in turn with another digest, and each with such an event
// behind it. The TPM goes along.
func foreign(t testing.TB, raw []byte) map[string][]byte {
	t.Helper()
	log, err := eventlog.Parse(raw, eventlog.SHA256, eventlog.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	events := log.Events()
	for i, e := range events {
		if e.Type == eventlog.EvNoAction {
			continue
		}
		end := len(raw)
		if i+1 < len(events) {
			end = events[i+1].Offset
		}
		other := bytes.Clone(raw[e.Offset:end])
		other[bytes.Index(other, e.Digest)] ^= 1
		name := fmt.Sprintf("event %d, PCR %d, %s", e.Index, e.PCR, e.Type)
		all[name+" replaced"] = slices.Concat(raw[:e.Offset], other, raw[end:])
		all[name+" followed"] = slices.Concat(raw[:end], other, raw[end:])
	}
	return all
}

// open reports whether a learned policy looks at no digest in that place: firmware
// settings, which differ between good hosts, and the sections of a unified image,
// which the image's own digest covers.
func open(what string) bool {
	return strings.Contains(what, "PCR 1, EV_PLATFORM_CONFIG_FLAGS") || strings.Contains(what, "PCR 11, EV_IPL")
}

func TestLearnedPolicyOfGenuineLogs(t *testing.T) {
	for name, raw := range genuine(t) {
		t.Run(name, func(t *testing.T) {
			if name == "gdc-host.bin" {
				_, _, err := Learn(lesson, []Sample{{recorded(t, raw).whole(), chip}}, noon)
				if err == nil || !strings.Contains(err.Error(), string(verdict.SecureBootWeakened)) {
					t.Errorf("a host without DMA protection was learned from: %v", err)
				}
				return
			}
			set := learnedFrom(t, raw)
			if checks := refusals(t, set, raw); len(checks) != 0 {
				t.Fatalf("the boot it was learned from is refused: %v", checks)
			}
			for what, altered := range foreign(t, raw) {
				if len(refusals(t, set, altered)) == 0 && !open(what) {
					t.Errorf("admitted with %s", what)
				}
			}
		})
	}
}

func TestLearnedPolicyRefusesMutations(t *testing.T) {
	good := bootlog.Debian().Log()
	set := learnedFrom(t, good.Bytes())
	if checks := refusals(t, set, good.Bytes()); len(checks) != 0 {
		t.Fatalf("the boot it was learned from is refused: %v", checks)
	}
	for _, m := range bootlog.WellFormedMutations() {
		if got := refusals(t, set, mutated(t, m)); !slices.Contains(got, m.Check()) {
			t.Errorf("%s is refused by %v, want %q", m, got, m.Check())
		}
	}
	// Those which extend the TPM otherwise than they log are refused before: by the
	// replay, see simulator/bootlog.
	for _, m := range bootlog.Mutations() {
		if got := refusals(t, set, mutated(t, m)); len(got) == 0 && m != "extend-unlogged" && m != "log-unextended" {
			t.Errorf("%s is admitted", m)
		}
	}
}

func mutated(t *testing.T, m bootlog.Mutation) []byte {
	t.Helper()
	l := bootlog.Debian().Log()
	if err := l.Mutate(m); err != nil {
		t.Fatal(err)
	}
	return l.Bytes()
}
