package eventlog

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-attestation/attest"
	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/tcg"
)

// go-attestation's own parser and replay agree with ours on every log of the
// corpus that we parse.
func TestAgainstGoAttestation(t *testing.T) {
	checked := 0
	for _, c := range corpus {
		raw := readLog(t, c.file)
		l, err := Parse(raw, SHA256, DefaultLimits)
		if err != nil {
			continue
		}
		checked++
		theirs, err := attest.ParseEventLog(raw)
		if err != nil {
			t.Fatalf("%s: %v", c.file, err)
		}
		bank := l.Replay()
		var pcrs []attest.PCR
		for pcr := range 24 {
			pcrs = append(pcrs, attest.PCR{Index: pcr, Digest: bank.Value(pcr), DigestAlg: crypto.SHA256})
		}
		if _, err := theirs.Verify(pcrs); err != nil {
			t.Errorf("%s: %v", c.file, err)
		}
		sameEvents(t, c.file, l, theirs.Events(attest.HashSHA256))
	}
	if checked < 12 {
		t.Errorf("only %d logs were compared", checked)
	}
}

// sameEvents compares events one by one; go-attestation keeps those of NO_ACTION too.
func sameEvents(t *testing.T, file string, l *Log, theirs []attest.Event) {
	t.Helper()
	i := 0
	for _, e := range l.Events() {
		for i < len(theirs) && theirs[i].Type.String() == "EV_NO_ACTION" && e.Type != EvNoAction {
			i++
		}
		if i == len(theirs) {
			t.Errorf("%s: go-attestation has fewer events", file)
			return
		}
		other := theirs[i]
		i++
		if other.Index != int(e.PCR) || !bytes.Equal(other.Digest, e.Digest) || !bytes.Equal(other.Data, e.Data) {
			t.Errorf("%s: event %d differs", file, e.Index)
			return
		}
	}
}

var toolPCR = regexp.MustCompile(`^\s+(\d+)\s*: 0x([0-9a-f]{64})$`)

// Intel's tool gives the same PCR values for every genuine log. It is part of
// Debian's tpm2-tools, which the tests need.
func TestAgainstTPM2Tools(t *testing.T) {
	tool, err := exec.LookPath("tpm2_eventlog")
	if err != nil {
		t.Fatal("tpm2_eventlog is missing; install tpm2-tools")
	}
	for _, c := range corpus {
		l, err := Parse(readLog(t, c.file), SHA256, DefaultLimits)
		if err != nil || c.refused != "" {
			continue
		}
		out, err := exec.Command(tool, filepath.Join("testdata", c.file)).Output()
		if err != nil {
			t.Fatalf("%s: %v", c.file, err)
		}
		values := toolValues(t, string(out))
		bank := l.Replay()
		if hasQuiet(l) {
			delete(values, 0) // compared in logs where every event extends
		}
		for pcr, value := range values {
			if got := hex.EncodeToString(bank.Value(pcr)); got != value {
				t.Errorf("%s: PCR %d is %s, tpm2_eventlog says %s", c.file, pcr, got, value)
			}
		}
		if len(values) < 7 {
			t.Errorf("%s: tpm2_eventlog gave %d values", c.file, len(values))
		}
	}
}

func hasQuiet(l *Log) bool {
	return slices.ContainsFunc(l.Events(), func(e Event) bool { return e.Type == EvNoAction })
}

// toolValues reads the sha256 part of "pcrs:" at the end of the tool's output.
func toolValues(t *testing.T, out string) map[int]string {
	t.Helper()
	_, tail, ok := strings.Cut(out, "\npcrs:")
	if !ok {
		t.Fatal(fmt.Errorf("no PCRs in %d bytes of output", len(out)))
	}
	values := map[int]string{}
	bank := ""
	for line := range strings.Lines(tail) {
		line = strings.TrimRight(line, "\n")
		if m := toolPCR.FindStringSubmatch(line); m != nil && bank == "sha256" {
			pcr, _ := strconv.Atoi(m[1])
			values[pcr] = m[2]
		} else if strings.HasSuffix(line, ":") {
			bank = strings.TrimSpace(strings.TrimSuffix(line, ":"))
		}
	}
	return values
}

// go-eventlog's own parser and replay agree with ours on every log that we accept.
// It knows fewer event types, and does not take those logs that show others.
func TestAgainstGoEventlog(t *testing.T) {
	checked := 0
	for _, c := range corpus {
		raw := readLog(t, c.file)
		l, err := Parse(raw, SHA256, DefaultLimits)
		if err != nil || c.refused != "" {
			continue
		}
		bank := l.Replay()
		var registers []register.MR
		for pcr := range 24 {
			registers = append(registers, register.PCR{Index: pcr, Digest: bank.Value(pcr), DigestAlg: crypto.SHA256})
		}
		theirs, err := tcg.ParseAndReplay(raw, registers, tcg.ParseOpts{})
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		checked++
		extending := slices.DeleteFunc(l.Events(), func(e Event) bool { return e.Type == EvNoAction })
		theirs = slices.DeleteFunc(theirs, func(e tcg.Event) bool { return e.Type == tcg.NoAction })
		if len(theirs) != len(extending) {
			t.Errorf("%s: %d events, go-eventlog has %d", c.file, len(extending), len(theirs))
			continue
		}
		for i, e := range extending {
			if theirs[i].Index != int(e.PCR) || !bytes.Equal(theirs[i].Digest, e.Digest) || !bytes.Equal(theirs[i].Data, e.Data) {
				t.Errorf("%s: event %d differs", c.file, e.Index)
				break
			}
		}
	}
	if checked < 8 {
		t.Errorf("only %d logs were compared", checked)
	}
}
