package eventlog

import (
	"bytes"
	"errors"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/quorate/quorate/verifier/verdict"
)

// largeLog has a db of 64 KB.
func largeLog(t *testing.T) (b *bootLog, db int) {
	b = genuine(t)
	db = b.find(t, named("db"))
	b.db(t, db, func([]byte) {})
	return b, db
}

// db writes the databases again, many times over, with their digest.
func (b *bootLog) db(t *testing.T, at int, change func(lists []byte)) {
	t.Helper()
	v, err := ParseVariable(b.events[at].data)
	if err != nil {
		t.Fatal(err)
	}
	lists := bytes.Clone(v.Data)
	for len(lists) < 64<<10 {
		lists = append(lists, v.Data...)
	}
	change(lists)
	b.events[at] = variableRecord(7, b.events[at].kind, v.GUID, v.Name, string(lists))
}

// Known contents change nothing that a genuine log says.
func TestContentsChangeNoFacts(t *testing.T) {
	names, err := filepath.Glob("testdata/*/*")
	if err != nil {
		t.Fatal(err)
	}
	all, read := (*Contents)(nil), 0
	for _, name := range names {
		l, err := Parse(readLog(t, filepath.Join("..", name)), SHA256, DefaultLimits)
		if err != nil {
			continue // no log, or one without this bank
		}
		read++
		want, refused := l.Facts(nil)
		all = all.With(l)
		got, err := l.Facts(all)
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(err, refused) {
			t.Errorf("%s: %v, %v; without contents %v, %v", name, got, err, want, refused)
		}
	}
	if read < 15 || len(all.data) < 3 {
		t.Fatalf("%d logs with %d large data", read, len(all.data))
	}
}

// Data are known for the digest that they have, and for no other.
func TestContentsAreExact(t *testing.T) {
	b, db := largeLog(t)
	twin := parsed(t, b.bytes())
	known := (*Contents)(nil).With(twin)
	if len(known.data) != 1 || known.With(twin) != known {
		t.Fatalf("%d contents, and more of the same log", len(known.data))
	}
	if _, err := twin.Facts(known); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(r *record){
		"another byte":  func(r *record) { r.data[len(r.data)-1] ^= 1 },
		"a byte less":   func(r *record) { r.data = r.data[:len(r.data)-1] },
		"nothing":       func(r *record) { r.data = nil },
		"other digest":  func(r *record) { r.digest[0] ^= 1 },
		"digest of PCR": func(r *record) { r.digest = bytes.Clone(b.events[0].digest) },
	} {
		altered, _ := largeLog(t)
		change(&altered.events[db])
		l := parsed(t, altered.bytes())
		_, plain := l.Facts(nil)
		_, err := l.Facts(known)
		var refusal *verdict.Refusal
		if !errors.As(err, &refusal) || refusal.Check != verdict.BootlogDigest || !reflect.DeepEqual(err, plain) {
			t.Errorf("%s: %v; without contents: %v", name, err, plain)
		}
		if known.With(l) != known {
			t.Errorf("%s: is remembered", name)
		}
	}
}

// What one log brings is its own copy, and all of it together has a bound.
func TestContentsAreBounded(t *testing.T) {
	b, db := largeLog(t)
	raw := b.bytes()
	known := (*Contents)(nil).With(parsed(t, raw))
	clear(raw)
	if _, err := parsed(t, b.bytes()).Facts(known); err != nil || !known.knows(SHA256, b.events[db].digest, b.events[db].data) {
		t.Error("contents changed with the log that they are from")
	}
	most := 0
	for i := range 200 {
		b.db(t, db, func(lists []byte) { lists[len(lists)-1], lists[len(lists)-2] = byte(i), 0xA5 }) // another certificate
		l := parsed(t, b.bytes())
		if known = known.With(l); !known.knows(SHA256, b.events[db].digest, b.events[db].data) {
			t.Fatal("the newest is not known")
		}
		sum := 0
		for _, data := range known.data {
			sum += len(data)
		}
		if sum != known.size || sum > maxContents {
			t.Fatalf("%d bytes, counted as %d", sum, known.size)
		}
		most = max(most, len(known.data))
	}
	if most < maxContents/len(b.events[db].data) {
		t.Errorf("only %d are known at a time", most)
	}
}

// A verifier of another bank's log knows nothing by it.
func TestContentsOfABank(t *testing.T) {
	b, db := largeLog(t)
	known := (*Contents)(nil).With(parsed(t, b.bytes()))
	if e := b.events[db]; known.knows(SHA384, e.digest, e.data) || !known.knows(SHA256, e.digest, e.data) {
		t.Error("a digest counts in a bank that it is not of")
	}
}
