package rpc

import (
	"strings"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/attack"
)

func decode(b []byte, m proto.Message) error {
	return strictCodec{}.Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, m)
}

// One message has one meaning, or is refused.
func TestA156_StrictWire(t *testing.T) {
	t.Parallel()
	for name, b := range attack.Encodings() {
		if err := decode(b, new(pb.AttestRequest)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	for name, m := range genuineMessages() {
		b, err := proto.Marshal(m)
		must(t, err)
		again := m.ProtoReflect().New().Interface()
		if err := decode(b, again); err != nil || !proto.Equal(m, again) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := decode(nil, new(pb.EnrollRequest)); err != nil {
		t.Errorf("an empty message: %v", err)
	}
}

func genuineMessages() map[string]proto.Message {
	return map[string]proto.Message{
		"hello": &pb.AttestRequest{Step: &pb.AttestRequest_Hello{Hello: &pb.Hello{
			ProtocolVersion: 1, NodeId: "org-a/x", BootId: "b", Banks: []string{"sha1", "sha256"}, BootLogDigest: make([]byte, 32), ImaSize: 1 << 40,
		}}},
		"evidence": &pb.AttestRequest{Step: &pb.AttestRequest_Evidence{Evidence: &pb.Evidence{
			Quote: []byte("q"), PcrValues: [][]byte{{1}, {2}, {}}, Challenges: []*pb.AnsweredChallenge{{Verifier: "a"}, {Verifier: "b", Nonce: []byte{1}}},
		}}},
		"start": &pb.EnrollRequest{Step: &pb.EnrollRequest_Start{Start: &pb.EnrollStart{
			ProtocolVersion: 1, Intermediates: [][]byte{{1}, {2}},
		}}},
		"invite": &pb.InviteNodeRequest{NodeId: "org-a/x", ValidSeconds: 1<<32 - 1, PreApprove: true},
		"policy": &pb.ApprovePolicyRequest{Step: &pb.ApprovePolicyRequest_Part{Part: &pb.PolicyPart{File: 1, Data: []byte("p")}}},
	}
}

// The wire check numbers fields by bits: the contract must stay below 64.
func TestContractFitsTheWireCheck(t *testing.T) {
	t.Parallel()
	for _, file := range []protoreflect.FileDescriptor{
		pb.File_quorate_v1_attestation_proto, pb.File_quorate_v1_enrollment_proto,
		pb.File_quorate_v1_admission_proto, pb.File_quorate_v1_administration_proto,
	} {
		messages := file.Messages()
		for i := range messages.Len() {
			m := messages.Get(i)
			for j := range m.Fields().Len() {
				f := m.Fields().Get(j)
				if f.Number() > 63 {
					t.Errorf("%s has number %d", f.FullName(), f.Number())
				}
				if strings.HasSuffix(string(m.Name()), "Request") && f.IsPacked() {
					t.Errorf("%s is packed, which the wire check does not count", f.FullName())
				}
			}
			if m.Oneofs().Len() > 63 {
				t.Errorf("%s has too many oneofs", m.FullName())
			}
		}
	}
}

// FuzzStrictWire: what the strict codec accepts holds no field that the runtime
// would keep aside as unknown, and means the same when it is written again.
func FuzzStrictWire(f *testing.F) {
	seeds := 0
	for _, b := range attack.Encodings() {
		f.Add(b)
		seeds++
	}
	for _, m := range genuineMessages() {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		seeds++
	}
	if seeds < 20 {
		f.Fatalf("only %d seeds", seeds)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, m := range []proto.Message{new(pb.AttestRequest), new(pb.EnrollRequest), new(pb.ApprovePolicyRequest), new(pb.InviteNodeRequest)} {
			if decode(b, m) != nil {
				continue
			}
			if hasUnknown(m.ProtoReflect()) {
				t.Fatalf("unknown fields in %T from %x", m, b)
			}
			out, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			again := m.ProtoReflect().New().Interface()
			if err := decode(out, again); err != nil || !proto.Equal(m, again) {
				t.Fatalf("%T means something else when written again: %v", m, err)
			}
		}
	})
}

func hasUnknown(m protoreflect.Message) bool {
	found := len(m.GetUnknown()) > 0
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				found = found || hasUnknown(v.List().Get(i).Message())
			}
		case f.Message() != nil && !f.IsMap():
			found = found || hasUnknown(v.Message())
		}
		return !found
	})
	return found
}
