package agent

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/proto/binding"
	quoratev1 "github.com/quorate/quorate/proto/quorate/v1"
)

func TestConfigIsStrict(t *testing.T) {
	const good = "node: org-a/one\nconsortium: c.yaml\n"
	cfg, err := ParseConfig([]byte(good))
	if err != nil || cfg.Device != "/dev/tpmrm0" {
		t.Fatal(cfg, err)
	}
	for name, bad := range map[string]string{
		"empty": "", "unknown key": good + "colour: blue\n", "no node": "consortium: c.yaml\n", "no consortium": "node: org-a/one\n",
		"empty device": good + "device: \"\"\n", "two documents": good + "---\n" + good, "repeated key": good + good,
		"class": good + "tpmClass: huge\n", "list": "- 1\n", "large": good + "#" + strings.Repeat("x", maxConfigBytes),
	} {
		if _, err := ParseConfig([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestQuestionsThatOneQuoteAnswers(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	ask := func(verifier string, bank tpm2.TPMAlgID, ctx context.Context, pcrs ...uint32) question {
		return question{ctx: ctx, challenge: binding.Challenge{Verifier: verifier}, bank: bank, pcrs: pcrs}
	}
	const sha256, sha384 = tpm2.TPMAlgSHA256, tpm2.TPMAlgSHA384
	got := groups([]question{
		ask("a", sha256, t.Context(), 0, 1), ask("b", sha256, t.Context(), 0, 1), ask("a", sha256, t.Context(), 0, 1),
		ask("c", sha384, t.Context(), 0, 1), ask("d", sha256, t.Context(), 0), ask("e", sha256, ended, 0, 1),
	})
	var shape []string
	for _, g := range got {
		names := ""
		for _, q := range g {
			names += q.challenge.Verifier
		}
		shape = append(shape, names)
	}
	if strings.Join(shape, " ") != "ab a c d" {
		t.Errorf("groups %q", shape)
	}
	var many []question
	for i := range binding.MaxChallenges + 3 {
		many = append(many, ask(string(rune('a'+i)), sha256, t.Context(), 0))
	}
	if got := groups(many); len(got) != 2 || len(got[0]) != binding.MaxChallenges {
		t.Errorf("%d groups, first of %d", len(got), len(got[0]))
	}
}

func TestBackOffIsJitteredAndBounded(t *testing.T) {
	var b backOff
	limit := firstPause
	seen := map[time.Duration]bool{}
	for range 20 {
		d := b.draw()
		if d < limit/2 || d >= limit {
			t.Errorf("pause %v outside %v to %v", d, limit/2, limit)
		}
		seen[d] = true
		limit = min(2*limit, lastPause)
	}
	if len(seen) < 15 {
		t.Errorf("%d different pauses of 20", len(seen))
	}
}

func TestTextsFromTheNetworkAreMadePrintable(t *testing.T) {
	got := findings([]*quoratev1.Finding{{Check: "a\x1b[2J\n", Got: strings.Repeat("ä", maxFindingText)}})
	if got[0].Check != "a?[2J?" || len(got[0].Got) > maxFindingText+8 {
		t.Errorf("%q, %d bytes", got[0].Check, len(got[0].Got))
	}
	if n := len(findings(make([]*quoratev1.Finding, 1000))); n != maxFindings {
		t.Errorf("%d findings kept", n)
	}
}

func TestStanding(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	bundle := func(n int, end time.Duration) *BundleStatus {
		return &BundleStatus{Admissions: n, Needed: 2, NotAfter: now.Add(end)}
	}
	with := func(running bool, b *BundleStatus, decisions ...string) Status {
		s := Status{Running: running, Bundle: b}
		for _, d := range decisions {
			s.Verifiers = append(s.Verifiers, VerifierStatus{Decision: d})
		}
		return s
	}
	for name, c := range map[string]struct {
		status Status
		want   Standing
	}{
		"zero":                     {Status{}, Unknown},
		"not running":              {with(false, bundle(2, time.Hour), "admitted", "admitted"), Unknown},
		"no verdict yet":           {with(true, bundle(2, time.Hour), "", ""), Unknown},
		"enough admit":             {with(true, bundle(2, time.Hour), "admitted", "admitted", "denied"), Admitted},
		"bundle ended":             {with(true, bundle(2, 0), "admitted", "admitted"), Unknown},
		"too few, one denies":      {with(true, bundle(2, time.Hour), "admitted", "denied"), Refused},
		"unknown word is a denial": {with(true, nil, "yes"), Refused},
	} {
		if got := c.status.Standing(now); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestCandidateTemplates(t *testing.T) {
	got := candidates("virtual", map[string]string{"discrete": "rsa-2048", "firmware": "ecc-p256", "virtual": "ecc-p256"})
	if len(got) != 2 || got[0] != "ecc-p256" || got[1] != "rsa-2048" {
		t.Error(got)
	}
}
