package quoratev1_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	quoratev1 "github.com/quorate/quorate/proto/quorate/v1"
)

var files = []protoreflect.FileDescriptor{
	quoratev1.File_quorate_v1_enrollment_proto, quoratev1.File_quorate_v1_attestation_proto,
	quoratev1.File_quorate_v1_admission_proto, quoratev1.File_quorate_v1_administration_proto,
}

// answered returns the fields of everything that methods answer. Those of a nested
// message are there once.
func answered() []protoreflect.FieldDescriptor {
	seen := map[protoreflect.FullName]bool{}
	var fields []protoreflect.FieldDescriptor
	var visit func(protoreflect.MessageDescriptor)
	visit = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] {
			return
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			if fields = append(fields, f); f.Message() != nil {
				visit(f.Message())
			}
		}
	}
	for _, m := range methods() {
		visit(m.Output())
	}
	return fields
}

func methods() []protoreflect.MethodDescriptor {
	var all []protoreflect.MethodDescriptor
	for _, file := range files {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				all = append(all, service.Methods().Get(j))
			}
		}
	}
	return all
}

// secretive is every answer's field whose name or type could hold a secret, with
// what it holds. A new one has to be thought about, and listed here.
var secretive = map[string]string{
	"quorate.v1.EnrollChallenge.credential_blob":   "made for one TPM and one attempt",
	"quorate.v1.EnrollChallenge.encrypted_secret":  "made for one TPM and one attempt, worthless after it",
	"quorate.v1.EnrollChallenge.nonce":             "one attempt's",
	"quorate.v1.Challenge.nonce":                   "one round's",
	"quorate.v1.Challenge.beacon_hash":             "public",
	"quorate.v1.Verdict.admission":                 "public: it counts only with the node's own key",
	"quorate.v1.Verdict.admission_proof":           "public",
	"quorate.v1.GrantResponse.signature":           "made for one key of one TPM and one start of its signer, worthless elsewhere",
	"quorate.v1.GetAdmissionResponse.admission":    "public: it counts only with the node's own key",
	"quorate.v1.GetAdmissionResponse.proof":        "public",
	"quorate.v1.GetRosterResponse.roster":          "public",
	"quorate.v1.WatchResponse.roster":              "public",
	"quorate.v1.InviteNodeResponse.join_token":     "for one node, once, given to its operator",
	"quorate.v1.PolicyPart.data":                   "public in the consortium",
	"quorate.v1.GetEvidenceResponse.data":          "public in the consortium",
	"quorate.v1.ReadJournalResponse.checkpoint":    "public",
	"quorate.v1.ReadJournalResponse.entry":         "public",
	"quorate.v1.Node.consensus_key":                "a public key",
	"quorate.v1.Node.node_key":                     "a public key's digest",
	"quorate.v1.GetStatusResponse.StatesEntry.key": "the name of a state",
}

// A network-wide secret, given to whoever attests, would be lost with the first
// machine whose TPM is broken. There is none to give: all that an answer hands
// out is public, or made for one node.
func TestA172_NoSharedSecret(t *testing.T) {
	found := map[string]bool{}
	for _, f := range answered() {
		name := strings.ToLower(string(f.Name()))
		named := slices.ContainsFunc([]string{"secret", "key", "token", "password", "seed", "credential"}, func(word string) bool { return strings.Contains(name, word) })
		if f.Kind() != protoreflect.BytesKind && !named {
			continue
		}
		if found[string(f.FullName())] = true; secretive[string(f.FullName())] == "" {
			t.Errorf("%s goes out; what does it hold?", f.FullName())
		}
	}
	for name := range secretive {
		if !found[name] {
			t.Errorf("%s is listed, and no answer has it", name)
		}
	}
}

// Agents are asked for evidence and nothing else: a verifier that was taken over
// can give no order, name no file and no program.
func TestA155_NothingToRun(t *testing.T) {
	var toAgents []string
	m := quoratev1.File_quorate_v1_attestation_proto.Messages().ByName("AttestResponse")
	for i := range m.Fields().Len() {
		toAgents = append(toAgents, string(m.Fields().Get(i).Message().Name()))
	}
	if !slices.Equal(toAgents, []string{"Challenge", "Verdict"}) {
		t.Errorf("a verifier says %v to an agent", toAgents)
	}
	var asked []string
	challenge := quoratev1.File_quorate_v1_attestation_proto.Messages().ByName("Challenge")
	for i := range challenge.Fields().Len() {
		asked = append(asked, string(challenge.Fields().Get(i).Name()))
	}
	want := []string{"nonce", "bank", "pcrs", "want_boot_log", "ima_offset", "answer_within_ms", "beacon_height", "beacon_hash"}
	if !slices.Equal(asked, want) {
		t.Errorf("a challenge asks for %v, want %v", asked, want)
	}
	for _, method := range methods() { // a service of the agent's own would have to be dialled
		if name := string(method.Parent().Name()); strings.Contains(name, "Agent") || strings.Contains(name, "Node") {
			t.Errorf("%s looks like a service that an agent offers", name)
		}
	}
}
