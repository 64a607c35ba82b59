package verifier

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/verifier/journal"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/verdict"
)

// GrantRequest asks that a node's TPM may release its sealed consensus key once.
type GrantRequest struct {
	ConsensusKey string        // the key to release
	Nonce        []byte        // the TPM's for this policy session
	Valid        time.Duration // wanted; 0: the most
}

// Grant is the authorisation that the TPM checks.
type Grant struct {
	Seconds   uint32 // valid, counted by the TPM from when it made the nonce
	Signature []byte // ASN.1 ECDSA, over binding.Grant
}

// Grant signs a release of the node's sealed key if node.Grant allows it now. Node
// and ledger come from the verifier's own record. The grant is in the journal before
// it is signed: one whose entry cannot be written is not given, and one whose answer
// was lost is asked for again.
func (s *Service) Grant(ctx context.Context, id string, r GrantRequest) (Grant, error) {
	if s.grantKey == nil {
		return Grant{}, verdict.Refuse(verdict.GrantNoKey, s.self.Name, "no grant key", "one")
	}
	l, err := s.nodes.get(id)
	if err != nil {
		return Grant{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := s.now()
	l.granted = slices.DeleteFunc(l.granted, func(at time.Time) bool { return now.Sub(at) > time.Hour })
	valid, err := node.Grant(l.rec, r.ConsensusKey, r.Valid, l.granted, now)
	if err != nil {
		s.log.Warn("no grant", "node", id, "error", err)
		return Grant{}, err
	}
	l.granted = append(l.granted, now)
	seconds := uint32(valid / time.Second)
	if err := s.enterGrant(ctx, l.rec, r.Nonce, seconds); err != nil {
		return Grant{}, err
	}
	return s.signGrant(l.rec, r.Nonce, seconds)
}

// enterGrant writes a grant into the journal. The store holds nothing of it.
func (s *Service) enterGrant(ctx context.Context, rec node.Record, nonce []byte, seconds uint32) error {
	ctx, cancel := unhurried(ctx)
	defer cancel()
	index, err := s.append(ctx, journal.Grant{
		At: s.stamp(), Node: rec.ID, ConsensusKey: rec.ConsensusKey, Nonce: nonce, Seconds: seconds,
		Serial: rec.Serial, Follows: rec.JournalIndex,
	})
	if err == nil {
		s.log.Info("grant", "node", rec.ID, "seconds", seconds, "entry", index)
	}
	return err
}

func (s *Service) signGrant(rec node.Record, nonce []byte, seconds uint32) (Grant, error) {
	ledger := s.consortium.Ledger
	digest := binding.Grant{
		ChainID: ledger.ID, Genesis: ledger.Genesis.String(), Node: rec.ID, ConsensusKey: rec.ConsensusKey,
	}.Digest(nonce, int32(seconds))
	signature, err := s.grantKey.Sign(rand.Reader, digest[:], crypto.SHA256)
	return Grant{Seconds: seconds, Signature: signature}, err
}

// grantKeyText is a grant key's public half as the consortium file names it.
func grantKeyText(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	return base64.StdEncoding.EncodeToString(der), err
}

// readGrantKey reads the grant key, and holds it against the consortium file. None
// in both is a verifier that gives no grants.
func readGrantKey(path string, self admission.Verifier) (crypto.Signer, error) {
	if path == "" && self.GrantKey == "" {
		return nil, nil
	}
	if path == "" {
		return nil, fmt.Errorf("the consortium file pins a grantKey for %s: name the file with its private half as keys.grant", self.Name)
	}
	key, err := readPrivateKey(path)
	if err != nil {
		return nil, err
	}
	public, ok := key.Public().(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%s is not a P-256 key, and TPMs check grants by no other", path)
	}
	text, err := grantKeyText(public)
	if err != nil {
		return nil, err
	}
	if text != self.GrantKey {
		return nil, fmt.Errorf("%s is not the grant key that the consortium file pins for %s; its public half is %s", path, self.Name, text)
	}
	return key, nil
}
