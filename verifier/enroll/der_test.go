package enroll

import (
	"bytes"
	"crypto/x509"
	"slices"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/simulator/vendorca"
	"github.com/quorate/quorate/simulator/weigh"
)

// element is one ASN.1 element: what it holds, or its content.
type element struct {
	tag     cbasn1.Tag
	parts   []element
	content []byte
}

const constructed = 0x20

// readElements reads all of s.
func readElements(s cryptobyte.String) ([]element, bool) {
	var out []element
	for !s.Empty() {
		var body cryptobyte.String
		e := element{}
		if !s.ReadAnyASN1(&body, &e.tag) {
			return nil, false
		}
		if e.content = body; e.tag&constructed != 0 {
			var ok bool
			if e.parts, ok = readElements(body); !ok {
				return nil, false
			}
		}
		out = append(out, e)
	}
	return out, true
}

// writeElements writes them in DER, with lengths of its own.
func writeElements(b *cryptobyte.Builder, elements []element) {
	for _, e := range elements {
		b.AddASN1(e.tag, func(b *cryptobyte.Builder) {
			if e.tag&constructed == 0 {
				b.AddBytes(e.content)
			}
			writeElements(b, e.parts)
		})
	}
}

// again writes what was read from DER.
func again(der []byte) ([]byte, bool) {
	elements, ok := readElements(der)
	if !ok {
		return nil, false
	}
	var b cryptobyte.Builder
	writeElements(&b, elements)
	out, err := b.Bytes()
	return out, err == nil
}

// accepted reports whether a certificate passes all checks of its own form. Which
// root signed it is not asked: fuzzing cannot make signatures.
func accepted(der []byte) (*x509.Certificate, bool) {
	cert, err := parseCertificate(der)
	if err != nil {
		return nil, false
	}
	_, err = checkExtensions(cert)
	return cert, err == nil && checkUsage(cert) == nil && checkAlgorithm(cert) == nil && checkROCA(cert) == nil
}

// A certificate of acceptable form has this one encoding: what is read from it,
// written again, gives the same bytes, those of its name too, and none are left over.
func FuzzEKCertificate(f *testing.F) {
	v, key := production(f), papertpm.ECCEK("fuzz")
	seeds := 0
	for _, shape := range slices.Concat(vendorca.Genuine(), vendorca.Hostile()) {
		if shape == vendorca.OAEPKey {
			continue
		}
		der := v.issue(f, key.Signer.Public(), shape)
		f.Add(der)
		if _, ok := accepted(der); ok {
			seeds++
		}
	}
	if seeds < 5 {
		f.Fatalf("only %d seeds are acceptable", seeds)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		weigh.Bounded(t, len(der), func() { _, _ = parseCertificate(der) })
		cert, ok := accepted(der)
		if !ok {
			return
		}
		if written, ok := again(der); !ok || !bytes.Equal(written, der) {
			t.Fatalf("%x became %x", der, written)
		}
		if !bytes.Equal(cert.Raw, der) {
			t.Fatal("the certificate is not all of the bytes")
		}
		for _, e := range cert.Extensions {
			if written, ok := again(e.Value); e.Id.Equal(oidSAN) && (!ok || !bytes.Equal(written, e.Value)) {
				t.Fatalf("name %x became %x", e.Value, written)
			}
		}
	})
}

// The comparison can fail: a length in two bytes where one will do.
func TestDERIsWrittenAgain(t *testing.T) {
	v, key := production(t), papertpm.ECCEK("again")
	der := v.issue(t, key.Signer.Public(), vendorca.Plain)
	if written, ok := again(der); !ok || !bytes.Equal(written, der) {
		t.Fatalf("%x became %x", der, written)
	}
	for _, loose := range [][]byte{{0x30, 0x81, 0x03, 2, 1, 5}, {0x30, 0x80, 2, 1, 5, 0, 0}, {0x30, 0x03, 2, 1}} {
		if written, ok := again(loose); ok && bytes.Equal(written, loose) {
			t.Errorf("%x is not DER and passes", loose)
		}
		if _, err := parseName(loose); err == nil {
			t.Errorf("%x is taken as a name", loose)
		}
	}
}
