// Package seal keeps a ledger node's Ed25519 consensus key for the host's TPM
// alone. No TPM can hold such a key, so it is sealed: the TPM gives the seed out
// only on this host, only in a measured state that the policy authority approved,
// and once in a boot, or for a fresh grant.
//
// The key is never on disk in clear. What lies there, the sealed blob with its
// terms, the approvals and the grants, is public.
package seal

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// maxFile bounds every file that this package reads.
const maxFile = 64 << 10

// marshal is the one encoding of this package's files.
func marshal(v any) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // strings, numbers and byte slices always encode
	return buf.Bytes()
}

// parse reads what marshal wrote and nothing else: unknown, doubled, missing or
// differently written fields make other bytes.
func parse[T any](data []byte, kind string, v *T) error {
	if len(data) > maxFile {
		return malformed(kind, fmt.Sprintf("at most %d bytes", maxFile))
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return &Refusal{Check: Malformed, Got: kind + ": " + err.Error(), Want: "one JSON object", Cause: err}
	}
	if !bytes.Equal(marshal(*v), data) {
		return malformed(kind, "exactly the bytes that were written")
	}
	return nil
}

func malformed(got, want string) *Refusal {
	return &Refusal{Check: Malformed, Got: got, Want: want, Remedy: "take the file anew from where it was made"}
}
