package eventlog

import (
	"bytes"
	"maps"
)

// Contents are large event data whose digests were computed before. Hosts of one
// model measure the same Secure Boot databases, and comparing bytes costs a tenth
// of hashing them.
//
// Contents are arithmetic and not trust. Data are among them only after their
// digest was computed from them, whoever sent them, so knowing them changes the
// cost of a decision and never the decision. A nil Contents knows nothing. One is
// not changed once made: any number of goroutines may share it.
type Contents struct {
	data map[contentKey][]byte
	size int // bytes of all data
}

type contentKey struct {
	bank   Alg
	digest string
}

const (
	minContent  = 4 << 10 // bytes; shorter data are as quick to hash as to look up
	maxContents = 4 << 20 // bytes that are kept: the databases of some forty models
)

// With returns Contents that also know the large data of a log, as far as the
// digests beside them cover them. It computes those digests. If there is nothing
// new it returns c itself; if there is no room left it returns what this log has.
func (c *Contents) With(l *Log) *Contents {
	found := Contents{data: map[contentKey][]byte{}}
	var e Event
	for i := range l.starts {
		if l.read(i, &e); len(e.Data) < minContent || c.knows(l.bank, e.Digest, e.Data) || !l.bank.covers(e.Digest, e.Data) {
			continue
		}
		found.data[contentKey{l.bank, string(e.Digest)}] = bytes.Clone(e.Data)
		found.size += len(e.Data)
	}
	if found.size == 0 {
		return c
	}
	if c != nil && c.size+found.size <= maxContents {
		maps.Copy(found.data, c.data)
		found.size += c.size
	}
	return &found
}

// knows reports whether these data are known to have this digest.
func (c *Contents) knows(bank Alg, digest, data []byte) bool {
	if c == nil || len(data) < minContent {
		return false
	}
	known, ok := c.data[contentKey{bank, string(digest)}]
	return ok && bytes.Equal(known, data)
}
