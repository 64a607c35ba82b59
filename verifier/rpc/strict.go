package rpc

import (
	"fmt"
	"math"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// strictCodec decodes Protocol Buffers and refuses what the format lets pass:
// fields that the message does not have or that are of another type on the wire, a
// singular field given twice, numbers that do not fit. All of them would let two
// readers of the same bytes see different evidence.
type strictCodec struct{}

var _ encoding.CodecV2 = strictCodec{}

// Name is "proto": peers need not know that this side is strict.
func (strictCodec) Name() string { return "proto" }

func (strictCodec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("rpc: cannot encode %T", v)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (strictCodec) Unmarshal(data mem.BufferSlice, v any) error {
	f, framed := v.(*frame)
	if !framed {
		return unmarshal(data, v)
	}
	f.err = unmarshal(data, f.message)
	return nil
}

func unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("rpc: cannot decode %T", v)
	}
	b := data.Materialize()
	if err := checkWire(b, m.ProtoReflect().Descriptor(), 0); err != nil {
		return err
	}
	return proto.Unmarshal(b, m)
}

// Bounds of any message. The contract nests three deep; its longest lists are the
// manifests of a policy. An empty element costs two bytes on the wire and a
// hundred in memory.
const (
	maxDepth    = 8
	maxElements = 1024 // of all lists of one message
)

// checkWire walks the encoded message b of type d.
func checkWire(b []byte, d protoreflect.MessageDescriptor, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("rpc: %s is nested too deep", d.Name())
	}
	var seen, oneofs uint64
	elements := 0
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("rpc: %s: %w", d.Name(), protowire.ParseError(n))
		}
		b = b[n:]
		field := d.Fields().ByNumber(num)
		if field == nil {
			return fmt.Errorf("rpc: %s has no field %d", d.Name(), num)
		}
		if err := once(field, &seen, &oneofs); err != nil {
			return err
		}
		if field.Cardinality() == protoreflect.Repeated {
			elements++
		}
		if elements > maxElements {
			return fmt.Errorf("rpc: %s has more than %d list elements", d.Name(), maxElements)
		}
		if err := checkScalar(field, typ, b); err != nil {
			return err
		}
		n = protowire.ConsumeFieldValue(num, typ, b)
		if n < 0 {
			return fmt.Errorf("rpc: %s.%s: %w", d.Name(), field.Name(), protowire.ParseError(n))
		}
		if inner := field.Message(); inner != nil {
			value, _ := protowire.ConsumeBytes(b)
			if err := checkWire(value, inner, depth+1); err != nil {
				return err
			}
		}
		b = b[n:]
	}
	return nil
}

// checkScalar compares the type on the wire with the field's, and a number with
// the field's range. The runtime would keep a field of another type as one that it
// does not know, and cut a number that is too large.
func checkScalar(field protoreflect.FieldDescriptor, typ protowire.Type, b []byte) error {
	want, limit := protowire.BytesType, uint64(math.MaxUint64)
	switch field.Kind() {
	case protoreflect.BytesKind, protoreflect.StringKind, protoreflect.MessageKind:
	case protoreflect.BoolKind:
		want, limit = protowire.VarintType, 1
	case protoreflect.Uint32Kind:
		want, limit = protowire.VarintType, math.MaxUint32
	case protoreflect.Uint64Kind, protoreflect.Int64Kind, protoreflect.Int32Kind:
		want = protowire.VarintType // Int32: the well-known Timestamp's nanoseconds
	default:
		return fmt.Errorf("rpc: %s is of a kind that the contract does not use", field.FullName())
	}
	if typ == protowire.BytesType && field.IsPacked() {
		return nil // no request has such a list; the runtime checks its elements
	}
	if typ != want {
		return fmt.Errorf("rpc: %s has wire type %d, want %d", field.FullName(), typ, want)
	}
	if value, n := protowire.ConsumeVarint(b); want == protowire.VarintType && n > 0 && value > limit {
		return fmt.Errorf("rpc: %s is %d, at most %d", field.FullName(), value, limit)
	}
	return nil
}

// once reports a singular field, or a second member of a oneof, that was there
// before. The contract numbers fields below 64; a test holds it to that.
func once(field protoreflect.FieldDescriptor, seen, oneofs *uint64) error {
	if field.IsList() || field.IsMap() {
		return nil
	}
	bit := uint64(1) << (uint(field.Number()) % 64)
	if *seen&bit != 0 {
		return fmt.Errorf("rpc: %s is given twice", field.FullName())
	}
	*seen |= bit
	if one := field.ContainingOneof(); one != nil {
		bit = uint64(1) << (uint(one.Index()) % 64)
		if *oneofs&bit != 0 {
			return fmt.Errorf("rpc: %s has two values", one.FullName())
		}
		*oneofs |= bit
	}
	return nil
}
