package attack

import (
	"context"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/proto/binding"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/paperhost"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/simulator/vendorca"
	"github.com/quorate/quorate/verifier/verdict"
)

// applicants tries enrolments with a good token: nothing that goes wrong in them
// spends it.
func (r *run) applicants(ctx context.Context) {
	if r.Token == "" {
		r.miss("enrolments with false certificates, keys and proofs", "needs a join token: quorate node invite "+r.verifier.Member+"/attacker")
		return
	}
	stranger, err := r.stranger()
	if err != nil {
		r.miss("enrolments", err.Error())
		return
	}
	stranger.ID = r.Node
	r.all(ctx, []attempt{
		r.begin("certificates", "a TPM of a vendor that nobody trusts", "A053", string(verdict.EnrollEKChain), func(*pb.EnrollStart) {}, stranger),
		r.begin("tokens", "the token for another node", "A140", string(verdict.SessionToken), func(s *pb.EnrollStart) { s.NodeId = r.anyNode() }, stranger),
	})
	if r.Vendor == nil {
		r.miss("false certificates, keys and proofs of a TPM", "needs a vendor that this verifier trusts, in a test consortium: quorate-sim attack vendor")
		return
	}
	host, err := paperhost.New(r.Node, r.Vendor, bootlog.Debian())
	if err != nil {
		r.miss("enrolments", err.Error())
		return
	}
	attempts := append(r.certificates(host), r.chains(host)...)
	attempts = append(attempts, r.keys(host)...)
	r.all(ctx, append(attempts, r.proofs(host)...))
	if r.limited {
		return
	}
	if r.control(ctx, "enrols a genuine host", func(ctx context.Context) error { return r.join(ctx, host) }) {
		r.host = &liar{Host: host, run: r}
	}
}

// join enrols the host.
func (r *run) join(ctx context.Context, host *paperhost.Host) error {
	ctx, cancel := context.WithTimeout(ctx, perAttempt)
	defer cancel()
	e, err := r.enrol(ctx, host, r.start(host))
	if err != nil {
		return err
	}
	defer e.Close()
	proof, err := e.proof(func(*binding.Certification) {})
	if err != nil {
		return err
	}
	_, err = e.finish(proof)
	return err
}

// shapeChecks are the checks that refuse a false EK certificate.
var shapeChecks = map[vendorca.Shape]verdict.CheckID{
	vendorca.UnknownCritical: verdict.EnrollEKExtension, vendorca.NoEKU: verdict.EnrollEKUsage, vendorca.ServerAuthEKU: verdict.EnrollEKUsage,
	vendorca.AnyEKU: verdict.EnrollEKUsage, vendorca.AKCertificateEKU: verdict.EnrollEKUsage, vendorca.CALeaf: verdict.EnrollEKUsage,
	vendorca.NoBasicConstraints: verdict.EnrollEKUsage, vendorca.SigningKeyUsage: verdict.EnrollEKUsage, vendorca.NoKeyUsage: verdict.EnrollEKUsage,
	vendorca.Expired: verdict.EnrollEKValidity, vendorca.NotYetValid: verdict.EnrollEKValidity, vendorca.WrongSignature: verdict.EnrollEKChain,
	vendorca.SelfSigned: verdict.EnrollEKChain, vendorca.NoSAN: verdict.EnrollEKName, vendorca.EmptySAN: verdict.EnrollEKName,
	vendorca.DuplicateManufacturer: verdict.EnrollEKName, vendorca.MissingModel: verdict.EnrollEKName, vendorca.SANTrailing: verdict.EnrollEKName,
	vendorca.SANWrongString: verdict.EnrollEKName, vendorca.SANTwoNames: verdict.EnrollEKName, vendorca.SANOtherName: verdict.EnrollEKName,
	vendorca.BadManufacturer: verdict.EnrollEKName, vendorca.DuplicateExtension: verdict.EnrollEKMalformed, vendorca.TrailingBytes: verdict.EnrollEKMalformed,
	vendorca.Truncated: verdict.EnrollEKMalformed, vendorca.PaddedWithZeros: verdict.EnrollEKMalformed, vendorca.NVHeader: verdict.EnrollEKMalformed,
}

// certificates are EK certificates of a trusted vendor with one defect each.
func (r *run) certificates(host *paperhost.Host) []attempt {
	var list []attempt
	for _, shape := range vendorca.Hostile() {
		want, ok := shapeChecks[shape]
		if !ok {
			continue // one that only RSA keys can have
		}
		list = append(list, r.certified("a certificate: "+string(shape), "A047", want, func(s *pb.EnrollStart) (err error) {
			s.EkCertificate, err = r.Vendor.Issue(host.EK.Signer.Public(), vendorca.DefaultDevice, shape)
			return err
		}, host))
	}
	return list
}

// certified is begin where the change may fail, which is then no answer.
func (r *run) certified(name, row string, want verdict.CheckID, change func(*pb.EnrollStart) error, host *paperhost.Host) attempt {
	a := attempt{group: "certificates", name: name, attacks: []string{row}, want: []string{string(want)}}
	a.try = func(ctx context.Context) (answer, error) {
		start := r.start(host)
		if err := change(start); err != nil {
			return answer{}, err
		}
		return r.begin("", "", "", "", func(s *pb.EnrollStart) { s.EkCertificate, s.Intermediates = start.EkCertificate, start.Intermediates }, host).try(ctx)
	}
	return a
}

// chains are certificate chains that lead nowhere, or too far.
func (r *run) chains(host *paperhost.Host) []attempt {
	var list []attempt
	for _, shape := range []vendorca.ChainShape{vendorca.ChainNotCA, vendorca.ChainNoCertSign, vendorca.ChainExpired, vendorca.ChainStrangeRoot} {
		list = append(list, r.certified("a chain: "+string(shape), "A051", verdict.EnrollEKChain, func(s *pb.EnrollStart) error {
			like, err := r.Vendor.Like(shape)
			if err != nil {
				return err
			}
			s.Intermediates = [][]byte{like.Intermediate}
			s.EkCertificate, err = like.Issue(host.EK.Signer.Public(), vendorca.DefaultDevice, vendorca.Plain)
			return err
		}, host))
	}
	return append(list, r.certified("100 intermediate certificates", "A051", verdict.EnrollIntermediates, func(s *pb.EnrollStart) error {
		s.Intermediates = slices.Repeat(host.Intermediates, 100)
		return nil
	}, host))
}

// keys are public keys that are not what a TPM's own are.
func (r *run) keys(host *paperhost.Host) []attempt {
	other := papertpm.NewNode(host.ID + "/other")
	try := func(name, row string, want verdict.CheckID, change func(*pb.EnrollStart)) attempt {
		return r.begin("keys", name, row, string(want), change, host)
	}
	exported := papertpm.NodeKeyAttributes()
	exported.FixedTPM, exported.FixedParent = false, false
	list := []attempt{
		try("an EK that is not in the certificate", "A037", verdict.EnrollEKPublic, func(s *pb.EnrollStart) { s.EkPublic = other.EK.Bytes() }),
		try("an EK with other attributes", "A046", verdict.EnrollEKPublic, func(s *pb.EnrollStart) {
			own := *host.EK
			own.Public.ObjectAttributes.Restricted = false
			s.EkPublic = own.Bytes()
		}),
		try("an AK with bytes behind it", "A006", verdict.EnrollAK, func(s *pb.EnrollStart) { s.AkPublic = append(host.AK.Bytes(), 0) }),
		try("an AK on a weak curve", "A008", verdict.EnrollAK, func(s *pb.EnrollStart) {
			s.AkPublic = papertpm.ECCKey(elliptic.P224(), host.ID, papertpm.AKAttributes()).Bytes()
		}),
		try("an AK off its curve", "A008", verdict.EnrollAK, func(s *pb.EnrollStart) {
			s.AkPublic = host.AK.Bytes()
			s.AkPublic[len(s.AkPublic)-1] ^= 1
		}),
		try("a node key that can leave its TPM", "A065", verdict.EnrollNodeKey, func(s *pb.EnrollStart) {
			s.NodeKeyPublic = papertpm.ECCKey(elliptic.P256(), host.ID, exported).Bytes()
		}),
		try("the AK as node key", "A065", verdict.EnrollNodeKey, func(s *pb.EnrollStart) { s.NodeKeyPublic = host.AK.Bytes() }),
		try("a consensus key that is none", "A161", verdict.EnrollConsensusKey, func(s *pb.EnrollStart) { s.ConsensusKey = "ed25519:AAAA" }),
	}
	for _, a := range akAttributes {
		list = append(list, try("an AK that "+a.name, "A039", verdict.EnrollAK, func(s *pb.EnrollStart) {
			attributes := papertpm.AKAttributes()
			a.change(&attributes)
			s.AkPublic = papertpm.ECCKey(elliptic.P256(), host.ID, attributes).Bytes()
		}))
	}
	return list
}

// akAttributes are attributes that an attestation key must not have.
var akAttributes = []struct {
	name   string
	change func(*tpm2.TPMAObject)
}{
	{"can be exported", func(a *tpm2.TPMAObject) { a.FixedTPM = false }},
	{"can be moved", func(a *tpm2.TPMAObject) { a.FixedParent = false }},
	{"was imported", func(a *tpm2.TPMAObject) { a.SensitiveDataOrigin = false }},
	{"signs anything", func(a *tpm2.TPMAObject) { a.Restricted = false }},
	{"decrypts", func(a *tpm2.TPMAObject) { a.Decrypt = true }},
}

// proofs are answers to a genuine challenge that prove something else.
func (r *run) proofs(host *paperhost.Host) []attempt {
	other := papertpm.NewNode(host.ID + "/other")
	var list []attempt
	for _, p := range []struct {
		name, row string
		want      verdict.CheckID
		change    func(c binding.Certification, p *pb.EnrollProof) error
	}{
		{"a wrong secret", "A036", verdict.EnrollActivation, func(_ binding.Certification, p *pb.EnrollProof) error {
			p.Secret = make([]byte, len(p.Secret))
			return nil
		}},
		{"half of the secret", "A041", verdict.EnrollActivation, func(_ binding.Certification, p *pb.EnrollProof) error {
			p.Secret = p.Secret[:16]
			return nil
		}},
		{"no certification of the AK", "A003", verdict.EnrollSignature, func(_ binding.Certification, p *pb.EnrollProof) error {
			p.AkCreationAttest, p.AkCreationSignature = nil, nil
			return nil
		}},
		{"a flipped bit in a signature", "A003", verdict.EnrollSignature, func(_ binding.Certification, p *pb.EnrollProof) error {
			p.AkCreationSignature[len(p.AkCreationSignature)-1] ^= 1
			return nil
		}},
		{"bytes behind a signature", "A006", verdict.EnrollSignature, func(_ binding.Certification, p *pb.EnrollProof) error {
			p.NodeKeySignature = append(p.NodeKeySignature, 0)
			return nil
		}},
		{"creation data of another key", "A016", verdict.EnrollSubject, func(_ binding.Certification, p *pb.EnrollProof) error {
			data := host.AKCreation()
			data.Locality = 4
			p.AkCreationData = data.Bytes()
			return nil
		}},
		{"a node key certified by another TPM", "A065", verdict.EnrollSignature, func(c binding.Certification, p *pb.EnrollProof) error {
			return certify(p, other, other.Certify(host.NodeKey, nil), c)
		}},
		{"a certification of another key", "A065", verdict.EnrollSubject, func(c binding.Certification, p *pb.EnrollProof) error {
			return certify(p, host.Node, host.Certify(host.AK, nil), c)
		}},
		{"a quote in place of a certification", "A002", verdict.EnrollType, func(c binding.Certification, p *pb.EnrollProof) error {
			return certify(p, host.Node, host.Quote(nil, 0, 1), c)
		}},
		{"a certification without the TPM's magic", "A001", verdict.EnrollType, func(c binding.Certification, p *pb.EnrollProof) error {
			a := host.Certify(host.NodeKey, nil)
			a.Magic++
			return certify(p, host.Node, a, c)
		}},
		{"a certification with bytes behind it", "A006", verdict.EnrollMalformed, func(c binding.Certification, p *pb.EnrollProof) error {
			a := host.Certify(host.NodeKey, nil)
			a.Trailing = []byte{0}
			return certify(p, host.Node, a, c)
		}},
		{"a node key of the owner's hierarchy", "A065", verdict.EnrollHierarchy, func(c binding.Certification, p *pb.EnrollProof) error {
			a := host.Certify(host.NodeKey, nil)
			a.Body = papertpm.CertifyBody(host.NodeKey.Name(), ownerName(host.NodeKey))
			return certify(p, host.Node, a, c)
		}},
		{"a consensus key that somebody else holds", "A161", verdict.EnrollConsensusKey, func(c binding.Certification, p *pb.EnrollProof) error {
			extra, err := c.QualifyingData(binding.PurposeConsensusKey)
			p.ConsensusKeySignature = ed25519.Sign(other.Consensus, extra[:])
			return err
		}},
	} {
		list = append(list, r.proven(p.name, p.row, p.want, host, nil, p.change))
	}
	list = append(list, r.replayedSecret(host))
	for _, b := range bindings {
		list = append(list, r.proven("proofs made for "+b.name, b.row, verdict.EnrollBinding, host, b.change, nil))
	}
	return list
}

// replayedSecret answers one challenge with the secret of an earlier one.
func (r *run) replayedSecret(host *paperhost.Host) attempt {
	return attempt{group: "proofs", name: "the secret of an earlier challenge", attacks: []string{"A016"}, want: []string{string(verdict.EnrollActivation)},
		try: func(ctx context.Context) (answer, error) {
			earlier, err := r.enrol(ctx, host, r.start(host))
			if err != nil {
				return unchallenged(err)
			}
			secret, err := host.Activate(earlier.challenge.CredentialBlob, earlier.challenge.EncryptedSecret)
			if err := errors.Join(err, earlier.Close()); err != nil {
				return answer{}, err
			}
			return r.proven("", "", "", host, nil, func(_ binding.Certification, p *pb.EnrollProof) error {
				p.Secret = secret
				return nil
			}).try(ctx)
		}}
}

// bindings are contexts that are not this enrolment's.
var bindings = []struct {
	name, row string
	change    func(*binding.Certification)
}{
	{"an earlier challenge", "A016", func(c *binding.Certification) { c.Nonce[0]++ }},
	{"another connection", "A159", func(c *binding.Certification) { c.Exporter[0]++ }},
	{"another node", "A040", func(c *binding.Certification) { c.Node += "-2" }},
	{"another verifier", "A015", func(c *binding.Certification) { c.Verifier = "other." + c.Verifier }},
	{"another ledger", "A015", func(c *binding.Certification) { c.Ledger.Genesis[0]++ }},
}

// certify signs what stands for the certification of the node key, bound as it has
// to be.
func certify(p *pb.EnrollProof, by *papertpm.Node, a papertpm.Attest, c binding.Certification) error {
	extra, err := c.QualifyingData(binding.PurposeNodeKey)
	if err != nil {
		return err
	}
	a.Extra = extra[:]
	p.NodeKeyAttest, p.NodeKeySignature, err = by.Sign(a)
	return err
}

// ownerName is the qualified name of a primary key of the owner's hierarchy.
func ownerName(key *papertpm.Key) []byte {
	sum := sha256.Sum256(append([]byte{0x40, 0, 0, 1}, key.Name()...))
	return append([]byte{0x00, 0x0b}, sum[:]...)
}

// unchallenged is no answer: an enrolment that should have got a challenge did not.
func unchallenged(err error) (answer, error) {
	a, err := refusalOf(err)
	return answer{}, errors.Join(fmt.Errorf("no challenge to answer: %s", a.text), err)
}

// proven answers a challenge with an honest proof that bind and change falsify.
func (r *run) proven(name, row string, want verdict.CheckID, host *paperhost.Host, bind func(*binding.Certification), change func(binding.Certification, *pb.EnrollProof) error) attempt {
	return attempt{group: "proofs", name: name, attacks: []string{row}, want: []string{string(want)}, try: func(ctx context.Context) (answer, error) {
		e, err := r.enrol(ctx, host, r.start(host))
		if err != nil {
			return unchallenged(err)
		}
		defer e.Close()
		if bind == nil {
			bind = func(*binding.Certification) {}
		}
		proof, err := e.proof(bind)
		if err != nil {
			return answer{}, err
		}
		if change != nil {
			c, err := e.certification()
			if err != nil {
				return answer{}, err
			}
			if err := change(c, proof); err != nil {
				return answer{}, err
			}
		}
		_, err = e.finish(proof)
		return refusalOf(err)
	}}
}
