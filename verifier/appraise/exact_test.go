package appraise

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/account"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/ima"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

// TestRuleFactsAccount holds every fact that rules may see against an account,
// and that none is copied which no rule reads.
func TestRuleFactsAccount(t *testing.T) {
	var out bytes.Buffer
	yes, no := true, false
	facts := map[string]*eventlog.Facts{}
	for name, h := range machines(t) {
		if !strings.Contains(name, "programs") {
			facts[name] = h.whole().Facts()
		}
	}
	modes := func(setup, audit, deployed *bool) *eventlog.Facts {
		f := *facts["as learned"]
		f.SecureBoot.SetupMode, f.SecureBoot.AuditMode, f.SecureBoot.Deployed = setup, audit, deployed
		return &f
	}
	facts["in setup mode"], facts["in audit mode"], facts["deployed"] = modes(&yes, &no, nil), modes(nil, &yes, &no), modes(&no, nil, &yes)
	full := modes(&no, &no, &no)
	stray := eventlog.Measurement{Event: 3, PCR: 9, Digest: eventlog.Digest(strings.Repeat("s", 32))}
	full.SecureBoot.Known = false
	full.Firmware.Config = []eventlog.Measurement{stray}
	full.SecureBoot.Actions = []eventlog.Action{{Measurement: stray, Text: "UEFI Debug Mode"}}
	full.UKI.Sections = []eventlog.Section{{Measurement: stray, Name: ".linux"}}
	full.GPT = []eventlog.GPT{{Measurement: stray, Disk: "d1", Partitions: []eventlog.Partition{{Type: "t1", ID: "i1", Name: "n1"}, {Type: "t2"}}}, {Disk: "d2", Partitions: []eventlog.Partition{{Name: "n3"}}}}
	full.Boot.Order, full.Boot.OrderFrom = []int{3, 0}, eventlog.Measured
	facts["all kinds of facts"] = full
	all, none := func(string) bool { return true }, func(string) bool { return false }
	for _, name := range keysOf(facts) {
		text, err := json.MarshalIndent(ruleFacts(facts[name], chip, 0x00010002_00030004, all), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "== %s\n%s\n", name, text)
	}
	few, err := json.MarshalIndent(ruleFacts(full, chip, 7, none), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&out, "== all kinds of facts, none of which is read\n%s\n", few)
	for _, field := range []string{"digest", "data", "firmware", "blobs", "variables", "authorities", "actions", "partitions"} {
		some, err := json.Marshal(ruleFacts(full, chip, 7, func(f string) bool { return f == field || f == "images" }))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "== read are images and %s\n%s\n", field, some)
	}
	account.Hold(t, "testdata/rulefacts.txt", out.Bytes())
}

// TestLessonAccount holds what is learned from hosts, and why nothing is.
func TestLessonAccount(t *testing.T) {
	var out bytes.Buffer
	tellLesson := func(name string, l Lesson, samples ...Sample) {
		p, manifests, err := Learn(l, samples, noon)
		fmt.Fprintf(&out, "== %s: %v\n", name, err)
		if p != nil {
			fmt.Fprintf(&out, "%s", p.Print())
		}
		for _, m := range manifests {
			fmt.Fprintf(&out, "%s", m.Print())
		}
	}
	with := func(change func(*bootlog.Boot), entries ...bootlog.Entry) *host {
		b := bootlog.Debian()
		change(&b)
		h := start(t, b)
		h.list.Entries = append(h.list.Entries, entries...)
		return h
	}
	same := func(*bootlog.Boot) {}
	sample := func(h *host) Sample { return Sample{h.whole(), chip} }
	debian := with(same, bootlog.BufferEntry("key", []byte("k")), bootlog.FileEntry("/b", [32]byte{1}), bootlog.FileEntry("/a", [32]byte{1}), bootlog.FileEntry("/a", [32]byte{1}))
	tellLesson("nothing", lesson)
	tellLesson("Debian", lesson, sample(debian))
	tellLesson("Debian twice", lesson, sample(debian), sample(with(func(b *bootlog.Boot) {
		b.Kernel.Path, b.Drivers = "/boot/other", []bootlog.Image{{Path: strings.Repeat("r", 250)}}
	})))
	line := lesson
	line.CommandLines = []string{"other", bootlog.Debian().CommandLine}
	stub, uki := with(func(b *bootlog.Boot) { b.Chain = bootlog.EFIStub }), with(func(b *bootlog.Boot) { b.Chain = bootlog.UKI })
	tellLesson("EFI stub", line, sample(stub))
	tellLesson("EFI stub without its line", lesson, sample(stub))
	tellLesson("UKI", line, sample(uki))
	tellLesson("all chains", line, sample(debian), sample(stub), sample(uki))
	insecure := with(func(b *bootlog.Boot) { b.SecureBoot = false })
	tellLesson("no Secure Boot", lesson, sample(insecure))
	tellLesson("no Secure Boot, then Debian", lesson, sample(insecure), sample(debian))
	tellLesson("Debian, then no Secure Boot", lesson, sample(debian), sample(insecure))
	versions := func(of ...uint64) (all []Sample) {
		for _, v := range of {
			h := with(same)
			h.node.Firmware = v << 32
			all = append(all, sample(h))
		}
		return all
	}
	tellLesson("firmware going up", lesson, versions(0x10001, 0x10002)...)
	tellLesson("firmware going down", lesson, versions(0x10002, 0x10001)...)
	two := versions(0x10001, 0x10002)
	two[1].TPM = TPM{Class: "firmware", Vendor: "XYZ"}
	tellLesson("two vendors", lesson, two...)
	two[1].TPM.Vendor = ""
	tellLesson("one vendor unknown", lesson, two...)
	sha1 := bootlog.FileEntry("/old", [32]byte{})
	sha1.Alg, sha1.Digest = "sha1", make([]byte, 20)
	tellLesson("a file by SHA-1", lesson, sample(with(same, sha1)))
	tellLesson("a path that is no text", lesson, sample(with(same, bootlog.FileEntry("/\xff", [32]byte{1}))))
	tellLesson("a violation", lesson, sample(with(same, bootlog.ViolationEntry("/var/log/x"))))
	nameless, unpublished := lesson, lesson
	nameless.Name, unpublished.Publisher = "", ""
	tellLesson("no name", nameless, sample(debian))
	tellLesson("no publisher", unpublished, sample(debian))
	odd := with(func(b *bootlog.Boot) { b.Chain = bootlog.UKI })
	odd.log.Events = slices.Insert(odd.log.Events, len(odd.log.Events)-2, bootlog.Event{PCR: 12, Type: bootlog.EvIPL, Digest: [32]byte{5}, Data: []byte("odd")})
	odd.relist()
	tellLesson("an event of no known kind", line, sample(odd))
	account.Hold(t, "testdata/lessons.txt", out.Bytes())
}

// What a sample does not have, the policy does not mention.
func TestReferOnlyToWhatIsThere(t *testing.T) {
	l := &learner{lesson: lesson, entries: map[string][]policy.Entry{}, policy: &policy.Policy{}}
	l.add(&eventlog.Facts{}, partSecureBoot, policy.KindPK, lists[0].items)
	l.refer()
	if p := l.policy; len(l.entries[partSecureBoot]) != 0 || p.Firmware != nil || p.Runtime != nil || p.SecureBoot.PK != nil || p.Boot.Initrd != nil {
		t.Errorf("%+v, %+v", l.entries, p)
	}
	if err := examine(&policy.Policy{}, nil, nil, noon); err == nil {
		t.Error("a policy that does not load was examined")
	}
}

// A register needs a thing only if every sample showed it there.
func TestStagesOfEverySample(t *testing.T) {
	l := &learner{policy: &policy.Policy{}}
	kernel := func(pcr int) eventlog.Kernel { return eventlog.Kernel{Measurement: eventlog.Measurement{PCR: pcr}} }
	l.stages(&eventlog.Facts{Kernels: []eventlog.Kernel{kernel(4), kernel(9), kernel(9)}})
	l.stages(&eventlog.Facts{Kernels: []eventlog.Kernel{kernel(4), kernel(4)}})
	l.require()
	if r := l.policy.Rules; len(r) != 1 || r[0].ID != "kernel-in-pcr-4" {
		t.Errorf("%+v", r)
	}
}

func TestComment(t *testing.T) {
	long := strings.Repeat("x", 200)
	for claimed, want := range map[string]string{
		" /a ": "/a", long: long, long + "y": long, long[1:] + "ä": long[1:], long[1:]: long[1:], "a\nb": `a\nb`,
	} {
		if got := comment(claimed); got != want {
			t.Errorf("%q: %q", claimed, got)
		}
	}
}

func TestEventSet(t *testing.T) {
	s := newEventSet(&eventlog.Facts{EventCount: 3})
	for _, event := range []int{-2, -1, 0, 2, 3, 4} {
		s.add(event)
		if got := s.has(event); got != (event == 0 || event == 2) {
			t.Errorf("event %d: %v", event, got)
		}
	}
	if s.has(1) {
		t.Error("event 1 was never added")
	}
}

func TestRetryable(t *testing.T) {
	gap := refusal(verdict.RuntimeIMAGap, "", "", "")
	image, warned := refusal(verdict.BootImage, "", "", ""), refusal(verdict.BootImage, "", "", "")
	warned.Severity = verdict.Warn
	for name, row := range map[string]struct {
		findings []verdict.Finding
		want     bool
	}{
		"nothing": {nil, false}, "a gap": {[]verdict.Finding{gap}, true}, "a warning": {[]verdict.Finding{warned}, false},
		"a gap, a warning": {[]verdict.Finding{gap, warned}, true}, "a warning, a gap": {[]verdict.Finding{warned, gap}, true},
		"a gap and an image": {[]verdict.Finding{gap, image}, false}, "an image and a gap": {[]verdict.Finding{image, gap}, false},
	} {
		if got := Retryable(verdict.Verdict{Findings: row.findings}); got != row.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestDistance(t *testing.T) {
	for pair, want := range map[[2]string]int{{"", ""}: 0, {"a b", "b a"}: 0, {"a", ""}: 1, {"a a", "a"}: 1, {"a b", "c"}: 3} {
		if got := distance(pair[0], pair[1]); got != want {
			t.Errorf("%q: %d", pair, got)
		}
	}
	for text, want := range map[string]string{"b a": "a b", "x": "q", "": "q"} {
		if got := nearest(text, []string{"a b", "q", "z"}); got != want {
			t.Errorf("%q: nearest is %q", text, got)
		}
	}
	if got := nearest("x", nil); got != "" {
		t.Errorf("nearest to nothing is %q", got)
	}
}

// A version that does not parse is never new enough.
func TestUnreadableMinimum(t *testing.T) {
	r := newReport(0, 0)
	judgeFirmwareVersion(r, policy.TPM{MinFirmware: map[string]string{"IBM": "soon"}}, "IBM", 1<<63)
	if len(r.findings) != 1 || r.findings[0].Check != verdict.TPMFirmware || r.findings[0].Want != "soon or later" {
		t.Errorf("%+v", r)
	}
}

// The clock may stand back by a minute, and the verdict's time is in UTC.
func TestClock(t *testing.T) {
	set, ev := debianSet(t), start(t, bootlog.Debian()).whole()
	zone := time.FixedZone("here", 3600)
	v := Appraise(set, ev, History{TPM: chip, At: noon.Add(time.Minute)}, noon.In(zone))
	admitted(t, v)
	if v.At.Location() != time.UTC {
		t.Errorf("at %v", v.At)
	}
	denied(t, Appraise(set, ev, History{TPM: chip, At: noon.Add(time.Minute + 1)}, noon), verdict.TimingClock)
}

// What was found in a boot is reused for that boot only: of its log, and of the
// firmware that the TPM had.
func TestReuseOfTheBoot(t *testing.T) {
	h := start(t, bootlog.Debian())
	p, manifests := learned(t, h)
	set := compile(t, p, manifests)
	_, history := Next(set, h.whole(), History{TPM: chip}, noon)
	found := refusal(verdict.BootOther, "remembered", "", "")
	for name, row := range map[string]struct {
		boot   []verdict.Finding
		passed []verdict.CheckID
	}{"one finding": {[]verdict.Finding{found}, nil}, "as many as passed": {[]verdict.Finding{found}, []verdict.CheckID{verdict.BootImage}}} {
		prev := history
		prev.Boot, prev.Passed = row.boot, row.passed
		if f := find(t, Appraise(set, h.whole(), prev, noon), verdict.BootOther); f.Where != "remembered" {
			t.Errorf("%s: %+v", name, f)
		}
		prev.BootLog[0]++
		admitted(t, Appraise(set, h.whole(), prev, noon))
	}
	withdrawn := policy.FirmwareVersion(h.node.Firmware).String()
	p.Rules = append(p.Rules, policy.Rule{ID: "withdrawn", Deny: "tpm.firmware == '" + withdrawn + "'", Message: "withdrawn", Remedy: "update"})
	set = compile(t, p, manifests)
	h.node.Firmware++
	v, history := Next(set, h.whole(), History{TPM: chip}, noon)
	admitted(t, v)
	h.node.Firmware--
	v, history = Next(set, h.whole(), history, noon)
	denied(t, v, verdict.RuleDenied, verdict.TPMRollback)
	h.node.Firmware++
	v, _ = Next(set, h.whole(), history, noon)
	admitted(t, v)
}

// Old evidence takes nothing back of what was judged.
func TestOldEvidenceJudgesNothingAgain(t *testing.T) {
	set := debianSet(t)
	h := start(t, bootlog.Debian())
	old := h.whole()
	_, history := Next(set, old, History{TPM: chip}, noon)
	history.Judged, history.Refused = 10, 3
	if _, next := Next(set, old, history, noon); next.Judged != 10 || next.Refused != 3 {
		t.Errorf("%d judged, %d refused", next.Judged, next.Refused)
	}
}

func TestOneRegister(t *testing.T) {
	h := start(t, bootlog.Debian())
	p, manifests := learned(t, h)
	value, _ := h.whole().PCR(4)
	p.Boot.PCRs = map[int][]string{4: {fmt.Sprintf("sha256:%x", value)}}
	if set := compile(t, p, manifests); !slices.Contains(Required(set), verdict.BootPCR) {
		t.Error("one register is not required")
	}
}

func TestExplainWithoutPolicy(t *testing.T) {
	ev := start(t, bootlog.Debian()).whole()
	for _, a := range []Account{Explain(nil, ev, History{TPM: chip}, noon), Explain(debianSet(t), nil, History{TPM: chip}, noon)} {
		denied(t, a.Verdict, verdict.PolicyNone)
		if a.Layers != nil {
			t.Errorf("%+v", a.Layers)
		}
	}
	e := &explainer{set: policies(t)["bare"], p: &policy.Policy{}}
	if got := e.required(verdict.RuntimeIMAUnlisted); got == "" || strings.HasPrefix(got, "every file") {
		t.Errorf("got %q", got)
	}
}

// A repeated command line is shown once, all others in order.
func TestFoundCommandLines(t *testing.T) {
	f := &eventlog.Facts{}
	for _, text := range []string{"b", "a", "b"} {
		f.CommandLines = append(f.CommandLines, eventlog.CommandLine{Text: text, TextFrom: eventlog.Measured})
	}
	if got := (&explainer{facts: f}).found(verdict.BootCommandLine); got != "a\nb" {
		t.Errorf("got %q", got)
	}
}

// Secure Boot is on if it was measured as on.
func TestFoundSecureBoot(t *testing.T) {
	for known, want := range map[bool]string{true: "on", false: "off or not measured"} {
		f := &eventlog.Facts{SecureBoot: eventlog.SecureBoot{Known: known, Enabled: true}}
		if got := (&explainer{facts: f}).found(verdict.SecureBootOff); got != want {
			t.Errorf("measured %v: %q", known, got)
		}
	}
}

// Findings are bounded also if all entries are revoked, and warnings are given
// once for each manifest.
func TestStandingIsBounded(t *testing.T) {
	r := newReport(0, 0)
	c := r.begin(verdict.BootImage, policy.Enforce)
	for range maxRepeats + 2 {
		c.standing(policy.Standing{Manifest: "m", Status: policy.Revoked, Since: noon}, "w", "g", noon)
	}
	c.end()
	if len(r.findings) != maxRepeats+1 || r.findings[maxRepeats].Got != "2 more of these" || len(r.passed) != 0 {
		t.Errorf("%d findings, the last %+v", len(r.findings), r.findings[len(r.findings)-1])
	}
	r = newReport(0, 0)
	c = r.begin(verdict.BootImage, policy.Enforce)
	outdated := policy.Standing{Manifest: "m", Status: policy.Outdated, Since: noon}
	r.findings = append(r.findings, verdict.Finding{Check: verdict.BootImage, Message: "manifest m is outdated"})
	for _, manifest := range []string{"m", "n", "m"} {
		outdated.Manifest = manifest
		c.standing(outdated, "w", "g", noon)
	}
	if len(r.findings) != 3 {
		t.Errorf("%+v", r.findings)
	}
}

// A runtime of the given set that reports by itself.
func judging(set *policy.Set) *runtime {
	return &runtime{report: newReport(0, 0), set: set, mode: policy.Enforce, now: noon}
}

func TestRuntimeByEntry(t *testing.T) {
	set := debianSet(t)
	j := judging(set)
	j.entry(&ima.Entry{Kind: 9, Index: 7})
	if len(j.findings) != 1 || j.findings[0].Got != "an entry of an unknown kind" || j.refused != 1 {
		t.Errorf("an unknown kind: %+v", j.findings)
	}
	listed := func(_, _ []byte) (policy.Standing, bool) { return policy.Standing{Manifest: "m"}, true }
	for alg, want := range map[string]int{"sha256": 0, "sha1": 1, "sha512": 1} {
		j := judging(set)
		j.lookUp(&ima.Entry{DigestAlg: alg, Path: []byte("/x")}, listed)
		if len(j.findings) != want {
			t.Errorf("%s: %+v", alg, j.findings)
		}
	}
	j = judging(set)
	revoked := func(_, _ []byte) (policy.Standing, bool) {
		return policy.Standing{Manifest: "m", Status: policy.Revoked, Since: noon}, true
	}
	for range maxRepeats + 1 {
		j.lookUp(&ima.Entry{DigestAlg: "sha256", Path: []byte("/x")}, revoked)
	}
	if len(j.findings) != maxRepeats || j.refused != maxRepeats+1 {
		t.Errorf("%d findings of %d refused", len(j.findings), j.refused)
	}
}

// A finding shows up to three digests that are accepted at its path.
func TestWantedAtAPath(t *testing.T) {
	h := start(t, bootlog.Debian())
	digests := map[string]bool{}
	for i := range 4 {
		e := bootlog.FileEntry("/usr/bin/four", [32]byte{byte(i + 1)})
		digests[fmt.Sprintf("sha256:%x", e.Digest)] = true
		h.measure(e)
	}
	p, manifests := learned(t, h)
	j := judging(compile(t, p, manifests))
	want := "at this path " + strings.Join(slices.Sorted(maps.Keys(digests))[:3], ", ")
	if got := j.wanted(&ima.Entry{Path: []byte("/usr/bin/four")}); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRecordedWithoutHistory(t *testing.T) {
	for _, none := range [][]byte{nil, {}} {
		if h, err := Recorded(&evidence.Record{History: none}); err != nil || h.At != (time.Time{}) {
			t.Errorf("%+v, %v", h, err)
		}
	}
}
