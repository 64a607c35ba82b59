package verdict

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Epoch is a TPM's boot epoch. It changes whenever the PCRs may have been reset,
// so whatever was concluded from the PCRs of one epoch says nothing about another.
// A TPM Reset counts Reset up and zeroes Restart; a TPM Restart or Resume counts
// only Restart up.
type Epoch struct {
	Reset   uint32 // the TPM's resetCount
	Restart uint32 // the TPM's restartCount
}

// String prints the epoch as "4/0".
func (e Epoch) String() string {
	return strconv.FormatUint(uint64(e.Reset), 10) + "/" + strconv.FormatUint(uint64(e.Restart), 10)
}

// Compare orders epochs by time: -1 if e is earlier than f, 0 if equal, 1 if later.
func (e Epoch) Compare(f Epoch) int {
	return cmp.Or(cmp.Compare(e.Reset, f.Reset), cmp.Compare(e.Restart, f.Restart))
}

// ParseEpoch reads exactly what String prints: two decimal numbers of 32 bits
// without sign or leading zeros.
func ParseEpoch(s string) (Epoch, error) {
	reset, restart, found := strings.Cut(s, "/")
	a, errA := strconv.ParseUint(reset, 10, 32)
	b, errB := strconv.ParseUint(restart, 10, 32)
	e := Epoch{Reset: uint32(a), Restart: uint32(b)}
	if !found || errA != nil || errB != nil || e.String() != s {
		return Epoch{}, fmt.Errorf("verdict: %.64q is not an epoch such as 4/0", s)
	}
	return e, nil
}

// MarshalText makes epochs readable in JSON.
func (e Epoch) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText accepts exactly what MarshalText prints.
func (e *Epoch) UnmarshalText(text []byte) error {
	parsed, err := ParseEpoch(string(text))
	if err != nil {
		return err
	}
	*e = parsed
	return nil
}
