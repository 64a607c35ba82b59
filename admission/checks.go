package admission

// The checks of this package.
const (
	Unpinned          CheckID = "admission.unpinned"
	Malformed         CheckID = "admission.malformed"
	Duplicate         CheckID = "admission.duplicate"
	Threshold         CheckID = "admission.threshold"
	UnknownVerifier   CheckID = "admission.verifier"
	BadSignature      CheckID = "admission.signature"
	OtherConsortium   CheckID = "admission.consortium"
	TestFlag          CheckID = "admission.test"
	OtherLedger       CheckID = "admission.ledger"
	Unbound           CheckID = "admission.unbound"
	NotMember         CheckID = "admission.member"
	OtherNode         CheckID = "admission.node"
	OtherRole         CheckID = "admission.role"
	OtherNodeKey      CheckID = "admission.node-key"
	OtherConsensusKey CheckID = "admission.consensus-key"
	NotYet            CheckID = "admission.not-yet-valid"
	Expired           CheckID = "admission.expired"
	Checkpoint        CheckID = "admission.checkpoint"
	TooFewWitnesses   CheckID = "admission.witnesses"
	NotLogged         CheckID = "admission.not-logged"
	Disagree          CheckID = "admission.disagree"
	RosterStale       CheckID = "admission.roster-stale"
	RosterRollback    CheckID = "admission.roster-rollback"
	RosterFork        CheckID = "admission.roster-fork"
	NodeLate          CheckID = "admission.late"
	NodeSuspended     CheckID = "admission.suspended"
	NodeRetired       CheckID = "admission.retired"
	NodeQuarantined   CheckID = "admission.quarantined"
	NotListed         CheckID = "admission.not-listed"
	Superseded        CheckID = "admission.superseded"
)

var checks = []Check{
	{Unpinned, "There is nothing to check against.", "A caller that forgot to load the consortium file and so trusts anyone.",
		"", "a parsed consortium file", "Load the consortium file with ParseConsortium and give every required argument."},
	{Malformed, "The bytes are not in the one form that is allowed.", "Two readers that understand the same bytes differently.",
		"the text found", "the form expected", "Carry the bytes exactly as the verifier gave them; ask the agent for a new bundle."},
	{Duplicate, "The bundle does not hold admissions of distinct verifiers in order.", "One verifier counted as several.",
		"the verifier out of order", "distinct names, ascending", "Make the bundle with NewBundle, from one admission of each verifier."},
	{Threshold, "Verifiers of too few members admitted the node.", "One captured verifier, or one member with several, that admits whom it likes.",
		"members whose verifiers admitted the node", "members needed", "Enrol the node with verifiers of more members and wait for their admissions."},
	{UnknownVerifier, "The admission is by a verifier that the consortium does not have.", "Anyone's key taken for a verifier's.",
		"the name of the signing key", "a verifier of the consortium", "Compare the consortium file with the other members'; one of them may be out of date."},
	{BadSignature, "The signature is not by the key it must be by.", "Forged or altered statements, and a log key used to admit.",
		"the signing key or the fault", "the pinned admission key", "Fetch the bytes again; if it stays, check the verifier's key in the consortium file."},
	{OtherConsortium, "The statement is for another consortium.", "An admission of one network used in another.",
		"its consortium", "this consortium", "Point the node's agent to this consortium's verifiers."},
	{TestFlag, "The statement and the consortium disagree on being a test network.", "Admissions that rest on test roots used in production.",
		"the statement's test flag", "the consortium's", "Use the consortium file that the verifiers use."},
	{OtherLedger, "The statement is for another ledger.", "An admission of one ledger used on another, or after a new genesis.",
		"its ledger and genesis", "this ledger and genesis", "Use the consortium file of this ledger."},
	{Unbound, "The caller did not say whose admission it wants.", "A bundle used as a bearer token by someone who copied it.",
		"", "a role, and a node key or a consensus key", "Pass the key that the other party has proven to hold."},
	{NotMember, "The node belongs to no member of the consortium.", "A node that is attested and yet has no right to be here.",
		"the node id", "a node of a member", "Add the member to the consortium file, or enrol the node under a member's name."},
	{OtherNode, "The admission is for another node.", "One node's admission shown by another.",
		"the admitted node", "the wanted node", "Use the bundle that this node's own agent keeps."},
	{OtherRole, "The node is admitted in another role.", "A light role used to gain voting power.",
		"the admitted role", "the wanted role", "Invite the node again with the role it needs."},
	{OtherNodeKey, "The admission is for another node key.", "A copied admission used from another host.",
		"the admitted key", "the key in use", "Use the bundle of the host whose TPM holds this key."},
	{OtherConsensusKey, "The admission is for another consensus key.", "Voting power for a key that no admitted host holds.",
		"the admitted key", "the key in use", "Enrol the node again with the consensus key that the ledger knows."},
	{NotYet, "The statement is from the future.", "A statement made now to be used later, and verifiers with a wrong clock.",
		"its start", "the latest start allowed", "Check the clocks of this machine and of the verifier."},
	{Expired, "The admission has ended.", "Power that outlives the proof.",
		"its end", "a later time", "See why the agent could not renew it: quorate-agent status."},
	{Checkpoint, "The log proof has no checkpoint by the verifier's log key.", "A proof for a log that nobody watches.",
		"the fault", "a checkpoint by the log key", "Ask the verifier for the proof again; if it stays, check the log key in the consortium file."},
	{TooFewWitnesses, "Too few witnesses cosigned the checkpoint in time.", "A log that shows different histories to different people.",
		"distinct witnesses that count", "witnesses needed", "Ask for the proof again when the witnesses can be reached; check their clocks."},
	{NotLogged, "The admission is not in the verifier's journal.", "A secret admission that no auditor can see.",
		"where the proof points", "a proof of these very bytes", "Treat the verifier as faulty: it let an admission out before, or without, logging it."},
	{Disagree, "The verifiers do not speak of the same node in the same state.", "Admissions of different boots or hosts mixed into one bundle.",
		"what this admission says", "what the first admission says", "Make a new bundle from admissions of the same boot under the same policy."},
	{RosterStale, "The roster is too old.", "A gate cut off from the verifier that never learns of a suspension.",
		"when it was issued", "the oldest time allowed", "Restore the connection to the verifier, then fetch the roster again."},
	{RosterRollback, "The roster is older than one already seen.", "An old roster replayed to undo a suspension.",
		"its number and time", "at least the last number and time", "Treat it as an attack or as a verifier restored from a backup; ask its operator."},
	{RosterFork, "There are two rosters with one number.", "A verifier that shows different rosters to different people.",
		"another text", "the text seen before", "Keep both texts and show them to the other members."},
	{NodeLate, "The node gave no fresh evidence in time.", "Power for a host that nobody has looked at lately.",
		"the reason", "a node whose admission stands", "Check that the agent runs and reaches the verifier; the node recovers by itself."},
	{NodeSuspended, "The node is suspended.", "Power for a host whose evidence was refused.",
		"the check and the reason", "a node whose admission stands", "Mend what the reason names, then reboot the host; quorate node explain tells more."},
	{NodeRetired, "The node is retired.", "Power for a host that was taken out of service.",
		"the check and the reason", "a node whose admission stands", "Enrol the host as a new node."},
	{NodeQuarantined, "The node is in quarantine.", "Two hosts that use one identity.",
		"the check and the reason", "a node whose admission stands", "Find out which host is genuine; two operators must release it."},
	{NotListed, "The node is not on the roster.", "An admission that the verifier no longer knows.",
		"the roster's number", "admitted", "See quorate node show at the verifier."},
	{Superseded, "The node is on the roster with other keys or another role.", "An old admission used after a key was rotated.",
		"what the admission says", "what the roster says", "Use the node's newest bundle."},
}
