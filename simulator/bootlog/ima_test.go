package bootlog

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/quorate/quorate/verifier/ima"
)

// goodList is a list of a few programs and the PCRs of the machine that has it.
func goodList() (*List, *Log) {
	l := Debian().Log()
	signed := FileEntry("/usr/bin/quorate-agent", sha256.Sum256([]byte("agent")))
	signed.Signature = append([]byte{3, 2, 4, 1, 2, 3, 4, 0, 64}, bytes.Repeat([]byte{5}, 64)...)
	plain := FileEntry("/usr/bin/cometbft", sha256.Sum256([]byte("cometbft")))
	plain.Template = "ima-ng"
	return NewList(l.PCRs(),
		FileEntry("/usr/lib/systemd/systemd", sha256.Sum256([]byte("systemd"))),
		signed, plain,
		BufferEntry("ima_policy", []byte("measure func=BPRM_CHECK\n")),
		FileEntry("/usr/bin/bash", sha256.Sum256([]byte("bash"))),
	), l
}

// replay does what a verifier does with a list and the quoted PCRs.
func replay(list *List, log *Log) (*ima.Segment, error) {
	pcrs := log.PCRs()
	list.Replay(&pcrs)
	quoted := ima.Quoted{PCR10: pcrs[10], BootAggregate: ima.BootAggregate([10][32]byte(pcrs[:10]))}
	return ima.Replay(ima.State{}, list.Bytes(), quoted, ima.DefaultLimits)
}

func TestGoodListIsAccepted(t *testing.T) {
	list, log := goodList()
	segment, err := replay(list, log)
	if err != nil {
		t.Fatal(err)
	}
	if segment.End.Entries != uint64(len(list.Entries)) || segment.Ignored != 0 {
		t.Errorf("%d entries verified, %d bytes ignored", segment.End.Entries, segment.Ignored)
	}
	list.Entries = append(list.Entries, ViolationEntry("/var/log/wtmp"))
	if _, err := replay(list, log); err != nil {
		t.Errorf("with a violation, which replays: %v", err)
	}
}

func TestListMutationsAreRefused(t *testing.T) {
	for _, m := range ListMutations() {
		list, log := goodList()
		if err := list.Mutate(m); err != nil {
			t.Fatal(err)
		}
		if _, err := replay(list, log); err == nil {
			t.Errorf("%s is accepted", m)
		}
	}
}
