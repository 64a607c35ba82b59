package policy

import (
	"bytes"
	"strings"
)

// Manifests of whole distributions have millions of entries, and nearly always
// come in the canonical form, as `policy learn` and the verifier's archive write
// them. That form is read line by line, at a few bytes for each byte of text,
// where a YAML tree takes sixteen. Nothing is believed for it: the result counts
// only if printing it gives exactly the text that was read, and only after the
// checks that every manifest has to pass.

const entriesHead = "\nentries:\n"

// canonicalManifest reads a manifest in its canonical form. It returns nil for
// every other text, which is then for the YAML reader to judge.
func canonicalManifest(text []byte) *Manifest {
	cut := bytes.Index(text, []byte(entriesHead))
	if cut < 0 {
		return nil
	}
	d := &decoder{}
	m := d.header(text[:cut+1])
	if m == nil || len(d.problems) > 0 || !m.readEntries(string(text[cut+len(entriesHead):])) {
		return nil
	}
	if !m.sound() || !bytes.Equal(m.Print(), text) {
		return nil
	}
	return m
}

// readEntries reads lines as Print writes them. The entries share the text.
func (m *Manifest) readEntries(lines string) bool {
	m.Entries = make([]Entry, 0, strings.Count(lines, "\n"))
	for lines != "" {
		line, rest, ended := strings.Cut(lines, "\n")
		e, ok := readEntry(line)
		if !ok || !ended {
			return false
		}
		m.Entries = append(m.Entries, e)
		lines = rest
	}
	return len(m.Entries) > 0
}

// readEntry reads one line, "  - {kind: file, path: "…", digest: "…"}". Texts
// with escapes are left to the YAML reader.
func readEntry(line string) (e Entry, ok bool) {
	rest, opened := strings.CutPrefix(line, "  - {kind: ")
	rest, closed := strings.CutSuffix(rest, "}")
	if !opened || !closed {
		return e, false
	}
	kind, rest, _ := strings.Cut(rest, ", ")
	e.Kind = Kind(kind)
	if e.Path, rest, ok = plainText(rest, `path: "`, `", `); !ok {
		return e, false
	}
	if e.Digest, rest, ok = plainText(rest, `digest: "`, `"`); !ok {
		return e, false
	}
	e.Comment, rest, ok = plainText(rest, `, comment: "`, `"`)
	return e, ok && rest == ""
}

// plainText reads what stands between two marks, nothing if the first is not there.
func plainText(s, open, end string) (text, rest string, ok bool) {
	s, found := strings.CutPrefix(s, open)
	if !found {
		return "", s, true
	}
	text, rest, ok = strings.Cut(s, end)
	return text, rest, ok && !strings.Contains(text, `\`)
}

// sound repeats, for entries that no decoder has judged, what reference and
// distinct demand of them.
func (m *Manifest) sound() bool {
	for i := range m.Entries {
		e := &m.Entries[i]
		if !e.sound() || i > 0 && m.Entries[i-1].compare(*e) >= 0 {
			return false
		}
	}
	return true
}

func (e *Entry) sound() bool {
	if !knownKind(e.Kind) || !validDigest(e.Digest) || e.Comment != "" && !validProse(e.Comment) {
		return false
	}
	if !e.Kind.hasPath() {
		return e.Path == ""
	}
	return validPath(e.Path) && strings.HasPrefix(e.Digest, "sha256:")
}
