package verdict

// Checks of enrolment: the endorsement key's certificate, the keys that are to
// live beside it, and the proofs that they do.
const (
	EnrollEKMalformed   CheckID = "enroll.ek-malformed"
	EnrollEKExtension   CheckID = "enroll.ek-extension"
	EnrollEKUsage       CheckID = "enroll.ek-usage"
	EnrollEKName        CheckID = "enroll.ek-name"
	EnrollEKAlgorithm   CheckID = "enroll.ek-algorithm"
	EnrollEKWeak        CheckID = "enroll.ek-weak"
	EnrollEKValidity    CheckID = "enroll.ek-validity"
	EnrollEKChain       CheckID = "enroll.ek-chain"
	EnrollEKTestRoot    CheckID = "enroll.ek-test-root"
	EnrollEKClass       CheckID = "enroll.ek-class"
	EnrollEKTemplate    CheckID = "enroll.ek-template"
	EnrollEKPublic      CheckID = "enroll.ek-public"
	EnrollAK            CheckID = "enroll.ak"
	EnrollNodeKey       CheckID = "enroll.node-key"
	EnrollMalformed     CheckID = "enroll.certification-malformed"
	EnrollSignature     CheckID = "enroll.certification-signature"
	EnrollType          CheckID = "enroll.certification-type"
	EnrollBinding       CheckID = "enroll.certification-binding"
	EnrollSubject       CheckID = "enroll.certification-subject"
	EnrollHierarchy     CheckID = "enroll.certification-hierarchy"
	EnrollConsensusKey  CheckID = "enroll.consensus-key"
	EnrollIntermediates CheckID = "enroll.intermediates"
)

var enrollChecks = []Check{
	{
		ID: EnrollEKMalformed, Title: "the endorsement key's certificate is not one DER certificate",
		Protects: "two parsers never see two different certificates in the same bytes",
		Got:      "what the parser met", Want: "one certificate, with nothing before or after it",
		Remedy: "read the certificate from the TPM again, cutting NV header and padding; quorate-agent inspect shows it",
	},
	{
		ID: EnrollEKExtension, Title: "the endorsement key's certificate has an extension that cannot be judged",
		Protects: "a restriction that the vendor marked as critical is never skipped",
		Got:      "the extension's object identifier", Want: "no unknown critical extension, none twice",
		Remedy: "report the certificate to the maintainers; the check must learn the extension before the TPM can be enrolled",
	},
	{
		ID: EnrollEKUsage, Title: "the certificate is not one for an endorsement key",
		Protects: "a certificate made for a server, a CA or another TPM key cannot stand in for a TPM",
		Got:      "the usages in the certificate", Want: "EK certificate usage (2.23.133.8.1), key encipherment or agreement, CA:FALSE",
		Remedy: "enrol with the EK certificate that the TPM vendor issued",
	},
	{
		ID: EnrollEKName, Title: "the certificate does not name the TPM's manufacturer, model and version",
		Protects: "rules about vendors and firmware rest on what the vendor signed, each value exactly once",
		Got:      "what the subject alternative name holds", Want: "one directory name with manufacturer, model and version, once each",
		Remedy: "ask the TPM vendor for a certificate after the TCG EK credential profile",
	},
	{
		ID: EnrollEKAlgorithm, Title: "the certificate's key is of a kind that is not supported",
		Protects: "a key that cannot be read is never a reason to skip the certificate",
		Got:      "the key's algorithm", Want: "RSA (rsaEncryption) or ECDSA-style EC key",
		Remedy: "use the TPM's other EK certificate, or ask the vendor for one with a standard key identifier",
	},
	{
		ID: EnrollEKWeak, Title: "the endorsement key has the fingerprint of the ROCA weakness",
		Protects: "the private key of such a TPM can be computed from the public one",
		Got:      "a modulus of the weak form", Want: "a modulus without that structure",
		Remedy: "update the TPM's firmware, let it make new keys and get a new certificate, or replace the TPM",
	},
	{
		ID: EnrollEKValidity, Title: "the endorsement key's certificate is not valid now",
		Protects: "a certificate is used only while its issuer stands by it",
		Got:      "the certificate's validity", Want: "the time of the check within it",
		Remedy: "check the verifier's clock; ask the TPM vendor for a current certificate",
	},
	{
		ID: EnrollEKChain, Title: "the certificate does not lead to a vendor root of the trust bundle",
		Protects: "only TPMs of vendors that the consortium accepts count",
		Got:      "why no path was found", Want: "a path of at most 5 certificates to a root of the bundle",
		Remedy: "send the vendor's intermediate certificates along; have the members add the vendor's root (quorate trust import)",
	},
	{
		ID: EnrollEKTestRoot, Title: "the certificate leads to a test root",
		Protects: "software TPMs cannot enter a production network",
		Got:      "a root for tests", Want: "a vendor's production root",
		Remedy: "use a hardware TPM; only a consortium file with test: true allows test roots",
	},
	{
		ID: EnrollEKClass, Title: "the consortium does not accept this class of TPM",
		Protects: "the consortium decides whether firmware and virtual TPMs count",
		Got:      "the class of the root", Want: "a class that the consortium file has a template for",
		Remedy: "use a TPM of an accepted class, or have the members change endorsement.templates",
	},
	{
		ID: EnrollEKTemplate, Title: "the certificate is for another EK template than the one that counts",
		Protects: "a TPM that has certificates for several templates cannot be two nodes",
		Got:      "the certificate's key", Want: "a key of the class's one template",
		Remedy: "send the EK certificate of the template named; most TPMs hold one for each of RSA-2048 and ECC P-256",
	},
	{
		ID: EnrollEKPublic, Title: "the endorsement key sent is not the one in the certificate",
		Protects: "a certificate from one TPM cannot vouch for another TPM",
		Got:      "the public area sent", Want: "the certificate's key in the class's template",
		Remedy: "if the TPM's endorsement seed was changed, its certificate is void: ask the vendor for a new one",
	},
	{
		ID: EnrollAK, Title: "the attestation key does not have the required properties",
		Protects: "a key outside a TPM, or one that signs arbitrary data, could make any quote",
		Got:      "the property that differs", Want: "a restricted, non-exportable ECDSA P-256 signing key made by the TPM",
		Remedy: "use the agent as built; it makes the right key",
	},
	{
		ID: EnrollNodeKey, Title: "the node key does not have the required properties",
		Protects: "a node key outside the TPM could be copied to another host",
		Got:      "the property that differs", Want: "a non-exportable, unrestricted ECDSA P-256 signing key made by the TPM",
		Remedy: "use the agent as built; it makes the right key",
	},
	{
		ID: EnrollMalformed, Title: "a key certification is not one well-formed TPM structure",
		Protects: "bytes that a parser skips could carry another meaning",
		Got:      "what the parser met", Want: "exactly one structure",
		Remedy: "use the agent as built; if it stays, report the TPM's model to the maintainers",
	},
	{
		ID: EnrollSignature, Title: "a key certification is not signed by the attestation key",
		Protects: "only the TPM that holds the attestation key can vouch for keys beside it",
		Got:      "a signature that does not verify, or another scheme", Want: "ECDSA with SHA-256 by the attestation key",
		Remedy: "start the enrolment again",
	},
	{
		ID: EnrollType, Title: "a TPM structure of another type was sent as key certification",
		Protects: "a quote or time stamp cannot stand in for a key certification",
		Got:      "the structure's magic number or type", Want: "the type of this step",
		Remedy: "use the agent as built",
	},
	{
		ID: EnrollBinding, Title: "a key certification was made for something else",
		Protects: "a certification cannot be replayed, nor used for another node, ledger, verifier or connection",
		Got:      "the qualifying data in the structure", Want: "the qualifying data of this enrolment",
		Remedy: "start the enrolment again; check that agent and verifier use the same consortium file",
	},
	{
		ID: EnrollSubject, Title: "a key certification is about another key",
		Protects: "a good key of the TPM cannot vouch for one outside it",
		Got:      "the name in the structure", Want: "the name computed from the public area sent",
		Remedy: "start the enrolment again",
	},
	{
		ID: EnrollHierarchy, Title: "a key is not a primary key of the endorsement hierarchy",
		Protects: "keys elsewhere quote disguised boot counters, and die with TPM2_Clear",
		Got:      "the parent or the qualified name", Want: "a primary key of the endorsement hierarchy",
		Remedy: "use the agent as built; it makes the right key",
	},
	{
		ID: EnrollConsensusKey, Title: "the consensus key is not proven to be the node's",
		Protects: "a node cannot claim another validator's voting power",
		Got:      "a key or signature that does not verify", Want: "an Ed25519 signature over the qualifying data of this enrolment",
		Remedy: "give the agent the consensus key that the ledger node signs with",
	},
	{
		ID: EnrollIntermediates, Title: "the intermediate certificates sent are too many, too large or malformed",
		Protects: "a hostile host cannot make path building costly",
		Got:      "their number or size, or the fault", Want: "at most 8 certificates and 64 KiB",
		Remedy: "send only the certificates between the EK certificate and the vendor's root",
	},
}
