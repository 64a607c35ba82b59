package vendorca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// attribute is one attribute of the directory name.
type attribute struct {
	id    asn1.ObjectIdentifier
	value string
	tag   cbasn1.Tag
}

func attributes(device Device, shape Shape) []attribute {
	tag := cbasn1.UTF8String
	if shape == SANWrongString {
		tag = cbasn1.OCTET_STRING
	}
	if shape == BadManufacturer {
		device.Manufacturer = "ACME"
	}
	list := []attribute{
		{OIDManufacturer, device.Manufacturer, tag},
		{OIDModel, device.Model, tag},
		{OIDVersion, device.Version, tag},
	}
	switch shape {
	case DuplicateManufacturer:
		list = append(list, attribute{OIDManufacturer, "id:53544D20", tag})
	case MissingModel:
		list = slices.Delete(list, 1, 2)
	}
	return list
}

// alternativeName encodes the GeneralNames with the TPM's attributes.
func alternativeName(device Device, shape Shape) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		switch shape {
		case EmptySAN:
		case SANOtherName:
			addOtherName(b)
		case SANTwoNames:
			addDirectoryName(b, attributes(device, Plain), false)
			addDirectoryName(b, attributes(Device{"id:53544D20", "other", "id:00010002"}, Plain), false)
		default:
			addDirectoryName(b, attributes(device, shape), shape == MultiValuedRDN)
		}
	})
	san, err := b.Bytes()
	if shape == SANTrailing {
		san = append(san, 5, 0)
	}
	return san, err
}

func addDirectoryName(b *cryptobyte.Builder, list []attribute, oneSet bool) {
	directoryName := cbasn1.Tag(4).ContextSpecific().Constructed()
	b.AddASN1(directoryName, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			if oneSet {
				addSet(b, list)
				return
			}
			for _, a := range list {
				addSet(b, []attribute{a})
			}
		})
	})
}

func addSet(b *cryptobyte.Builder, list []attribute) {
	b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
		for _, a := range sortedDER(list) {
			b.AddBytes(a)
		}
	})
}

// sortedDER encodes the attributes in the order that DER demands of a set.
func sortedDER(list []attribute) [][]byte {
	var encoded [][]byte
	for _, a := range list {
		var b cryptobyte.Builder
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(a.id)
			b.AddASN1(a.tag, func(b *cryptobyte.Builder) { b.AddBytes([]byte(a.value)) })
		})
		encoded = append(encoded, b.BytesOrPanic())
	}
	slices.SortFunc(encoded, bytes.Compare)
	return encoded
}

// addOtherName adds a permanentIdentifier, as device certificates have it.
func addOtherName(b *cryptobyte.Builder) {
	b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 3})
		b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte("id:00001014")) })
			})
		})
	})
}

func keyUsage(public crypto.PublicKey, shape Shape) x509.KeyUsage {
	switch {
	case shape == NoKeyUsage:
		return 0
	case shape == SigningKeyUsage:
		return x509.KeyUsageDigitalSignature
	case shape == CALeaf:
		return x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign
	}
	if _, ok := public.(*ecdsa.PublicKey); ok {
		return x509.KeyUsageKeyAgreement
	}
	return x509.KeyUsageKeyEncipherment
}

// spoil applies the shapes that change a finished certificate.
func (c *CA) spoil(der []byte, shape Shape) ([]byte, error) {
	switch shape {
	case TrailingBytes:
		return append(der, 0x30, 0x00), nil
	case PaddedWithZeros:
		return append(der, make([]byte, 100)...), nil
	case Truncated:
		return der[:len(der)-10], nil
	case NVHeader:
		n := len(der)
		return append([]byte{0x10, 0x01, 0x00, byte(n >> 8), byte(n), 0x10, 0x02}, der...), nil
	case OAEPKey:
		return c.oaep(der)
	}
	return der, nil
}

type certificate struct {
	TBS       asn1.RawValue
	Algorithm pkix.AlgorithmIdentifier
	Signature asn1.BitString
}

// oaep replaces the key's algorithm rsaEncryption by id-RSAES-OAEP, an
// identifier of the same length, and signs anew.
func (c *CA) oaep(der []byte) ([]byte, error) {
	var parsed certificate
	if _, err := asn1.Unmarshal(der, &parsed); err != nil {
		return nil, err
	}
	plain := []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01}
	padded := []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07}
	tbs := bytes.Replace(parsed.TBS.FullBytes, plain, padded, 1)
	if bytes.Equal(tbs, parsed.TBS.FullBytes) {
		return nil, errors.New("the key is not an RSA key")
	}
	digest := sha256.Sum256(tbs)
	signature, err := c.interKey.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	parsed.TBS = asn1.RawValue{FullBytes: tbs}
	parsed.Signature = asn1.BitString{Bytes: signature, BitLength: len(signature) * 8}
	return asn1.Marshal(parsed)
}
