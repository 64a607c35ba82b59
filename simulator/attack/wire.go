package attack

import (
	"bytes"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field appends one field to an encoded message: a number, text, bytes, or a
// uint32 as fixed 32 bits.
func Field[V int | uint64 | uint32 | string | []byte](b []byte, num protowire.Number, value V) []byte {
	switch v := any(value).(type) {
	case int:
		return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), uint64(v))
	case uint64:
		return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
	case uint32:
		return protowire.AppendFixed32(protowire.AppendTag(b, num, protowire.Fixed32Type), v)
	case string:
		return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), v)
	}
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), any(value).([]byte))
}

// elements is more of a list than any message of the protocol holds.
const elements = 1025

// Encodings are encodings of an AttestRequest that one reader may take for
// something else than another. Read as an EnrollRequest they are no better.
func Encodings() map[string][]byte {
	hello := Field(Field(nil, 1, 1), 2, "org-a/x")
	evidence := Field(nil, 1, []byte("quote"))
	group := protowire.AppendTag(nil, 1, protowire.StartGroupType)
	group = protowire.AppendTag(append(group, hello...), 1, protowire.EndGroupType)
	return map[string][]byte{
		"unknown field":          Field(Field(nil, 1, hello), 9, "x"),
		"unknown inner field":    Field(nil, 1, Field(bytes.Clone(hello), 63, 1)),
		"field twice":            Field(nil, 1, Field(bytes.Clone(hello), 2, "org-a/y")),
		"quote twice":            Field(nil, 2, Field(bytes.Clone(evidence), 1, []byte("other"))),
		"message twice":          Field(Field(nil, 1, hello), 1, hello),
		"two of one":             Field(Field(nil, 1, hello), 2, evidence),
		"number as string":       Field(nil, 1, Field(nil, 1, "1")),
		"string as number":       Field(nil, 1, Field(nil, 2, 7)),
		"string as fixed":        Field(nil, 1, Field(nil, 2, uint32(7))),
		"message as number":      Field(nil, 1, 7),
		"message as group":       group,
		"number too large":       Field(nil, 1, Field(nil, 1, uint64(1<<32|1))),
		"truncated":              Field(nil, 1, hello)[:5],
		"truncated tag":          {0x80},
		"length beyond the end":  {0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"field number zero":      {0x02, 0x00},
		"not UTF-8":              Field(nil, 1, Field(nil, 2, "\xff\xfe")),
		"list of empty elements": Field(nil, 2, bytes.Repeat(Field(nil, 4, []byte{}), elements)),
		"list of empty values":   Field(nil, 2, bytes.Repeat(Field(nil, 3, []byte{}), elements)),
		"nested garbage":         Field(nil, 2, Field(nil, 4, []byte{0xff, 0xff})),
	}
}

// inOrder are the names of a table, sorted: runs are alike.
func inOrder[V any](table map[string]V) []string { return slices.Sorted(maps.Keys(table)) }
