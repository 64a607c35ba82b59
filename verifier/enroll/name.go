package enroll

import (
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

var (
	oidManufacturer = asn1.ObjectIdentifier{2, 23, 133, 2, 1}
	oidModel        = asn1.ObjectIdentifier{2, 23, 133, 2, 2}
	oidVersion      = asn1.ObjectIdentifier{2, 23, 133, 2, 3}
)

// maxModel bounds the model's name, in bytes.
const maxModel = 128

// deviceName is what the certificate says about the TPM.
type deviceName struct {
	manufacturer string // eight hex digits, upper case
	model        string
	version      string // hex digits, lower case
}

// vendor returns the manufacturer as the TCG registry writes it: up to four
// letters, or the hex digits where they are not printable.
func (n deviceName) vendor() string {
	raw, err := hex.DecodeString(n.manufacturer)
	if err != nil {
		return n.manufacturer
	}
	text := strings.TrimRight(string(raw), " \x00")
	for _, c := range []byte(text) {
		if c <= ' ' || c > '~' {
			return n.manufacturer
		}
	}
	if text == "" {
		return n.manufacturer
	}
	return text
}

// parseName reads a subject alternative name that is exactly one directoryName
// with the attributes manufacturer, model and version, each once, in any order,
// in one RDN or in several.
func parseName(san []byte) (deviceName, error) {
	in := cryptobyte.String(san)
	var names, general, rdns cryptobyte.String
	if len(san) == 0 {
		return deviceName{}, errors.New("none")
	}
	if !in.ReadASN1(&names, cbasn1.SEQUENCE) || !in.Empty() {
		return deviceName{}, errors.New("not one sequence")
	}
	if !names.ReadASN1(&general, cbasn1.Tag(4).ContextSpecific().Constructed()) || !names.Empty() {
		return deviceName{}, errors.New("not exactly one directory name")
	}
	if !general.ReadASN1(&rdns, cbasn1.SEQUENCE) || !general.Empty() {
		return deviceName{}, errors.New("a malformed directory name")
	}
	values, err := readAttributes(rdns)
	if err != nil {
		return deviceName{}, err
	}
	return values.device()
}

// attributes are the values by object identifier.
type attributes map[string]string

func readAttributes(rdns cryptobyte.String) (attributes, error) {
	values := attributes{}
	for !rdns.Empty() {
		var set cryptobyte.String
		if !rdns.ReadASN1(&set, cbasn1.SET) || set.Empty() {
			return nil, errors.New("a malformed name component")
		}
		for !set.Empty() {
			id, value, err := readAttribute(&set)
			if err != nil {
				return nil, err
			}
			if _, twice := values[id]; twice {
				return nil, fmt.Errorf("%s twice", id)
			}
			values[id] = value
		}
	}
	return values, nil
}

func readAttribute(set *cryptobyte.String) (id, value string, err error) {
	var pair, text cryptobyte.String
	var oid asn1.ObjectIdentifier
	var tag cbasn1.Tag
	if !set.ReadASN1(&pair, cbasn1.SEQUENCE) || !pair.ReadASN1ObjectIdentifier(&oid) ||
		!pair.ReadAnyASN1(&text, &tag) || !pair.Empty() {
		return "", "", errors.New("a malformed attribute")
	}
	if tag != cbasn1.UTF8String && tag != cbasn1.PrintableString {
		return "", "", fmt.Errorf("%s as ASN.1 type %d, not as a string", oid, tag)
	}
	if !utf8.Valid(text) || strings.ContainsFunc(string(text), func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "", "", fmt.Errorf("%s with unprintable text", oid)
	}
	return oid.String(), string(text), nil
}

func (a attributes) device() (deviceName, error) {
	manufacturer, hasID := strings.CutPrefix(a[oidManufacturer.String()], "id:")
	version, hasVersion := strings.CutPrefix(a[oidVersion.String()], "id:")
	model, hasModel := a[oidModel.String()]
	switch {
	case len(a) != 3 || !hasModel:
		return deviceName{}, fmt.Errorf("%d attributes, or another than the three", len(a))
	case !hasID || len(manufacturer) != 8 || !isHex(manufacturer):
		return deviceName{}, fmt.Errorf("manufacturer %q is not id: and eight hex digits", a[oidManufacturer.String()])
	case !hasVersion || len(version) < 1 || len(version) > 16 || !isHex(version):
		return deviceName{}, fmt.Errorf("version %q is not id: and hex digits", a[oidVersion.String()])
	case model == "" || len(model) > maxModel:
		return deviceName{}, fmt.Errorf("a model of %d bytes", len(model))
	}
	return deviceName{manufacturer: strings.ToUpper(manufacturer), model: model, version: strings.ToLower(version)}, nil
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdefABCDEF") == ""
}
