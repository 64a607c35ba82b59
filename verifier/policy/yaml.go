package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/quorate/quorate/admission/values"
)

// decoder walks YAML nodes and collects problems. It works on nodes rather than
// on Go values, because decoding into structs loses line numbers, stops at the
// first unknown key, and follows aliases.
type decoder struct {
	problems []Problem
	compiler compiler
	offered  map[string]bool // every key the grammar knows, as it was met; read by tests
}

// field is one key that a mapping may have.
type field struct {
	name     string
	required bool
	read     func(*yaml.Node)
}

// document parses exactly one YAML document and returns its root, nil after a problem.
func (d *decoder) document(text []byte, limit int) *yaml.Node {
	switch {
	case len(text) > limit:
		d.add(0, "", "the file has %d bytes, more than %d", len(text), limit)
		return nil
	case !utf8.Valid(text):
		d.add(0, "", "the file is not UTF-8")
		return nil
	}
	if err := values.Check(text, costOfValue); err != nil {
		d.add(0, "", "the file has %v: put lists into manifests, and write large manifests as quorate prints them", err)
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var first, second yaml.Node
	if err := dec.Decode(&first); errors.Is(err, io.EOF) {
		d.add(0, "", "the file is empty")
		return nil
	} else if err != nil {
		d.add(0, "", "not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		return nil
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		d.add(0, "", "the file holds more than one document")
		return nil
	}
	return first.Content[0]
}

// costOfValue is what a value costs as a node, however short it is, in bytes.
const costOfValue = 350

func (d *decoder) add(line int, key, format string, args ...any) {
	if len(d.problems) <= maxProblems {
		d.problems = append(d.problems, Problem{Line: line, Key: key, Text: fmt.Sprintf(format, args...)})
	}
}

// plain refuses what makes a text mean something else than it says: anchors,
// aliases and explicit tags.
func (d *decoder) plain(n *yaml.Node, key string) bool {
	if n.Kind == yaml.AliasNode || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
		d.add(n.Line, key, "anchors, aliases and tags are not allowed")
		return false
	}
	return true
}

// mapping reads a mapping that has the given keys and no other, each at most once.
func (d *decoder) mapping(n *yaml.Node, key string, fields []field) {
	for _, f := range fields {
		d.offer(join(key, f.name))
	}
	if !d.plain(n, key) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.add(n.Line, key, "must be a mapping with the keys %s", names(fields))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		d.entry(n.Content[i], n.Content[i+1], key, fields, seen)
	}
	for _, f := range fields {
		if f.required && !seen[f.name] {
			d.add(n.Line, join(key, f.name), "is missing")
		}
	}
}

func (d *decoder) entry(k, v *yaml.Node, key string, fields []field, seen map[string]bool) {
	if len(d.problems) > maxProblems || !d.plain(k, key) {
		return
	}
	if seen[k.Value] {
		d.add(k.Line, join(key, k.Value), "appears twice")
		return
	}
	for _, f := range fields {
		if k.Kind == yaml.ScalarNode && f.name == k.Value {
			seen[f.name] = true
			f.read(v)
			return
		}
	}
	d.add(k.Line, key, "unknown key %q; known are %s", bounded(k.Value), names(fields))
}

// pairs reads a mapping with free keys.
func (d *decoder) pairs(n *yaml.Node, key string, read func(k, v *yaml.Node)) {
	if !d.plain(n, key) {
		return
	}
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		d.add(n.Line, key, "must be a mapping with at least one entry")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case !d.plain(k, key):
		case k.Kind != yaml.ScalarNode:
			d.add(k.Line, key, "a key must be a plain text")
		case seen[k.Value]:
			d.add(k.Line, join(key, k.Value), "appears twice")
		default:
			seen[k.Value] = true
			read(k, v)
		}
	}
}

// list reads a sequence with at least one item.
func (d *decoder) list(n *yaml.Node, key string, read func(n *yaml.Node, key string)) {
	if !d.plain(n, key) {
		return
	}
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		d.add(n.Line, key, "must be a list with at least one item")
		return
	}
	for i, item := range n.Content {
		read(item, key+"["+strconv.Itoa(i)+"]")
	}
}

// raw reads a scalar as it is written, whatever YAML takes it for; null is refused.
func (d *decoder) raw(n *yaml.Node, key string) (string, bool) {
	if !d.plain(n, key) {
		return "", false
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		d.add(n.Line, key, "must be a single value")
		return "", false
	}
	return n.Value, true
}

// text reads a scalar that is text: what YAML takes for a number or a boolean
// has to be quoted, so that no version "1.10" turns into 1.1 elsewhere.
func (d *decoder) text(n *yaml.Node, key string) (string, bool) {
	s, ok := d.raw(n, key)
	if ok && n.Tag != "!!str" {
		d.add(n.Line, key, "must be text; write it in quotes")
		return "", false
	}
	return s, ok
}

// prose reads a non-empty line of text for people.
func (d *decoder) prose(n *yaml.Node, key string) string {
	s, ok := d.text(n, key)
	if ok && !validProse(s) {
		d.add(n.Line, key, "must be one line of at most 1024 bytes, and not empty")
	}
	return s
}

func validProse(s string) bool {
	return strings.TrimSpace(s) != "" && len(s) <= 1024 && !strings.ContainsFunc(s, isControl)
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f || r == utf8.RuneError }

func (d *decoder) boolean(n *yaml.Node, key string) bool {
	s, ok := d.raw(n, key)
	if ok && s != "true" && s != "false" {
		d.add(n.Line, key, "must be true or false")
	}
	return s == "true"
}

func (d *decoder) oneOf(n *yaml.Node, key string, allowed ...string) string {
	s, ok := d.raw(n, key)
	if !ok {
		return ""
	}
	for _, a := range allowed {
		if s == a {
			return s
		}
	}
	d.add(n.Line, key, "is %q; must be one of %s", bounded(s), strings.Join(allowed, ", "))
	return ""
}

func (d *decoder) mode(n *yaml.Node, key string) Mode {
	if d.oneOf(n, key, "enforce", "warn") == "warn" {
		return Warn
	}
	return Enforce
}

// name reads a name: lower-case letters, digits, dots and dashes, at most 64.
func (d *decoder) name(n *yaml.Node, key string) string {
	s, ok := d.raw(n, key)
	if ok && !validName(s) {
		d.add(n.Line, key, "%q is not a name: lower-case letters, digits, '.' and '-', at most 64, beginning and ending in a letter or digit", bounded(s))
	}
	return s
}

func validName(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !alnum && (c != '-' && c != '.' || i == 0 || i == len(s)-1) {
			return false
		}
	}
	return true
}

// number reads a positive whole number in its one spelling.
func (d *decoder) number(n *yaml.Node, key string) int {
	s, ok := d.raw(n, key)
	if !ok {
		return 0
	}
	v, err := strconv.Atoi(s)
	if err != nil || v < 1 || v > 1<<31-1 || strconv.Itoa(v) != s {
		d.add(n.Line, key, "must be a whole number from 1")
		return 0
	}
	return v
}

func (d *decoder) digest(n *yaml.Node, key string) string {
	s, ok := d.text(n, key)
	if ok && !validDigest(s) {
		d.add(n.Line, key, "%q is not a digest such as sha256:<64 lower-case hex digits>", bounded(s))
	}
	return s
}

// date reads a time in UTC, whole seconds, in its one spelling.
func (d *decoder) date(n *yaml.Node, key string) time.Time {
	s, ok := d.raw(n, key)
	if !ok {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.UTC().Format(time.RFC3339) != s || t.Year() < 1970 {
		d.add(n.Line, key, "%q is not a time such as 2026-11-22T16:00:00Z", bounded(s))
		return time.Time{}
	}
	return t.UTC()
}

func (d *decoder) offer(key string) {
	if d.offered != nil {
		d.offered[key] = true
	}
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

func names(fields []field) string {
	all := make([]string, len(fields))
	for i, f := range fields {
		all[i] = f.name
	}
	return strings.Join(all, ", ")
}

// bounded cuts foreign text before it goes into a message, on a rune boundary.
func bounded(s string) string {
	const limit = 80
	if len(s) <= limit {
		return s
	}
	cut := limit
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
