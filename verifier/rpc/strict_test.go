package rpc

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/quorate/quorate/proto/quorate/v1"
)

// field appends one field to an encoded message.
func field(b []byte, num protowire.Number, value any) []byte {
	switch v := value.(type) {
	case int:
		return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), uint64(v))
	case uint64:
		return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
	case string:
		return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), v)
	case []byte:
		return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
	case uint32:
		return protowire.AppendFixed32(protowire.AppendTag(b, num, protowire.Fixed32Type), v)
	}
	panic("a test's own mistake")
}

// hostileWire are encodings of an AttestRequest that one reader may take for
// something else than another.
func hostileWire() map[string][]byte {
	hello := field(field(nil, 1, 1), 2, "org-a/x")
	evidence := field(nil, 1, []byte("quote"))
	group := protowire.AppendTag(nil, 1, protowire.StartGroupType)
	group = protowire.AppendTag(append(group, hello...), 1, protowire.EndGroupType)
	return map[string][]byte{
		"unknown field":          field(field(nil, 1, hello), 9, "x"),
		"unknown inner field":    field(nil, 1, field(bytes.Clone(hello), 63, 1)),
		"field twice":            field(nil, 1, field(bytes.Clone(hello), 2, "org-a/y")),
		"quote twice":            field(nil, 2, field(bytes.Clone(evidence), 1, []byte("other"))),
		"message twice":          field(field(nil, 1, hello), 1, hello),
		"two of one":             field(field(nil, 1, hello), 2, evidence),
		"number as string":       field(nil, 1, field(nil, 1, "1")),
		"string as number":       field(nil, 1, field(nil, 2, 7)),
		"string as fixed":        field(nil, 1, field(nil, 2, uint32(7))),
		"message as number":      field(nil, 1, 7),
		"message as group":       group,
		"number too large":       field(nil, 1, field(nil, 1, uint64(1<<32|1))),
		"truncated":              field(nil, 1, hello)[:5],
		"truncated tag":          {0x80},
		"length beyond the end":  {0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"field number zero":      {0x02, 0x00},
		"not UTF-8":              field(nil, 1, field(nil, 2, "\xff\xfe")),
		"list of empty elements": field(nil, 2, bytes.Repeat(field(nil, 4, []byte{}), maxElements+1)),
		"list of empty values":   field(nil, 2, bytes.Repeat(field(nil, 3, []byte{}), maxElements+1)),
		"nested garbage":         field(nil, 2, field(nil, 4, []byte{0xff, 0xff})),
	}
}

func decode(b []byte, m proto.Message) error {
	return strictCodec{}.Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, m)
}

// One message has one meaning, or is refused.
func TestA156_StrictWire(t *testing.T) {
	t.Parallel()
	for name, b := range hostileWire() {
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
	for _, b := range hostileWire() {
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
