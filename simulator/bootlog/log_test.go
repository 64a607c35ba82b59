package bootlog

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/quorate/quorate/simulator/need"
	"github.com/quorate/quorate/verifier/eventlog"
)

// boots are the complete boots that every verifier must accept.
func boots() map[string]Boot {
	list := map[string]Boot{}
	for _, chain := range []Chain{ShimGrub, EFIStub, UKI} {
		for _, secure := range []bool{true, false} {
			b := Debian()
			b.Chain, b.SecureBoot = chain, secure
			list[fmt.Sprintf("%s/secure=%v", chain, secure)] = b
		}
	}
	withROM := Debian()
	withROM.Drivers = []Image{{"option.rom", []byte("network boot ROM")}}
	list["option-rom"] = withROM
	return list
}

// judge does what a verifier does with a log and the quoted PCRs.
func judge(l *Log) (*eventlog.Facts, error) {
	parsed, err := eventlog.Parse(l.Bytes(), eventlog.SHA256, eventlog.DefaultLimits)
	if err != nil {
		return nil, err
	}
	quoted := l.PCRs()
	var pcrs []int
	for i := range 15 {
		pcrs = append(pcrs, i)
	}
	if err := parsed.Verify(pcrs, quoted.Values(pcrs...)); err != nil {
		return nil, err
	}
	return parsed.Facts(nil)
}

func TestCompleteBootsAreAccepted(t *testing.T) {
	for name, b := range boots() {
		facts, err := judge(b.Log())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if string(facts.Profile) != string(b.Chain) || facts.SecureBoot.Enabled != b.SecureBoot {
			t.Errorf("%s: profile %s, Secure Boot %v", name, facts.Profile, facts.SecureBoot.Enabled)
		}
		if b.Chain == EFIStub {
			b.CommandLine = "" // the stub logs a digest and no text
		}
		if len(facts.CommandLines) == 0 || facts.CommandLines[0].Text != b.CommandLine {
			t.Errorf("%s: command lines are %+v", name, facts.CommandLines)
		}
		if len(facts.Oddities) > 1 { // boot variables without names, as in the genuine logs
			t.Errorf("%s: odd: %q", name, facts.Oddities)
		}
	}
}

func TestMutationsAreRefused(t *testing.T) {
	for _, m := range Mutations() {
		l := Debian().Log()
		if err := l.Mutate(m); err != nil {
			t.Fatal(err)
		}
		if _, err := judge(l); err == nil {
			t.Errorf("%s is accepted", m)
		}
	}
	if len(Mutations()) < 40 {
		t.Errorf("only %d mutations", len(Mutations()))
	}
}

func TestWellFormedMutationsShow(t *testing.T) {
	want, err := judge(Debian().Log())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range WellFormedMutations() {
		l := Debian().Log()
		if err := l.Mutate(m); err != nil {
			t.Fatal(err)
		}
		facts, err := judge(l)
		if err != nil {
			t.Logf("%s: refused at once: %v", m, err)
		} else if reflect.DeepEqual(facts, want) {
			t.Errorf("%s does not show in the facts", m)
		}
	}
}

func TestCutLogsAreRefused(t *testing.T) {
	all := len(Debian().Log().Events)
	for n := range all - 1 {
		l := Debian().Log()
		l.CutAfter(n)
		if _, err := judge(l); err == nil {
			t.Errorf("a log of %d of %d events is accepted", n, all)
		}
	}
}

var pcrLine = regexp.MustCompile(`(?m)^ +(\d+) +: 0x([0-9a-f]{64})$`)

// tpm2-tools reads logs and computes PCRs independently of this project.
func TestToolAgrees(t *testing.T) {
	const tool = "tpm2_eventlog"
	need.Program(t, tool, "tpm2-tools")
	for name, b := range boots() {
		l, path := b.Log(), filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, l.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(tool, path).CombinedOutput()
		if err != nil || strings.Contains(string(out), "WARNING") || strings.Contains(string(out), "ERROR") {
			t.Errorf("%s: %v\n%s", name, err, out)
			continue
		}
		pcrs, found := l.PCRs(), 0
		for _, m := range pcrLine.FindAllStringSubmatch(string(out), -1) {
			var pcr int
			fmt.Sscan(m[1], &pcr)
			if got := hex.EncodeToString(pcrs[pcr][:]); got != m[2] {
				t.Errorf("%s: PCR %d is %s, the tool says %s", name, pcr, got, m[2])
			}
			found++
		}
		if found < 9 {
			t.Errorf("%s: the tool computed %d PCRs", name, found)
		}
	}
}
