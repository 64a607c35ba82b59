package key

import (
	"context"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// Certification is a structure about a key, signed by the attestation key.
type Certification struct {
	CreationData []byte // TPMS_CREATION_DATA; only of a creation
	Attest       []byte // TPMS_ATTEST
	Signature    []byte // TPMT_SIGNATURE
}

// CertifyCreation has the attestation key sign its own creation: that this TPM
// made it, in which hierarchy, and when.
func (k *Keys) CertifyCreation(ctx context.Context, qualifying [32]byte) (*Certification, error) {
	var c *Certification
	err := k.use(ctx, func(tpm transport.TPM) error {
		rsp, err := tpm2.CertifyCreation{
			SignHandle:     k.ak.auth(),
			ObjectHandle:   tpm2.NamedHandle{Handle: k.ak.handle, Name: k.ak.name},
			QualifyingData: tpm2.TPM2BData{Buffer: qualifying[:]},
			CreationHash:   k.ak.creationHash,
			InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
			CreationTicket: k.ak.creationTicket,
		}.Execute(tpm)
		if err != nil {
			return err
		}
		c = &Certification{
			CreationData: k.ak.creationData, Attest: rsp.CertifyInfo.Bytes(), Signature: tpm2.Marshal(rsp.Signature),
		}
		_, err = k.checkAttest(c.Attest, rsp.Signature, tpm2.TPMSTAttestCreation, qualifying)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("key: certify creation: %w", err)
	}
	return c, nil
}

// CertifyNodeKey has the attestation key sign that the node key is in the same
// TPM.
func (k *Keys) CertifyNodeKey(ctx context.Context, qualifying [32]byte) (*Certification, error) {
	var c *Certification
	err := k.use(ctx, func(tpm transport.TPM) error {
		rsp, err := tpm2.Certify{
			ObjectHandle:   k.node.auth(),
			SignHandle:     k.ak.auth(),
			QualifyingData: tpm2.TPM2BData{Buffer: qualifying[:]},
			InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		}.Execute(tpm)
		if err != nil {
			return err
		}
		c = &Certification{Attest: rsp.CertifyInfo.Bytes(), Signature: tpm2.Marshal(rsp.Signature)}
		_, err = k.checkAttest(c.Attest, rsp.Signature, tpm2.TPMSTAttestCertify, qualifying)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("key: certify node key: %w", err)
	}
	return c, nil
}
