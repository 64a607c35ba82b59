package verifier

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/store"
)

// maxSegments bounds the number of archived parts of one IMA list. More are
// joined into one, so that a record never refers to thousands.
const maxSegments = 16

// keepLogs archives the parts of the logs that the evidence brought, and returns
// the parts that lead from entry 0 to the end of the IMA list. Evidence that
// brought nothing new writes nothing.
func (s *Service) keepLogs(l *live, j judgement) ([]node.Digest, error) {
	if j.verified == nil {
		return l.pos.Segments, nil
	}
	if len(j.raw.BootLog) > 0 {
		if _, err := s.keepBlob(j.raw.BootLog); err != nil {
			return nil, err
		}
	}
	segments := l.pos.Segments
	if j.verified.IMA().Start.Entries == 0 {
		segments = nil
	}
	part := j.verified.IMA().Bytes()
	if len(part) == 0 {
		return segments, nil
	}
	digest, err := s.keepBlob(part)
	if err != nil {
		return nil, err
	}
	segments = append(slices.Clip(segments), digest)
	if len(segments) <= maxSegments {
		return segments, nil
	}
	return s.join(segments)
}

// join archives the concatenation of archived parts as one part.
func (s *Service) join(segments []node.Digest) ([]node.Digest, error) {
	var whole []byte
	for _, digest := range segments {
		part, err := s.archive.Get(digest)
		if err != nil {
			return nil, err
		}
		whole = append(whole, part...)
	}
	digest, err := s.keepBlob(whole)
	return []node.Digest{digest}, err
}

// keepEvidence archives the judgement's record, with every input and the verdict,
// and returns its digest.
func (s *Service) keepEvidence(l *live, j judgement) (node.Digest, error) {
	r, blobs := evidence.NewRecord(j.raw, j.want, j.verified, j.result.At)
	if j.want.IMA.Entries > 0 && r.IMAStart.Entries > 0 {
		for _, digest := range l.pos.Segments {
			r.IMAEarlier = append(r.IMAEarlier, evidence.Digest(digest))
		}
	}
	history, err := json.Marshal(j.before)
	if err != nil {
		return node.Digest{}, err
	}
	r.History, r.Verdict = history, j.result
	if j.set != nil {
		r.PolicySet = j.set.Digest()
	}
	for _, blob := range blobs {
		if _, err := s.keepBlob(blob); err != nil {
			return node.Digest{}, err
		}
	}
	text, err := r.Marshal()
	if err != nil {
		return node.Digest{}, err
	}
	return s.keepBlob(text)
}

// EvidenceFile returns an archived record with its blobs as one file: the one of
// that digest, or the node's last.
func (s *Service) EvidenceFile(ctx context.Context, id, digest string) ([]byte, error) {
	if (id == "") == (digest == "") {
		return nil, fmt.Errorf("%w: give either a node or a digest", ErrInvalid)
	}
	var wanted node.Digest
	if id != "" {
		v, err := s.Node(ctx, id)
		if err != nil {
			return nil, err
		}
		wanted = v.Record.Evidence
	} else if err := wanted.UnmarshalText([]byte(digest)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	file, err := s.readEvidence(wanted)
	if err != nil {
		return nil, err
	}
	return file.Marshal()
}

func (s *Service) readEvidence(digest node.Digest) (*evidence.File, error) {
	if digest.IsZero() {
		return nil, fmt.Errorf("no evidence yet: %w", store.ErrNotFound)
	}
	raw, err := s.archive.Get(digest)
	if err != nil {
		return nil, err
	}
	record, err := evidence.ParseRecord(raw)
	if err != nil {
		return nil, err
	}
	file := &evidence.File{Record: record, Blobs: make(map[evidence.Digest][]byte)}
	for _, d := range record.Blobs() {
		if file.Blobs[d], err = s.archive.Get(d); err != nil {
			return nil, err
		}
	}
	return file, nil
}
