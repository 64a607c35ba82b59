package watch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// maxState bounds the state's file, in bytes.
const maxState = 16 << 20

// Outbox keeps a State in a file, which is replaced as a whole or not at all.
// Only one process may use it.
type Outbox struct{ path string }

// OpenOutbox names the file. Its folder must be there.
func OpenOutbox(path string) *Outbox { return &Outbox{path} }

// Load reads the state; a file that is not there is a ledger that was told nothing.
func (o *Outbox) Load() (State, error) {
	data, err := os.ReadFile(o.path)
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, nil
	}
	if err != nil {
		return State{}, err
	}
	s, err := parseState(data)
	if err != nil {
		return State{}, fmt.Errorf("%s: %w", o.path, err)
	}
	return s, nil
}

// Save replaces the file and returns when it is on disk.
func (o *Outbox) Save(s State) error {
	data, err := s.marshal()
	if err != nil {
		return err
	}
	dir := filepath.Dir(o.path)
	f, err := os.CreateTemp(dir, ".watch-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), o.path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s State) marshal() ([]byte, error) {
	if s.Peers == nil {
		s.Peers = map[string]Told{}
	}
	if s.Left == nil {
		s.Left = []time.Time{}
	}
	if s.Outbox == nil {
		s.Outbox = []Change{}
	}
	data, err := json.MarshalIndent(s, "", "  ")
	return append(data, '\n'), err
}

var errState = errors.New("not a file that this program wrote; put back a copy, or remove it and the ledger is told everything again")

// parseState accepts exactly what marshal makes, with changes in order.
func parseState(data []byte) (s State, err error) {
	if len(data) > maxState || json.Unmarshal(data, &s) != nil {
		return State{}, errState
	}
	again, err := s.marshal()
	if err != nil || !bytes.Equal(again, data) {
		return State{}, errState
	}
	for i, c := range s.Outbox {
		if c.Action != Add && c.Action != Remove || c.Number != s.Numbered-uint64(len(s.Outbox)-1-i) || c.Number == 0 {
			return State{}, errState
		}
	}
	return s, nil
}
