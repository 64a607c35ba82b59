// Package parts carries the files of a policy set, which may be far longer than
// a message, in messages: one file after the other, each in parts.
package parts

import (
	"fmt"
	"iter"

	pb "github.com/quorate/quorate/proto/quorate/v1"
)

// Size is the length of a part, in bytes, but for a file's last.
const Size = 1 << 20

// MaxFiles bounds how many files may come.
const MaxFiles = 1024

// Split returns the parts of the files, in order. Files must not be empty.
func Split(files ...[]byte) iter.Seq[*pb.PolicyPart] {
	return func(yield func(*pb.PolicyPart) bool) {
		for i, data := range files {
			for len(data) > 0 {
				part := data[:min(len(data), Size)]
				if !yield(&pb.PolicyPart{File: uint32(i), Data: part}) {
					return
				}
				data = data[len(part):]
			}
		}
	}
}

// Joiner puts the parts together again. Its zero value takes nothing.
type Joiner struct {
	Limit int // bytes of all files together
	files [][]byte
	size  int
}

// Add takes the next part. It refuses one that is empty, goes back, skips a file,
// or brings more than the limits; the files are worth nothing after that.
func (j *Joiner) Add(p *pb.PolicyPart) error {
	at, size := int(p.GetFile()), len(p.GetData())
	switch {
	case size == 0:
		return fmt.Errorf("an empty part of file %d", at)
	case size > j.Limit-j.size:
		return fmt.Errorf("more than %d bytes", j.Limit)
	case at >= MaxFiles:
		return fmt.Errorf("more than %d files", MaxFiles)
	case at == len(j.files):
		j.files = append(j.files, nil)
	case at != len(j.files)-1:
		return fmt.Errorf("a part of file %d after %d files", at, len(j.files))
	}
	j.files[at] = append(j.files[at], p.GetData()...)
	j.size += size
	return nil
}

// Files returns the policy and its manifests. It refuses if no part has come.
func (j *Joiner) Files() (policy []byte, manifests [][]byte, err error) {
	if len(j.files) == 0 {
		return nil, nil, fmt.Errorf("no policy")
	}
	return j.files[0], j.files[1:], nil
}
