package appraise

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

// Rules look at the TPM's firmware, which a boot's other facts do not follow. What
// they said of one version is not repeated for another.
func TestRulesAreAskedAgainForOtherTPMFirmware(t *testing.T) {
	h := start(t, bootlog.Debian())
	p, manifests := learned(t, h)
	withdrawn := policy.FirmwareVersion(h.node.Firmware + 1).String()
	p.Rules = append(p.Rules, policy.Rule{ID: "withdrawn", Deny: "tpm.firmware == '" + withdrawn + "'", Message: "a withdrawn version", Remedy: "update"})
	set := compile(t, p, manifests)
	v, history := Next(set, h.whole(), History{TPM: chip}, noon)
	admitted(t, v)
	h.node.Firmware++
	v, history = Next(set, h.verified(), history, noon)
	denied(t, v, verdict.RuleDenied)
	h.node.Firmware++
	v, history = Next(set, h.verified(), history, noon)
	admitted(t, v)
	if v, _ = Next(set, h.verified(), history, noon); len(history.Passed) == 0 {
		t.Error("nothing is reused though nothing changed")
	}
	admitted(t, v)
}

func TestRecordedHistoryHasOneEncoding(t *testing.T) {
	h := start(t, bootlog.Debian())
	_, history := Next(debianSet(t), h.whole(), History{TPM: chip}, noon)
	good, err := json.Marshal(history)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Recorded(&evidence.Record{History: good}); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"a key twice":         bytes.Replace(good, []byte(`{`), []byte(`{"refused":1,`), 1),
		"a key in other case": bytes.Replace(good, []byte(`"refused"`), []byte(`"Refused"`), 1),
		"an unknown key":      bytes.Replace(good, []byte(`{`), []byte(`{"more":1,`), 1),
		"a key missing":       []byte(`{"refused":0}`),
	} {
		if _, err := Recorded(&evidence.Record{History: text}); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
