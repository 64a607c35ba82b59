package eventlog

import (
	"strings"
	"testing"
)

func TestDigestText(t *testing.T) {
	for alg, size := range map[string]int{"sha256": 32, "sha384": 48, "sha512": 64} {
		want := alg + ":" + strings.Repeat("0a", size)
		var d Digest
		if err := d.UnmarshalText([]byte(want)); err != nil || d.String() != want || len(d) != size {
			t.Errorf("%s reads as %s, %v", want, d, err)
		}
	}
	if text, err := Digest("").MarshalText(); err != nil || len(text) != 0 {
		t.Errorf("no digest prints as %q, %v", text, err)
	}
	for _, bad := range []string{
		"sha256", "sha256:", ":", "sha256:0a", "sha384:" + strings.Repeat("0a", 32), "sha256:" + strings.Repeat("0A", 32),
		"alg 0x0000:0a", "sha1:" + strings.Repeat("0a", 20), strings.Repeat("0a", 32),
	} {
		if d := new(Digest); d.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q reads as %q", bad, *d)
		}
	}
}

// The digests of facts are parts of one copy of the log, or of the digests before it.
func TestFactsHaveTheEventsDigests(t *testing.T) {
	l := parsed(t, manyEvents(t, 80))
	f, err := l.Facts(nil)
	if err != nil {
		t.Fatal(err)
	}
	all := append([]Measurement{f.SecureBoot.DBX.Measurement}, f.Firmware.Config...)
	for _, i := range f.Images {
		all = append(all, i.Measurement)
	}
	for _, c := range f.Grub.Commands {
		all = append(all, c.Measurement)
	}
	for _, c := range f.Grub.Files {
		all = append(all, c.Measurement)
	}
	for _, m := range all {
		if e, ok := l.Event(m.Event); !ok || string(m.Digest) != string(e.Digest) || m.PCR != int(e.PCR) {
			t.Errorf("event %d: %v, want %x", m.Event, m.Digest, e.Digest)
		}
	}
}
