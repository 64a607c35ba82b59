package evidence_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/ima"
	"github.com/quorate/quorate/verifier/verdict"
)

func TestA024_ExtendedWithoutEvents(t *testing.T) {
	newScene(t).passes() // PCRs 11 to 13 have no events and their reset value
	for _, pcr := range []int{0, 4, 7, 8, 9, 11, 12, 13, 14} {
		s := newScene(t)
		s.node.PCRs.Extend(pcr, [32]byte{0xbb})
		s.answer()
		s.refused(verdict.BootlogReplay)
	}
}

func TestA025_BankNeverExtended(t *testing.T) {
	s := newScene(t)
	s.passes()
	s.node.PCRs = [24][32]byte{}
	s.answer()
	s.refused(verdict.BootlogReplay)
	s.raw.BootLog = nil
	s.raw.BootLogDigest = sha256.Sum256(nil)
	s.answer()
	s.refused(verdict.BootlogMissing)
}

func TestA028_LogOfAnotherBank(t *testing.T) {
	s := newScene(t)
	s.passes()
	s.log.Events[3].Digest[0] ^= 1 // the log's SHA-256 digest, not the TPM's
	s.raw.BootLog = s.log.Bytes()
	s.raw.BootLogDigest = sha256.Sum256(s.raw.BootLog)
	s.answer()
	if _, err := s.verify(); err == nil {
		t.Error("a log with other digests than the TPM's explains the quote")
	}
}

func TestA034_LogsInMotion(t *testing.T) {
	s := newScene(t)
	s.passes()
	early := s.raw.IMA
	s.run("/usr/bin/just-started")
	s.raw.IMA = early // read before the quote
	s.answer()
	if err := refusalOf(s); !evidence.Retryable(err) {
		t.Error("a list read too early is not asked for again")
	}
	s.refused(verdict.QuoteInMotion)
	s.raw.IMA = s.list.Bytes()
	s.passes()

	late := s.raw // read after the quote: the new entry is ignored until the next
	s.run("/usr/bin/started-after")
	late.IMA = s.raw.IMA
	s.raw = late
	if v := s.passes(); v.IMA().Ignored == 0 || v.IMA().Len() != 3 {
		t.Errorf("%d entries, %d bytes ignored", v.IMA().Len(), v.IMA().Ignored)
	}
	s.raw.PCRValues = s.node.PCRs.Values(quotedPCRs...) // values read after the quote
	if err := refusalOf(s); !evidence.Retryable(err) {
		t.Error("values read too late are not asked for again")
	}
	s.refused(verdict.QuotePCRDigest)
	if evidence.Retryable(nil) || evidence.Retryable(errors.New("other")) {
		t.Error("anything is retryable")
	}
}

func refusalOf(s *scene) error {
	_, err := s.verify()
	return err
}

func TestA035_ZeroIsNotAbsent(t *testing.T) {
	s := newScene(t)
	v := s.passes()
	if value, ok := v.PCR(12); !ok || value != ([32]byte{}) {
		t.Error("PCR 12 is not the quoted zero")
	}
	for _, pcr := range []int{15, 16, 23, 24, -1} {
		if _, ok := v.PCR(pcr); ok {
			t.Errorf("PCR %d was not quoted and has a value", pcr)
		}
	}
}

func TestA097_NoBootLog(t *testing.T) {
	s := newScene(t)
	s.passes()
	log := s.raw.BootLog
	s.raw.BootLog = nil
	s.refused(verdict.BootlogMissing)
	s.raw.BootLog = append(bytes.Clone(log), 0) // not the log that the quote names
	s.refused(verdict.QuoteBootLog)
	s.raw.BootLog = []byte{1}
	s.raw.BootLogDigest = sha256.Sum256(s.raw.BootLog)
	s.answer()
	if _, err := s.verify(); err == nil {
		t.Error("one byte is a boot log")
	}
}

// Whatever is wrong with a log, evidence with it is refused, even though the TPM
// was extended as the log says.
func TestDefectiveBootLogs(t *testing.T) {
	names := bootlog.Mutations()
	if len(names) == 0 {
		t.Fatal("no defects")
	}
	for _, name := range names {
		each(t, string(name), func(s *scene) {
			if err := s.log.Mutate(name); err != nil {
				t.Fatal(err)
			}
			s.boot(s.log)
			s.answer()
			s.refused(name.Check())
		})
	}
}

func TestDefectiveLists(t *testing.T) {
	names := bootlog.ListMutations()
	if len(names) == 0 {
		t.Fatal("no defects")
	}
	for _, name := range names {
		each(t, string(name), func(s *scene) {
			s.run("/usr/bin/third")
			if err := s.list.Mutate(name); err != nil {
				t.Fatal(err)
			}
			s.node.PCRs = s.log.PCRs()
			s.list.Replay(&s.node.PCRs)
			s.raw.IMA = s.list.Bytes()
			s.answer()
			s.refused(bootlog.ListCheck(name))
		})
	}
}

// reboot boots the same system again.
func (s *scene) reboot() {
	s.node.Reboot()
	s.boot(bootlog.Debian().Log(), s.list.Entries[1:]...)
}

func TestA072_RestartNeedsEverythingAgain(t *testing.T) {
	s := newScene(t)
	s.remember(s.passes())
	s.node.TPMRestart()
	s.boot(bootlog.Debian().Log(), s.list.Entries[1:]...) // the good extends again
	log, list := s.raw.BootLog, s.raw.IMA
	s.raw.BootLog, s.raw.IMA = nil, nil
	s.answer()
	s.refused(verdict.BootlogMissing)
	s.raw.BootLog = log
	s.refused(verdict.QuoteNewEpoch)
	s.raw.IMA = list
	v := s.passes()
	if v.Transition() != evidence.Restarted || v.IMA().Start != (ima.State{Epoch: v.Epoch()}) {
		t.Errorf("transition %v, from %+v", v.Transition(), v.IMA().Start)
	}
}

func TestA073_ResetBehindTheHost(t *testing.T) {
	s := newScene(t)
	s.remember(s.passes())
	boot := s.raw.BootID
	s.reboot()
	if s.raw.BootID == boot {
		t.Fatal("the honest reboot has the same boot id")
	}
	s.answer()
	if v := s.passes(); v.Transition() != evidence.Rebooted {
		t.Errorf("transition %v", v.Transition())
	}
	s.raw.BootID = boot
	s.refused(verdict.QuoteResetWithoutBoot)
}

func TestA074_Resume(t *testing.T) {
	s := newScene(t)
	s.remember(s.passes())
	s.node.Resume() // PCRs and host go on
	s.answer()
	s.refused(verdict.BootlogMissing)
	s.raw.BootLog, s.raw.IMA = s.log.Bytes(), s.list.Bytes()
	if v := s.passes(); v.Transition() != evidence.Restarted {
		t.Errorf("transition %v", v.Transition())
	}
}

func TestA075_ClockAndSafe(t *testing.T) {
	const unsafeStep = 1 << 22
	for name, c := range map[string]struct {
		change func(s *scene)
		want   verdict.CheckID // empty: passes
	}{
		"same epoch, later":                {func(s *scene) {}, ""},
		"same epoch, earlier":              {func(s *scene) { s.node.Clock -= 21 }, verdict.QuoteRollback},
		"same epoch, same millisecond":     {func(s *scene) { s.node.Clock -= 10 }, ""},
		"new epoch, later":                 {func(s *scene) { s.reboot() }, ""},
		"new epoch, earlier, safe":         {func(s *scene) { s.reboot(); s.node.Clock -= 1000 }, verdict.QuoteRollback},
		"new epoch, much earlier, safe":    {func(s *scene) { s.reboot(); s.node.Clock = 0 }, verdict.QuoteRollback},
		"reset count back":                 {func(s *scene) { s.reboot(); s.node.Reset -= 2 }, verdict.QuoteRollback},
		"restart count back":               {func(s *scene) { s.want.Previous.Epoch.Restart = 3 }, verdict.QuoteRollback},
		"restart count zeroed by a reboot": {func(s *scene) { s.want.Previous.Epoch.Restart = 3; s.reboot() }, ""},
	} {
		each(t, name, func(s *scene) {
			s.node.Clock = 100_000_000
			s.answer()
			s.remember(s.passes())
			s.raw.BootLog, s.raw.IMA = s.log.Bytes(), s.list.Bytes()
			s.want.IMA, s.want.KnownLog = ima.State{}, nil
			c.change(s)
			s.answer()
			if c.want != "" {
				s.refused(c.want)
				return
			}
			if v := s.passes(); !v.Clock().Safe {
				t.Error("the clock is reported as not safe")
			}
		})
	}
	for step, want := range map[uint64]verdict.CheckID{1000: "", unsafeStep: "", unsafeStep + 1: verdict.QuoteRollback} {
		s := newScene(t)
		s.node.Clock = 100_000_000
		s.answer()
		s.remember(s.passes())
		s.reboot()
		s.raw.Challenges = nil
		s.answer()
		a := s.quote()
		a.Safe, a.Clock = 0, s.want.Previous.Milliseconds-step
		s.sign(a)
		if want != "" {
			s.refused(want)
			continue
		}
		if v := s.passes(); v.Clock().Safe || v.Clock().Milliseconds != a.Clock {
			t.Errorf("clock %+v", v.Clock())
		}
	}
}

// The owner can set the clock forward; nothing but the order of quotes hangs on it.
func TestA076_ClockSetForward(t *testing.T) {
	s := newScene(t)
	s.remember(s.passes())
	s.node.Clock += 10 * 24 * 3600 * 1000
	s.answer()
	v := s.passes()
	if jump := v.Clock().Milliseconds - s.want.Previous.Milliseconds; jump < 864_000_000 {
		t.Errorf("the jump is not reported: %d ms", jump)
	}
}

func TestA077_CountersOfUnsignedBytes(t *testing.T) {
	s := newScene(t)
	s.remember(s.passes())
	a := s.quote()
	a.Reset = 0 // would be a rollback, were it signed
	s.raw.Quote = a.Bytes()
	s.refused(verdict.QuoteSignature)
	s.answer()
	s.passes()
}

func TestA078_ClearedTPM(t *testing.T) {
	s := newScene(t)
	s.node.Reset = 4
	s.answer()
	s.remember(s.passes())
	s.reboot()
	s.node.Reset, s.node.Clock = 0, 0
	s.answer()
	refusal := s.refused(verdict.QuoteRollback)
	if refusal.Got != "epoch 0/0, clock 10 ms (safe)" {
		t.Errorf("got %q", refusal.Got)
	}
	if evidence.Retryable(refusal) {
		t.Error("a rollback is an accident of timing")
	}
}

func TestA079_CountersAtTheirEnds(t *testing.T) {
	const top = math.MaxUint32
	for _, c := range []struct {
		before, after verdict.Epoch
		want          verdict.CheckID
	}{
		{verdict.Epoch{Reset: top - 1}, verdict.Epoch{Reset: top}, ""},
		{verdict.Epoch{Reset: top}, verdict.Epoch{}, verdict.QuoteRollback},
		{verdict.Epoch{Reset: top, Restart: top}, verdict.Epoch{Reset: top}, verdict.QuoteRollback},
		{verdict.Epoch{Reset: 1, Restart: top}, verdict.Epoch{Reset: 2}, ""},
		{verdict.Epoch{Reset: 2}, verdict.Epoch{Reset: 1, Restart: top}, verdict.QuoteRollback},
		{verdict.Epoch{}, verdict.Epoch{}, ""},
	} {
		s := newScene(t)
		s.want.Previous = evidence.Clock{Epoch: c.before, Milliseconds: 1}
		s.node.Reset, s.node.Restart = c.after.Reset, c.after.Restart
		s.answer()
		if c.want != "" {
			s.refused(c.want)
			continue
		}
		if v := s.passes(); v.Epoch() != c.after {
			t.Errorf("epoch %v, want %v", v.Epoch(), c.after)
		}
	}
}

func TestA099_NothingKnownStandsForTheQuote(t *testing.T) {
	s := newScene(t)
	s.remember(s.passes())
	s.answer()
	s.passes()
	s.node.PCRs.Extend(7, [32]byte{1})
	s.answer()
	s.refused(verdict.BootlogReplay)
}

func TestA122_BootAggregateOfTheQuotedPCRs(t *testing.T) {
	s := newScene(t)
	s.passes()
	other := bootlog.Debian()
	other.CommandLine += " quiet"
	pcrs := s.log.PCRs()
	s.list = bootlog.NewList(other.Log().PCRs()) // the list of another boot
	s.list.Replay(&pcrs)
	s.node.PCRs, s.raw.IMA = pcrs, s.list.Bytes()
	s.answer()
	s.refused(verdict.IMABootAggregate)
}

func TestA124_PCR10WithoutList(t *testing.T) {
	s := newScene(t)
	s.passes()
	s.raw.IMA = nil
	s.refused(verdict.QuoteInMotion)
	s.node.PCRs[ima.PCR] = [32]byte{}
	s.answer()
	if v := s.passes(); v.IMA().Len() != 0 { // authentic; whether IMA is required is policy
		t.Error("entries out of nothing")
	}
	s.raw.IMA = s.list.Bytes()
	s.refused(verdict.IMAReset)
}

func TestA132_PositionOfAnotherEpoch(t *testing.T) {
	s := newScene(t)
	v := s.passes()
	s.remember(v)
	s.raw.IMA = s.list.Bytes() // nothing new was measured, so nothing of it is believed
	if again := s.passes(); again.IMA().Len() != 0 || again.IMA().End != v.IMA().End {
		t.Errorf("from the start again: %+v", again.IMA().End)
	}
	s.run("/usr/bin/new") // from the start again, in the same epoch
	s.answer()
	s.refused(verdict.IMABootAggregate)
	s.want.IMA.Epoch.Reset = 0 // a position of another epoch is not used
	s.passes()
	s.want.IMA = v.IMA().End
	s.want.IMA.PCR10[0]++ // a stored position that was tampered with
	s.raw.IMA = nil
	s.refused(verdict.QuoteInMotion)
}

func TestKnownLogOfAnotherBoot(t *testing.T) {
	s := newScene(t)
	other := bootlog.Debian()
	other.CommandLine += " quiet"
	raw := other.Log().Bytes()
	known, err := evidence.NewKnownLog(s.passes().Epoch(), eventlog.SHA256, raw)
	if err != nil {
		t.Fatal(err)
	}
	s.want.KnownLog = known
	s.passes() // another log than the one known: what was sent is judged
	s.raw.BootLog = nil
	s.refused(verdict.BootlogMissing)
	s.raw.BootLogDigest = sha256.Sum256(raw)
	s.answer()
	s.refused(verdict.BootlogReplay)
	if _, err := evidence.NewKnownLog(verdict.Epoch{}, eventlog.SHA256, nil); err == nil {
		t.Error("an empty log can be known")
	}
}

// Genuine boots, logs and lists as a Debian kernel handed them out, quoted by the
// test's key: everything that a real host sends explains itself.
func TestGenuineBoots(t *testing.T) {
	for _, name := range []string{"shim-grub", "efi-stub", "uki"} {
		each(t, name, func(s *scene) {
			s.raw.BootLog = read(t, "../eventlog/testdata/genuine/"+name+".log")
			s.raw.IMA = read(t, "../ima/testdata/"+name+".ima")
			s.raw.BootLogDigest = sha256.Sum256(s.raw.BootLog)
			for i, line := range strings.Fields(string(read(t, "../ima/testdata/"+name+".pcrs"))) {
				if _, err := hex.Decode(s.node.PCRs[i][:], []byte(line)); err != nil {
					t.Fatal(err)
				}
			}
			s.answer()
			v := s.passes()
			if v.IMA().Len() != 14 || v.Facts().EventCount < 20 {
				t.Errorf("%d entries, %d events", v.IMA().Len(), v.Facts().EventCount)
			}
			s.record()
		})
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTransitionWords(t *testing.T) {
	var words []string
	for i := range evidence.Restarted + 2 {
		words = append(words, i.String())
	}
	if got := strings.Join(words, " "); got != "first same rebooted restarted unknown" {
		t.Error(got)
	}
}
