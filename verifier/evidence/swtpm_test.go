package evidence_test

import (
	"crypto/sha256"
	"os"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/simulator/swtpm"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/verdict"
)

// host is a scene whose quotes come from a software TPM.
type host struct {
	*scene
	machine *bootlog.Host
}

func newHost(t *testing.T) *host {
	t.Helper()
	swtpm.Require(t)
	machine, err := bootlog.NewHost(t.Context(), t.TempDir(), swtpm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := machine.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &host{scene: newScene(t), machine: machine}
	h.bootMachine("first")
	return h
}

func (h *host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) bootMachine(id string) {
	h.t.Helper()
	h.must(h.machine.Boot(bootlog.Debian()))
	h.must(h.machine.Exec("/usr/bin/ledger", sha256.Sum256([]byte("ledger"))))
	h.raw.BootID = id
	h.answer()
}

// loadAK makes the attestation key under a hierarchy.
func loadAK(t testing.TB, tpm transport.TPM, hierarchy tpm2.TPMHandle) *tpm2.CreatePrimaryResponse {
	t.Helper()
	template := papertpm.NewNode("template").AK.Public
	template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	ak, err := tpm2.CreatePrimary{PrimaryHandle: hierarchy, InPublic: tpm2.New2B(template)}.Execute(tpm)
	if err != nil {
		t.Fatal(err)
	}
	return ak
}

// answer quotes with a key of the endorsement hierarchy.
func (h *host) answer() { h.answerFrom(tpm2.TPMRHEndorsement, 0xff, 0x7f, 0x00) }

func (h *host) answerFrom(hierarchy tpm2.TPMHandle, bitmap ...byte) {
	h.t.Helper()
	tpm := h.machine.TPM
	key := loadAK(h.t, tpm, hierarchy)
	defer func() {
		_, err := tpm2.FlushContext{FlushHandle: key.ObjectHandle}.Execute(tpm)
		h.must(err)
	}()
	var err error
	h.want.AK, err = evidence.ParseAK(key.OutPublic.Bytes())
	h.must(err)
	h.raw.BootLog, err = os.ReadFile(h.machine.BootLogPath())
	h.must(err)
	h.raw.BootLogDigest = sha256.Sum256(h.raw.BootLog)
	q := tpm2.Quote{
		SignHandle:     tpm2.AuthHandle{Handle: key.ObjectHandle, Name: key.Name, Auth: tpm2.PasswordAuth(nil)},
		QualifyingData: tpm2.TPM2BData{Buffer: h.qualifyingFor(h.want.AK)},
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		PCRSelect:      tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: bitmap}}},
	}
	response, err := q.Execute(tpm)
	h.must(err)
	h.raw.Quote, h.raw.Signature = response.Quoted.Bytes(), tpm2.Marshal(response.Signature)
	h.readPCRs()
	h.raw.IMA, err = os.ReadFile(h.machine.IMAPath())
	h.must(err)
}

func (h *host) readPCRs() {
	h.raw.PCRValues = nil
	for _, pcr := range quotedPCRs {
		bitmap := make([]byte, 3)
		bitmap[pcr/8] = 1 << (pcr % 8)
		read, err := tpm2.PCRRead{PCRSelectionIn: tpm2.TPMLPCRSelection{
			PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: bitmap}},
		}}.Execute(h.machine.TPM)
		h.must(err)
		h.raw.PCRValues = append(h.raw.PCRValues, read.PCRValues.Digests[0].Buffer)
	}
}

func TestSoftwareTPM(t *testing.T) {
	h := newHost(t)
	first := h.passes()
	if first.IMA().Len() != 2 || !first.Clock().Safe || first.Epoch().Restart != 0 {
		t.Errorf("%+v", first.Clock())
	}
	h.remember(first)
	h.bootMachine("second")
	second := h.passes()
	if second.Transition() != evidence.Rebooted || second.Epoch().Reset != first.Epoch().Reset+1 {
		t.Errorf("epoch %v after %v", second.Epoch(), first.Epoch())
	}
	h.raw.BootID = "first"
	h.refused(verdict.QuoteResetWithoutBoot)
}

func TestA061_OwnerHierarchyOnASoftwareTPM(t *testing.T) {
	h := newHost(t)
	h.passes()
	h.answerFrom(tpm2.TPMRHOwner, 0xff, 0x7f, 0x00)
	h.refused(verdict.QuoteSigner)
}

func TestA019_SelectionsOfASoftwareTPM(t *testing.T) {
	h := newHost(t)
	h.passes()
	for _, bitmap := range [][]byte{{0, 0, 0}, {0xff, 0x7f, 0x80}, {0xff, 0x3f, 0}} {
		h.answerFrom(tpm2.TPMRHEndorsement, bitmap...)
		h.refused(verdict.QuoteSelection)
	}
}

func TestA002_CertificationOfASoftwareTPM(t *testing.T) {
	h := newHost(t)
	h.passes()
	key := loadAK(t, h.machine.TPM, tpm2.TPMRHEndorsement)
	handle := tpm2.AuthHandle{Handle: key.ObjectHandle, Name: key.Name, Auth: tpm2.PasswordAuth(nil)}
	certified, err := tpm2.Certify{
		ObjectHandle: handle, SignHandle: handle, QualifyingData: tpm2.TPM2BData{Buffer: h.qualifyingFor(h.want.AK)},
		InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
	}.Execute(h.machine.TPM)
	h.must(err)
	h.raw.Quote, h.raw.Signature = certified.CertifyInfo.Bytes(), tpm2.Marshal(certified.Signature)
	h.refused(verdict.QuoteType)
}
