package policy

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// digestSizes are the digests that a reference value may have, in bytes.
var digestSizes = map[string]int{"sha256": 32, "sha384": 48, "sha512": 64}

// validDigest reports whether s is "sha256:<hex>" or its longer relatives, in
// lower case, and not all zeros: a digest of zeros means "not measured" in a log.
func validDigest(s string) bool {
	alg, text, found := strings.Cut(s, ":")
	size, known := digestSizes[alg]
	return found && known && len(text) == 2*size && strings.ToLower(text) == text && isHex(text) && strings.Trim(text, "0") != ""
}

// decodeDigest decodes a digest that validDigest accepts, to its bytes.
func decodeDigest(s string) string {
	_, text, _ := strings.Cut(s, ":")
	raw, _ := hex.DecodeString(text)
	return string(raw)
}

// digestText is the text that decodeDigest decodes.
func digestText(raw string) string {
	for alg, size := range digestSizes {
		if len(raw) == size {
			return alg + ":" + hex.EncodeToString([]byte(raw))
		}
	}
	return ""
}

func isHex(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil
}

// units are the spellings of a duration, longest first.
var units = []struct {
	suffix string
	unit   time.Duration
}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}

// parseDuration reads a whole number of one unit: "30s", "5m", "24h", "7d".
func parseDuration(s string) (time.Duration, error) {
	for _, u := range units {
		digits, found := strings.CutSuffix(s, u.suffix)
		if !found {
			continue
		}
		n, err := strconv.Atoi(digits)
		if err != nil || n < 1 || n > 1e6 || strconv.Itoa(n) != digits {
			break
		}
		return time.Duration(n) * u.unit, nil
	}
	return 0, fmt.Errorf("%q is not a duration such as 30s, 5m, 24h or 7d", bounded(s))
}

// formatDuration prints in the longest unit that is exact, days from two on.
func formatDuration(d time.Duration) string {
	for _, u := range units {
		if d%u.unit == 0 && (u.suffix != "d" || d > u.unit) {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.suffix
		}
	}
	return d.String()
}

// FirmwareVersion is a TPM's firmware version as four numbers of 16 bits, as
// vendors print it: the upper half of the 64-bit value is "7.85" for Infineon,
// "1.769" for STMicroelectronics.
type FirmwareVersion uint64

// ParseFirmwareVersion reads "1.769", or up to four numbers for vendors that
// use the lower half too.
func ParseFirmwareVersion(s string) (FirmwareVersion, error) {
	parts := strings.Split(s, ".")
	if len(parts) < 2 || len(parts) > 4 {
		return 0, fmt.Errorf("%q is not a firmware version such as 7.85", bounded(s))
	}
	var v uint64
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil || strconv.FormatUint(n, 10) != part {
			return 0, fmt.Errorf("%q is not a firmware version such as 7.85", bounded(s))
		}
		v |= n << (48 - 16*i)
	}
	return FirmwareVersion(v), nil
}

// String prints the version with all parts that are not trailing zeros, at least two.
func (v FirmwareVersion) String() string {
	s := fmt.Sprintf("%d.%d", v>>48, v>>32&0xffff)
	if uint32(v) != 0 {
		s += fmt.Sprintf(".%d", v>>16&0xffff)
	}
	if v&0xffff != 0 {
		s += fmt.Sprintf(".%d", v&0xffff)
	}
	return s
}
