package key

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// ErrAltered reports a signed structure that is not what was asked for, or
// whose signature is not the attestation key's: something stands between us and
// the TPM, or the TPM is at fault.
var ErrAltered = errors.New("key: TPM's answer is not what was asked for")

// ErrMoved reports that PCRs were extended while they were being quoted, more
// often than we were ready to try again.
var ErrMoved = errors.New("key: PCRs kept changing while being quoted")

// maxQuoteTries bounds how often a quote is repeated because a PCR moved between
// reading and quoting.
const maxQuoteTries = 8

// Quote is a signed statement of the TPM about its PCRs.
type Quote struct {
	Attest    []byte   // TPMS_ATTEST
	Signature []byte   // TPMT_SIGNATURE by the attestation key
	PCRs      [][]byte // values, in ascending order of the selection
}

// Quote has the TPM sign the PCRs of one bank together with the qualifying
// data, and checks the answer as a verifier would: signature, magic, type,
// qualifying data, selection, and that the values are the quoted ones.
func (k *Keys) Quote(ctx context.Context, bank tpm2.TPMAlgID, pcrs []uint32, qualifying [32]byte) (*Quote, error) {
	var q *Quote
	err := k.use(ctx, func(tpm transport.TPM) (err error) {
		for range maxQuoteTries {
			q, err = k.quoteOnce(tpm, bank, pcrs, qualifying)
			if !errors.Is(err, ErrMoved) {
				return err
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("key: quote: %w", err)
	}
	return q, nil
}

// quoteOnce reads the PCRs just before quoting them: the TPM takes their digest
// at the start of the command, so the gap is short even where signing is slow.
func (k *Keys) quoteOnce(tpm transport.TPM, bank tpm2.TPMAlgID, pcrs []uint32, qualifying [32]byte) (*Quote, error) {
	values, err := ReadPCRs(tpm, bank, pcrs)
	if err != nil {
		return nil, err
	}
	selection := selectPCRs(bank, pcrs)
	rsp, err := tpm2.Quote{
		SignHandle:     k.ak.auth(),
		QualifyingData: tpm2.TPM2BData{Buffer: qualifying[:]},
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		PCRSelect:      selection,
	}.Execute(tpm)
	if err != nil {
		return nil, err
	}
	attest, err := k.checkAttest(rsp.Quoted.Bytes(), rsp.Signature, tpm2.TPMSTAttestQuote, qualifying)
	if err != nil {
		return nil, err
	}
	if err := checkQuoted(attest, selection, values); err != nil {
		return nil, err
	}
	return &Quote{Attest: rsp.Quoted.Bytes(), Signature: tpm2.Marshal(rsp.Signature), PCRs: values}, nil
}

// checkQuoted compares the quoted selection and digest. A TPM silently drops a
// bank that is not allocated from the selection.
func checkQuoted(attest *tpm2.TPMSAttest, want tpm2.TPMLPCRSelection, values [][]byte) error {
	info, err := attest.Attested.Quote()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAltered, err)
	}
	if !bytes.Equal(tpm2.Marshal(info.PCRSelect), tpm2.Marshal(want)) {
		return fmt.Errorf("%w: other PCRs were quoted", ErrAltered)
	}
	digest := sha256.Sum256(bytes.Join(values, nil))
	if !bytes.Equal(info.PCRDigest.Buffer, digest[:]) {
		return ErrMoved
	}
	return nil
}

// checkAttest verifies a structure signed by the attestation key: signature,
// magic, type, qualifying data.
func (k *Keys) checkAttest(raw []byte, sig tpm2.TPMTSignature, kind tpm2.TPMST, qualifying [32]byte) (*tpm2.TPMSAttest, error) {
	if err := verifySignature(k.identity.akKey, raw, sig); err != nil {
		return nil, err
	}
	attest, err := tpm2.Unmarshal[tpm2.TPMSAttest](raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAltered, err)
	}
	if attest.Type != kind || !bytes.Equal(attest.ExtraData.Buffer, qualifying[:]) {
		return nil, fmt.Errorf("%w: type or qualifying data differ", ErrAltered)
	}
	return attest, nil
}

func verifySignature(pub *ecdsa.PublicKey, signed []byte, sig tpm2.TPMTSignature) error {
	digest := sha256.Sum256(signed)
	r, s, err := ecdsaValues(sig)
	if err != nil {
		return err
	}
	if !ecdsa.Verify(pub, digest[:], r, s) {
		return fmt.Errorf("%w: wrong signature", ErrAltered)
	}
	return nil
}

func ecdsaValues(sig tpm2.TPMTSignature) (r, s *big.Int, err error) {
	if sig.SigAlg != tpm2.TPMAlgECDSA {
		return nil, nil, fmt.Errorf("%w: signature algorithm %#x", ErrAltered, uint16(sig.SigAlg))
	}
	ec, err := sig.Signature.ECDSA()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrAltered, err)
	}
	if ec.Hash != tpm2.TPMAlgSHA256 {
		return nil, nil, fmt.Errorf("%w: signature hash %#x", ErrAltered, uint16(ec.Hash))
	}
	return new(big.Int).SetBytes(ec.SignatureR.Buffer), new(big.Int).SetBytes(ec.SignatureS.Buffer), nil
}

func selectPCRs(bank tpm2.TPMAlgID, pcrs []uint32) tpm2.TPMLPCRSelection {
	list := make([]uint, len(pcrs))
	for i, p := range pcrs {
		list[i] = uint(p)
	}
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{
		Hash: bank, PCRSelect: tpm2.PCClientCompatible.PCRs(list...),
	}}}
}

// ReadPCRs returns the values of the PCRs, which must be ascending and distinct.
// ErrMoved when one changed between the several commands that it takes; ErrBank
// when the bank is not allocated.
func ReadPCRs(tpm transport.TPM, bank tpm2.TPMAlgID, pcrs []uint32) ([][]byte, error) {
	var values [][]byte
	var counter uint32
	for left := pcrs; len(left) > 0; {
		rsp, err := tpm2.PCRRead{PCRSelectionIn: selectPCRs(bank, left)}.Execute(tpm)
		if err != nil {
			return nil, fmt.Errorf("key: read PCRs: %w", err)
		}
		if len(values) > 0 && rsp.PCRUpdateCounter != counter {
			return nil, ErrMoved
		}
		counter = rsp.PCRUpdateCounter
		n := len(rsp.PCRValues.Digests)
		if n == 0 || n > len(left) || !slices.EqualFunc(rsp.PCRSelectionOut.PCRSelections,
			selectPCRs(bank, left[:n]).PCRSelections, sameSelection) {
			return nil, fmt.Errorf("%w: %s", ErrBank, BankName(bank))
		}
		for _, d := range rsp.PCRValues.Digests {
			values = append(values, d.Buffer)
		}
		left = left[n:]
	}
	return values, nil
}

func sameSelection(a, b tpm2.TPMSPCRSelection) bool {
	return a.Hash == b.Hash && bytes.Equal(a.PCRSelect, b.PCRSelect)
}
