package ima_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/simulator/account"
	"github.com/quorate/quorate/verifier/ima"
	"github.com/quorate/quorate/verifier/verdict"
)

// TestAccount holds every field of what is read, and every refusal with its
// words, against an account that was read by a person.
func TestAccount(t *testing.T) {
	var out bytes.Buffer
	for _, c := range cases() {
		fmt.Fprintf(&out, "%s\n", c.name)
		s, err := c.list.replay()
		if err != nil {
			tellRefusal(&out, err)
		} else {
			for e := range s.Entries() {
				tellEntry(&out, e)
			}
		}
		if _, readErr := ima.Read(c.list.raw, ima.DefaultLimits); readErr != nil && (err == nil || readErr.Error() != err.Error()) {
			fmt.Fprintf(&out, "  read without a quote: %v\n", readErr)
		}
	}
	account.Hold(t, "testdata/account.txt", out.Bytes())
}

func tellRefusal(out *bytes.Buffer, err error) {
	var r *verdict.Refusal
	if !errors.As(err, &r) {
		fmt.Fprintf(out, "  no refusal: %v\n", err)
		return
	}
	fmt.Fprintf(out, "  refused by %s at %q: got %q, want %q\n", r.Check, r.Where, r.Got, r.Want)
}

func tellEntry(out *bytes.Buffer, e ima.Entry) {
	fmt.Fprintf(out, "  %d at %d: %s %s %.24s… %q, %d of signature, %q, data of %d\n",
		e.Index, e.Offset, e.Kind, e.Template, e.DigestText(), e.Path, len(e.Signature), e.Buffer, len(e.Data))
}

type counted struct {
	name string
	list *list
}

// cases are lists whose PCR 10 fits them, each with one oddity.
func cases() []counted {
	aggregate := ima.BootAggregate(bootPCRs)
	all := []counted{
		{"no entry", new(list)},
		{"only a boot_aggregate", newList()},
		{"files", newList().file("/bin/a").add("ima-sig", content("b"), path("/bin/b"), nil).file("/bin/c")},
		{"the aggregate's digest under another name", new(list).add("ima-ng", digest("sha256", aggregate[:]), path("/x"))},
		{"another file first", new(list).add("ima-sig", content("x"), path("/x"), signatureV2(9))},
		{"an aggregate of zeros", new(list).add("ima-ng", digest("sha256", make([]byte, 32)), path("boot_aggregate"))},
		{"an aggregate in SHA-512", new(list).add("ima-ng", digest("sha512", make([]byte, 64)), path("boot_aggregate"))},
		{"a second aggregate", newList().add("ima-ng", digest("sha256", aggregate[:]), path("boot_aggregate"))},
		{"a second aggregate, violated", newList().violation("ima-ng", digest("sha256", make([]byte, 20)), path("boot_aggregate"))},
		{"a file in PCR 11", newList().addData(11, "ima-ng", fields(content("f"), path("/f")))},
		{"a violated buffer with other content", newList().violation("ima-buf", digest("sha256", make([]byte, 32)), path("key"), []byte("k"))},
		{"an empty buffer", newList().add("ima-buf", content(""), path("key"), nil)},
		{"an appended signature", newList().add("ima-modsig", content("m"), path("/m.ko"), signatureV2(1), content("n"), []byte("s"))},
		{"a field of zero bytes for a digest", newList().add("ima-ng", []byte{0}, path("/f"))},
		{"no colon", newList().add("ima-ng", make([]byte, 40), path("/f"))},
	}
	for _, n := range []int{63, 64, 65} {
		all = append(all,
			counted{fmt.Sprintf("a template of %d letters", n), newList().add(strings.Repeat("t", n), content("f"), path("/f"))},
			counted{fmt.Sprintf("a digest algorithm of %d letters", n), newList().add("ima-ng", digest(strings.Repeat("a", n), make([]byte, 32)), path("/f"))})
	}
	for _, alg := range []string{"sha1", "sha256", "sha384", "sha512", "md5", ""} {
		for _, n := range []int{0, 19, 20, 21, 31, 32, 33, 47, 48, 49, 63, 64, 65} {
			d := digest(alg, make([]byte, n))
			all = append(all,
				counted{fmt.Sprintf("%d bytes of %q", n, alg), newList().add("ima-sig", d, path("/f"), nil)},
				counted{fmt.Sprintf("%d bytes of %q, violated", n, alg), newList().violation("ima-sig", d, path("/f"), nil)},
				counted{fmt.Sprintf("%d bytes of %q under a signature", n, alg), newList().add("ima-modsig", content("m"), path("/m"), nil, d, []byte("s"))})
		}
	}
	for _, d := range [][]byte{nil, {0}, {0, 0}, []byte("sha1"), []byte("sha1:"), []byte("sha1:\x00"), []byte(":\x00"), []byte("sha1:x12345678901234567890")} {
		for _, sig := range []string{"", "s"} {
			all = append(all, counted{fmt.Sprintf("digest %q, appended %q", d, sig), newList().add("ima-modsig", content("m"), path("/m"), nil, d, []byte(sig))})
		}
	}
	for _, n := range []int{0, 1, 2} {
		all = append(all, counted{fmt.Sprintf("a signature of %d bytes", n), newList().add("ima-sig", content("f"), path("/f"), signatureV2(n))})
	}
	for _, hash := range []byte{22, 23, 24, 25} {
		sig := signatureV2(20)
		sig[2] = hash
		all = append(all, counted{fmt.Sprintf("signature hash %d", hash), newList().add("ima-sig", content("f"), path("/f"), sig)})
	}
	whole := newList().add("ima-sig", content("f"), path("/f"), nil)
	for n := range whole.raw {
		all = append(all, counted{fmt.Sprintf("cut at %d", n), &list{raw: whole.raw[:n], pcr: whole.pcr}})
	}
	return all
}

// Every byte of a name is looked at, wherever it stands, on the short way and on
// the long one.
func TestEveryByteOfANameCounts(t *testing.T) {
	for size := 1; size <= 33; size++ {
		for at := range size {
			for _, c := range []byte{0, 0x1f, 0x20, 0x7e, 0x7f, 0x80, 0xff} {
				name := bytes.Repeat([]byte("n"), size)
				name[at] = c
				for _, l := range []*list{newList().file(string(name)), newList().add("ima-sig", content("f"), path(string(name)), signatureV2(3))} {
					_, err := l.replay()
					if c >= 0x20 && c != 0x7f {
						if err != nil {
							t.Fatalf("%q: %v", name, err)
						}
						continue
					}
					r := mustRefuse(t, err, verdict.IMAPath)
					if want := fmt.Sprintf("a name with byte 0x%02x", c); r.Got != want {
						t.Fatalf("%q: %s", name, r.Got)
					}
				}
			}
		}
	}
}

func TestDefaultLimits(t *testing.T) {
	if want := (ima.Limits{Bytes: 67108864, Data: 1048576, Path: 4096, Suffix: 1048576}); ima.DefaultLimits != want {
		t.Errorf("got %+v", ima.DefaultLimits)
	}
}

// What is exactly as large as a limit allows passes, one byte more is refused by
// the check of that limit.
func TestLimitsToTheByte(t *testing.T) {
	behind := newList().file("/bin/evil").raw[101:]
	for name, l := range map[string]*list{
		"plain": newList().file("/bin/good"),
		"long":  newList().add("ima-sig", content("f"), path("/bin/good"), signatureV2(50)),
	} {
		entries := slices.Collect(mustPass(t, l).Entries())
		data := max(len(entries[0].Data), len(entries[1].Data))
		exact := ima.Limits{Bytes: len(l.raw) + len(behind), Data: data, Path: len("boot_aggregate"), Suffix: len(behind)}
		raw := append(bytes.Clone(l.raw), behind...)
		if s, err := ima.Replay(ima.State{}, raw, l.quoted(), exact); err != nil || s.Ignored != len(behind) || !bytes.Equal(s.Bytes(), l.raw) {
			t.Errorf("%s: at the limits: %v", name, err)
		}
		for check, lim := range map[verdict.CheckID]ima.Limits{
			verdict.IMASize:   {Bytes: exact.Bytes - 1, Data: exact.Data, Path: exact.Path, Suffix: exact.Suffix},
			verdict.IMAPath:   {Bytes: exact.Bytes, Data: exact.Data, Path: exact.Path - 1, Suffix: exact.Suffix},
			verdict.IMASuffix: {Bytes: exact.Bytes, Data: exact.Data, Path: exact.Path, Suffix: exact.Suffix - 1},
		} {
			_, err := ima.Replay(ima.State{}, raw, l.quoted(), lim)
			mustRefuse(t, err, check)
		}
		short := exact
		short.Data--
		_, err := ima.Replay(ima.State{}, raw, l.quoted(), short)
		mustRefuse(t, err, verdict.IMASize)
	}
}

// A file whose data or name is just too large is refused where it stands.
func TestLimitsOfPlainFiles(t *testing.T) {
	l := newList().file("/bin/a/rather/long/name").file("/bin/b")
	first := slices.Collect(mustPass(t, l).Entries())[1]
	lim := ima.DefaultLimits
	lim.Data = len(first.Data) - 1
	_, err := ima.Replay(ima.State{}, l.raw, l.quoted(), lim)
	if r := mustRefuse(t, err, verdict.IMASize); r.Where != "IMA entry 1 (offset 101)" {
		t.Error(r.Where)
	}
	lim = ima.DefaultLimits
	lim.Path = len(first.Path) - 1
	_, err = ima.Replay(ima.State{}, l.raw, l.quoted(), lim)
	if r := mustRefuse(t, err, verdict.IMAPath); r.Got != "a name of 23 bytes" || r.Want != "at most 22" {
		t.Error(r)
	}
}

// A register of zeros is odd beside a list from its start only.
func TestZeroRegisterLater(t *testing.T) {
	l := newList()
	start, at := mustPass(t, l).End, len(l.raw)
	l.file("/bin/a")
	_, err := ima.Replay(start, l.raw[at:], ima.Quoted{}, ima.DefaultLimits)
	mustRefuse(t, err, verdict.IMAReplay)
}

func TestReadIsBounded(t *testing.T) {
	l := newList().file("/bin/a")
	lim := ima.DefaultLimits
	lim.Bytes = len(l.raw)
	if u, err := ima.Read(l.raw, lim); err != nil || u.Entries != 2 {
		t.Fatal(err)
	}
	lim.Bytes--
	_, err := ima.Read(l.raw, lim)
	if r := mustRefuse(t, err, verdict.IMASize); r.Got != fmt.Sprintf("%d bytes of list", len(l.raw)) {
		t.Error(r.Got)
	}
}

// Registers of unquoted lists are as a TPM would have them, violations included.
func TestReadExtendsViolations(t *testing.T) {
	l := newList().violation("ima-ng", digest("sha256", make([]byte, 20)), path("/x")).file("/bin/a")
	u, err := ima.Read(l.raw, ima.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	if got := u.PCR10(crypto.SHA256); !bytes.Equal(got, l.pcr[:]) {
		t.Errorf("got %x, want %x", got, l.pcr)
	}
	if got := u.PCR10(crypto.Hash(0)); got != nil {
		t.Errorf("a hash that is not there: %x", got)
	}
	if got := (&ima.Unverified{}).PCR10(crypto.SHA256); !bytes.Equal(got, make([]byte, sha256.Size)) {
		t.Errorf("no entries: %x", got)
	}
}

// Reaching the end of verified entries allocates no more than stopping before it.
func TestEndAllocatesNothing(t *testing.T) {
	s := mustPass(t, newList().file("/bin/a").file("/bin/b"))
	unknown := func(_, _ [][]byte, known []bool) { clear(known) }
	for name, entries := range map[string]iter.Seq[ima.Entry]{"entries": s.Entries(), "except": s.Except(0, unknown)} {
		whole := testing.AllocsPerRun(20, func() {
			for range entries {
			}
		})
		stopped := testing.AllocsPerRun(20, func() {
			for e := range entries {
				if e.Index == 2 {
					break
				}
			}
		})
		if whole != stopped {
			t.Errorf("%s: %v allocations to the end, %v if stopped before it", name, whole, stopped)
		}
	}
}
