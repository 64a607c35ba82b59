package attack

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/proto/binding"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/verifier/verdict"
)

// telling is one lie of an enrolled host and who has to see through it.
type telling struct {
	name, row string
	want      []verdict.CheckID
	lie       lie
}

// quotes are structures that the enrolled key signs and that are not the quote that
// was asked for.
func (l *liar) quotes() []telling {
	alter := func(name, row string, want verdict.CheckID, change func(*papertpm.Attest)) telling {
		return telling{name, row, []verdict.CheckID{want}, lie{alter: change}}
	}
	pcrs := quotedPCRs()
	digest := func(p ...int) []byte {
		sum := sha256.Sum256(bytes.Join(l.PCRs.Values(p...), nil))
		return sum[:]
	}
	nothing := sha256.Sum256(nil)
	all := papertpm.Select(tpm2.TPMAlgSHA256, pcrs...)
	body := func(name, row string, body func() []byte) telling {
		return alter(name, row, verdict.QuoteSelection, func(a *papertpm.Attest) { a.Body = body() })
	}
	like := func(b papertpm.Attest) func(*papertpm.Attest) {
		return func(a *papertpm.Attest) { a.Type, a.Body = b.Type, b.Body }
	}
	return []telling{
		alter("bytes that the TPM did not make", "A001", verdict.QuoteMagic, func(a *papertpm.Attest) { a.Magic++ }),
		alter("a certification", "A002", verdict.QuoteType, like(l.Certify(l.NodeKey, nil))),
		alter("a proof of creation", "A002", verdict.QuoteType, like(l.CertifyCreation(l.AKCreation(), nil))),
		alter("a statement of time", "A002", verdict.QuoteType, like(l.Time(nil))),
		alter("the type of a statement of memory", "A002", verdict.QuoteType, func(a *papertpm.Attest) { a.Type = papertpm.TypeNV }),
		alter("bytes behind the quote, signed", "A006", verdict.QuoteFormat, func(a *papertpm.Attest) { a.Trailing = []byte{0} }),
		alter("a flag that is neither yes nor no", "A006", verdict.QuoteFormat, func(a *papertpm.Attest) { a.Safe = 2 }),
		alter("a signing key of another hierarchy", "A061", verdict.QuoteSigner, func(a *papertpm.Attest) { a.Signer = ownerName(l.AK) }),
		alter("no nonce", "A009", verdict.QuoteBinding, func(a *papertpm.Attest) { a.Extra = nil }),
		alter("the nonce as text", "A014", verdict.QuoteBinding, func(a *papertpm.Attest) {
			a.Extra = []byte(base64.StdEncoding.EncodeToString(a.Extra))
		}),
		alter("the nonce and a NUL", "A014", verdict.QuoteBinding, func(a *papertpm.Attest) { a.Extra = append(a.Extra, 0) }),
		body("one PCR more", "A018", func() []byte {
			more := append(slices.Clone(pcrs), 23)
			return papertpm.QuoteBody(digest(more...), papertpm.Select(tpm2.TPMAlgSHA256, more...))
		}),
		body("one PCR less", "A018", func() []byte {
			return papertpm.QuoteBody(digest(pcrs[1:]...), papertpm.Select(tpm2.TPMAlgSHA256, pcrs[1:]...))
		}),
		body("no PCR", "A019", func() []byte { return papertpm.QuoteBody(nothing[:]) }),
		body("a selection that the TPM stripped", "A020", func() []byte {
			return papertpm.QuoteBody(nothing[:], papertpm.Select(tpm2.TPMAlgSHA256))
		}),
		body("one bank twice", "A021", func() []byte { return papertpm.QuoteBody(digest(pcrs...), all, all) }),
		body("the bank of SHA-1", "A027", func() []byte {
			return papertpm.QuoteBody(digest(pcrs...), papertpm.Select(tpm2.TPMAlgSHA1, pcrs...))
		}),
		alter("a digest of other PCR values", "A018", verdict.QuotePCRDigest, func(a *papertpm.Attest) {
			a.Body = papertpm.QuoteBody(nothing[:], all)
		}),
	}
}

// quotedPCRs are those that every challenge asks for.
func quotedPCRs() []int {
	pcrs := make([]int, 15)
	for i := range pcrs {
		pcrs[i] = i
	}
	return pcrs
}

// contexts are quotes that are made for something else.
func (l *liar) contexts() []telling {
	bind := func(name, row string, change func(*binding.Quote)) telling {
		return telling{"a quote made for " + name, row, []verdict.CheckID{verdict.QuoteBinding}, lie{bind: change}}
	}
	own := func(name, row string, want verdict.CheckID, change func(*binding.Challenge)) telling {
		return telling{"a quote made for " + name, row, []verdict.CheckID{want}, lie{own: change}}
	}
	return []telling{
		bind("another node", "A015", func(q *binding.Quote) { q.Node += "-2" }),
		bind("another ledger", "A015", func(q *binding.Quote) { q.Ledger.ChainID += "-2" }),
		bind("another node key", "A159", func(q *binding.Quote) { q.NodeKey[0]++ }),
		bind("another consensus key", "A161", func(q *binding.Quote) { q.ConsensusKey = "" }),
		bind("another boot log", "A015", func(q *binding.Quote) { q.BootLog[0]++ }),
		own("another connection", "A159", verdict.QuoteChannel, func(c *binding.Challenge) { c.Exporter[0]++ }),
		own("a nonce of its own", "A013", verdict.QuoteNonce, func(c *binding.Challenge) { c.Nonce[0]++ }),
		own("another verifier", "A015", verdict.QuoteNonce, func(c *binding.Challenge) { c.Verifier = "other." + c.Verifier }),
	}
}

// parts are good quotes beside parts that do not belong to them.
func (l *liar) parts() []telling {
	after := func(name, row string, change func(*pb.Evidence) error, want ...verdict.CheckID) telling {
		return telling{name, row, want, lie{after: change}}
	}
	plain := func(change func(*pb.Evidence)) func(*pb.Evidence) error {
		return func(e *pb.Evidence) error { change(e); return nil }
	}
	other := papertpm.NewNode(l.ID + "/other")
	sign := func(key *papertpm.Key, hash tpm2.TPMAlgID, trailing ...byte) func(*pb.Evidence) error {
		return func(e *pb.Evidence) error {
			s, err := key.SignWith(e.Quote, tpm2.TPMAlgECDSA, hash)
			s.Trailing = trailing
			e.Signature = s.Bytes()
			return err
		}
	}
	return []telling{
		after("a flipped bit in the quote", "A003", plain(func(e *pb.Evidence) { e.Quote[len(e.Quote)-1] ^= 1 }), verdict.QuoteSignature),
		after("a flipped bit in the signature", "A003", plain(func(e *pb.Evidence) { e.Signature[len(e.Signature)-1] ^= 1 }), verdict.QuoteSignature),
		after("no signature", "A005", plain(func(e *pb.Evidence) { e.Signature = nil }), verdict.QuoteScheme),
		after("a keyed hash as signature", "A005", plain(func(e *pb.Evidence) {
			e.Signature = append([]byte{0x00, 0x05, 0x00, 0x0b}, make([]byte, 32)...)
		}), verdict.QuoteScheme),
		after("a signature with SHA-1", "A004", sign(l.AK, tpm2.TPMAlgSHA1), verdict.QuoteScheme),
		after("a signature with another hash", "A004", sign(l.AK, tpm2.TPMAlgSHA384), verdict.QuoteScheme),
		after("bytes behind the signature", "A006", sign(l.AK, tpm2.TPMAlgSHA256, 0), verdict.QuoteFormat),
		after("a signature of another TPM", "A139", sign(other.AK, tpm2.TPMAlgSHA256), verdict.QuoteSignature),
		after("a PCR value twice", "A022", plain(func(e *pb.Evidence) { e.PcrValues = append(e.PcrValues, e.PcrValues[0]) }), verdict.QuotePCRValues),
		after("a PCR value less", "A023", plain(func(e *pb.Evidence) { e.PcrValues = e.PcrValues[1:] }), verdict.QuotePCRValues),
		after("PCR values in another order", "A032", plain(func(e *pb.Evidence) { slices.Reverse(e.PcrValues) }), verdict.QuotePCRDigest),
		after("a PCR value of 31 bytes", "A029", plain(func(e *pb.Evidence) { e.PcrValues[3] = e.PcrValues[3][:31] }), verdict.QuotePCRValues),
		after("a PCR value of a megabyte", "A029", plain(func(e *pb.Evidence) { e.PcrValues[0] = make([]byte, 1<<20) }), verdict.SessionMalformed),
		after("a quote of a megabyte", "A094", plain(func(e *pb.Evidence) { e.Quote = make([]byte, 1<<20) }), verdict.QuoteSize),
		after("a nonce of 31 bytes", "A014", plain(func(e *pb.Evidence) { e.Challenges[0].Nonce = e.Challenges[0].Nonce[:31] }), verdict.SessionMalformed),
		after("no answered challenge", "A009", plain(func(e *pb.Evidence) { e.Challenges = nil }), verdict.QuoteNonce),
		after("more challenges than a quote can answer", "A017", plain(func(e *pb.Evidence) { e.Challenges = make([]*pb.AnsweredChallenge, 17) }), verdict.SessionMalformed),
		after("a log that the quote does not name", "A102", plain(func(e *pb.Evidence) { e.BootLog = append(l.Log.Bytes(), 0) }), verdict.QuoteBootLog),
		after("an IMA list without end announced", "A133", plain(func(e *pb.Evidence) { e.ImaMore = 1 << 62 }), verdict.SessionSize),
	}
}
