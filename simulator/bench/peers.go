package bench

import (
	"crypto"

	"github.com/google/go-attestation/attest"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/eventlog"
)

// peerRow is the same log by the library that most verifiers in Go use: parse,
// replay to the PCRs, and the Secure Boot state. Ours gives all facts.
func peerRow() ([]Row, error) {
	h := newHost(busyBoot(bootlog.Debian(), 82))
	raw := h.log.Bytes()
	values := h.node.PCRs.Values(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14)
	pcrs := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14}
	theirs := make([]attest.PCR, 0, len(pcrs))
	for i, pcr := range pcrs {
		theirs = append(theirs, attest.PCR{Index: pcr, Digest: values[i], DigestAlg: crypto.SHA256})
	}
	row, err := duel{operation: "boot log, verified", against: "go-attestation", gate: 0.35, ours: func() error {
		log, err := eventlog.Parse(raw, eventlog.SHA256, eventlog.DefaultLimits)
		if err != nil {
			return err
		}
		if err := log.Verify(pcrs, values); err != nil {
			return err
		}
		_, err = log.Facts(nil)
		return err
	}, bare: func() error {
		log, err := attest.ParseEventLog(raw)
		if err != nil {
			return err
		}
		events, err := log.Verify(theirs)
		if err != nil {
			return err
		}
		_, err = attest.ParseSecurebootState(events)
		return err
	}}.run()
	return []Row{row}, err
}
