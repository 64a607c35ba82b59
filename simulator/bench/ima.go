package bench

import (
	"crypto/sha256"
	"fmt"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/appraise"
	"github.com/quorate/quorate/verifier/ima"
)

// imaEntries is the length of the list that is replayed and judged.
const imaEntries = 10_000

// imaRows are the replay and the appraisal of a long list, for each entry.
func imaRows() ([]Row, error) {
	small, err := imaRow(10_000, 1.5)
	if err != nil {
		return nil, err
	}
	large, err := imaRow(100_000, 2)
	return []Row{small, large}, err
}

func imaRow(files int, gate float64) (Row, error) {
	d, err := imaDuel(files, gate)
	if err != nil {
		return Row{}, err
	}
	row, err := d.run()
	if err != nil {
		return row, err
	}
	perEntry := float64(int(*row.Allocs/imaEntries*100)) / 100
	row.Allocs = &perEntry
	row.limitAllocs(0)
	return row, nil
}

func imaDuel(files int, gate float64) (duel, error) {
	var programs []string
	for i := range imaEntries {
		programs = append(programs, program(i*7919%files)) // spread over the whole policy
	}
	set, err := newHost(bootlog.Debian(), program(0)).learn(files)
	if err != nil {
		return duel{}, err
	}
	h := newHost(bootlog.Debian(), programs...)
	v, err := h.verified()
	if err != nil {
		return duel{}, err
	}
	_, history := appraise.Next(set, v, appraise.History{TPM: chip}, noon)
	history.Judged = 0 // the boot is judged, the list is not
	list := h.list.Bytes()
	want := ima.Quoted{PCR10: h.node.PCRs[ima.PCR], BootAggregate: ima.BootAggregate([10][32]byte(h.node.PCRs[:10]))}
	return duel{
		operation: fmt.Sprintf("IMA entry, policy of %d files", files), against: "template hash + extend", gate: gate, each: imaEntries,
		ours: func() error {
			if _, err := ima.Replay(ima.State{}, list, want, ima.DefaultLimits); err != nil {
				return err
			}
			return accept(set, v, history)
		},
		bare: bareTemplates(v.IMA()),
	}, nil
}

// bareTemplates hashes what the entries hold, and extends.
func bareTemplates(segment *ima.Segment) func() error {
	var data [][]byte
	for e := range segment.Entries() {
		data = append(data, e.Data)
	}
	return func() error {
		var both [64]byte
		for _, d := range data {
			*(*[32]byte)(both[32:]) = sha256.Sum256(d)
			*(*[32]byte)(both[:32]) = sha256.Sum256(both[:])
		}
		return nil
	}
}
