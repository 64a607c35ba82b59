package policy

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"
)

// entryLine begins every line of a manifest's entries as Print writes them.
const entryLine = "  - {kind: "

// canonicalEntries reads the entries of a manifest that Print wrote: all lines from
// its first entry on, sorted. It needs no tree of nodes, so that a manifest of a
// whole distribution costs little more than its text. What is not exactly Print's is
// not read at all, and ok is false; YAML says then what it is.
func canonicalEntries(text string) (entries []Entry, ok bool) {
	if text == "" || text[len(text)-1] != '\n' {
		return nil, false
	}
	entries = make([]Entry, 0, strings.Count(text, "\n")+1) // and the one before them
	for line := range strings.Lines(text) {
		e, ok := canonicalEntry(line[:len(line)-1])
		if !ok || len(entries) > 0 && entries[len(entries)-1].compare(e) >= 0 {
			return nil, false
		}
		entries = append(entries, e)
	}
	return entries, true
}

// canonicalEntry reads one line, "  - {kind: file, path: "…", digest: "…"}". Every
// rule that YAML's entries obey is kept here: see decoder.reference.
func canonicalEntry(line string) (e Entry, ok bool) {
	rest, isEntry := strings.CutPrefix(line, entryLine)
	kind, rest, more := strings.Cut(rest, ", ")
	if !isEntry || !more || !slices.Contains(kinds, kind) {
		return e, false
	}
	e.Kind = Kind(kind)
	key := "digest: "
	if e.Kind.hasPath() {
		key = ", digest: "
		if e.Path, rest, ok = canonicalText(rest, "path: "); !ok || !validPath(e.Path) {
			return e, false
		}
	}
	if e.Digest, rest, ok = canonicalText(rest, key); !ok || !validDigest(e.Digest) {
		return e, false
	}
	if e.Kind.hasPath() && !strings.HasPrefix(e.Digest, "sha256:") {
		return e, false
	}
	if rest == "}" {
		return e, true
	}
	e.Comment, rest, ok = canonicalText(rest, ", comment: ")
	return e, ok && validProse(e.Comment) && rest == "}"
}

// canonicalText reads key and a text as quoted prints it.
func canonicalText(s, key string) (text, rest string, ok bool) {
	s, ok = strings.CutPrefix(s, key+`"`)
	end := strings.IndexByte(s, '"')
	if !ok || end < 0 {
		return "", "", false
	}
	if text = s[:end]; plain(text) {
		return text, s[end+1:], true
	}
	return escapedText(s)
}

// escapedText reads a text with escapes up to its closing quote.
func escapedText(s string) (text, rest string, ok bool) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			err := json.Unmarshal([]byte(`"`+s[:i]+`"`), &text)
			return text, s[i+1:], err == nil && quoted(text) == `"`+s[:i]+`"`
		}
	}
	return "", "", false
}

// plain reports whether quoted prints s between quotes as it is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// splitEntries splits a manifest before its second entry. The head is a whole
// manifest with one entry; tail is the rest of the entries.
func splitEntries(text []byte) (head []byte, tail string) {
	if !utf8.Valid(text) {
		return text, ""
	}
	s := string(text)
	const list = "\nentries:\n" + entryLine
	first := strings.Index(s, list)
	if first < 0 {
		return text, ""
	}
	end := strings.IndexByte(s[first+len(list):], '\n')
	if end < 0 {
		return text, ""
	}
	second := first + len(list) + end + 1
	return text[:second], s[second:]
}
