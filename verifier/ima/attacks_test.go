package ima_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/verifier/ima"
	"github.com/quorate/quorate/verifier/verdict"
)

func TestA117_ListTruncated(t *testing.T) {
	l := newList().file("/bin/good").file("/bin/evil").file("/bin/more")
	mustPass(t, l)
	for i, end := range append([]int{0}, l.ends[:len(l.ends)-1]...) {
		_, err := ima.Replay(ima.State{}, l.raw[:end], l.quoted(), ima.DefaultLimits)
		mustRefuse(t, err, verdict.IMAReplay)
		if end > 0 {
			_, err = ima.Replay(ima.State{}, l.raw[:end-1], l.quoted(), ima.DefaultLimits)
			mustRefuse(t, err, verdict.IMAFormat)
		}
		without := slices.Concat(l.raw[:end], l.raw[l.ends[i]:]) // an entry left out
		if _, err := ima.Replay(ima.State{}, without, l.quoted(), ima.DefaultLimits); err == nil {
			t.Fatalf("the list replays without entry %d", i)
		}
	}
}

func TestA118_EntriesBehindTheMatch(t *testing.T) {
	l := newList().file("/bin/good")
	quoted, start := l.quoted(), mustPass(t, l).End
	evil := bytes.Clone(newList().file("/bin/evil").raw[l.ends[0]:])
	s, err := ima.Replay(ima.State{}, append(bytes.Clone(l.raw), evil...), quoted, ima.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	if s.Ignored != len(evil) || s.Len() != 2 || s.End != start || len(slices.Collect(s.Entries())) != 2 {
		t.Fatalf("a forged suffix has an effect: %+v, %d ignored", s.End, s.Ignored)
	}
	// Next round the same bytes have to lead to the quoted value.
	quoted.PCR10 = sha256.Sum256([]byte("what the TPM really holds"))
	_, err = ima.Replay(s.End, evil, quoted, ima.DefaultLimits)
	mustRefuse(t, err, verdict.IMAReplay)

	lim := ima.DefaultLimits
	lim.Suffix = len(evil) - 1
	_, err = ima.Replay(ima.State{}, append(bytes.Clone(l.raw), evil...), l.quoted(), lim)
	mustRefuse(t, err, verdict.IMASuffix)
}

func TestA119_Violations(t *testing.T) {
	for _, zeros := range []int{20, 32} { // older and newer kernels
		l := newList().violation("ima-ng", digest("sha256", make([]byte, zeros)), path("/etc/passwd")).file("/bin/next")
		entries := slices.Collect(mustPass(t, l).Entries())
		if !entries[1].Violation() || string(entries[1].Path) != "/etc/passwd" || entries[2].Violation() {
			t.Fatalf("violation not flagged: %+v", entries[1])
		}
	}
	// The twin: the same file measured without a violation.
	if e := slices.Collect(mustPass(t, newList().file("/etc/passwd")).Entries()); e[1].Violation() {
		t.Error("a measurement is flagged as violation")
	}
	refused(t, newList().violation("ima-ng", content("/etc/passwd"), path("/etc/passwd")), verdict.IMADigest)
	refused(t, newList().violation("ima-ng", digest("sha256", make([]byte, 21)), path("/etc/passwd")), verdict.IMADigest)

	// A TPM that was extended with the template digest saw no violation.
	data := fields(digest("sha256", make([]byte, 20)), path("/x"))
	refused(t, newList().addRaw(ima.PCR, [20]byte{}, sha256.Sum256(data), "ima-ng", data), verdict.IMAReplay)
	// A zero digest of a file is no violation unless the list says so.
	if e := slices.Collect(mustPass(t, newList().add("ima-ng", digest("sha256", make([]byte, 32)), path("/x"))).Entries()); e[1].Violation() {
		t.Error("a zero file digest is flagged as violation")
	}
}

func TestA120_TemplateConfusion(t *testing.T) {
	ng := [][]byte{content("f"), path("/f")}
	sig := slices.Concat(ng, [][]byte{nil})
	mustPass(t, newList().add("ima-ng", ng...))
	mustPass(t, newList().add("ima-sig", sig...))
	refused(t, newList().add("ima-sig", ng...), verdict.IMAFormat)
	refused(t, newList().add("ima-ng", sig...), verdict.IMAFormat)
	refused(t, newList().add("ima-modsig", sig...), verdict.IMAFormat)
	for _, name := range []string{"", "ima", "evm-sig", "ima-ngv2", "d-ng|n-ng", "ima-ng\x00", "IMA-NG", strings.Repeat("x", 100)} {
		refused(t, newList().add(name, ng...), verdict.IMATemplate)
	}
	// The second versions name what was digested: the file, or its fs-verity tree.
	for _, kind := range []string{"ima:sha256", "verity:sha256"} {
		typed := [][]byte{digest(kind, make([]byte, 32)), path("/f")}
		refused(t, newList().add("ima-ngv2", typed...), verdict.IMATemplate)
		refused(t, newList().add("ima-sigv2", append(typed, nil)...), verdict.IMATemplate)
		refused(t, newList().add("ima-ng", typed...), verdict.IMAFormat)
	}
	refused(t, newList().addData(ima.PCR, "ima-ng", append(fields(ng...), 0)), verdict.IMAFormat)
	refused(t, newList().addData(ima.PCR, "ima-ng", append(fields(ng...), 0xff, 0xff, 0xff, 0xff)), verdict.IMAFormat)
	refused(t, newList().addData(ima.PCR, "ima-ng", nil), verdict.IMAFormat)
	for _, pcr := range []uint32{0, 9, 11, 1 << 31} {
		refused(t, newList().addData(pcr, "ima-ng", fields(ng...)), verdict.IMAPCR)
	}
}

func TestA121_NamesWithControlCharacters(t *testing.T) {
	mustPass(t, newList().file("/opt/a_name_with_ünicode"))
	mustPass(t, newList().file("/"+strings.Repeat("n", ima.DefaultLimits.Path-1)))
	for _, name := range []string{
		"", "x\n10 0000 ima-ng sha256:00 /bin/good", "tab\t", "esc\x1b[2J", "del\x7f", "nul\x00inside", "cr\r",
		strings.Repeat("n", ima.DefaultLimits.Path+1),
	} {
		refused(t, newList().file(name), verdict.IMAPath)
	}
	refused(t, newList().add("ima-ng", content("f"), []byte("/no/nul")), verdict.IMAPath)
	refused(t, newList().add("ima-ng", content("f"), nil), verdict.IMAPath)
}

func TestA122_BootAggregate(t *testing.T) {
	aggregate := ima.BootAggregate(bootPCRs)
	mustPass(t, newList())

	refused(t, new(list).file("/sbin/init"), verdict.IMABootAggregate)
	refused(t, newList().add("ima-ng", digest("sha256", aggregate[:]), path("boot_aggregate")), verdict.IMABootAggregate)
	refused(t, newList().add("ima-buf", content("b"), path("boot_aggregate"), []byte("b")), verdict.IMABootAggregate)
	refused(t, newList().violation("ima-ng", digest("sha256", make([]byte, 20)), path("boot_aggregate")), verdict.IMABootAggregate)
	refused(t, new(list).violation("ima-ng", digest("sha256", make([]byte, 20)), path("boot_aggregate")), verdict.IMABootAggregate)

	var old []byte // what kernels before 5.8 measure: PCRs 0 to 7
	for _, pcr := range bootPCRs[:8] {
		old = append(old, pcr[:]...)
	}
	short, sha := sha256.Sum256(old), sha1.Sum(old)
	for _, d := range [][]byte{
		digest("sha256", short[:]), digest("sha1", sha[:]), digest("sha256", make([]byte, 32)),
		digest("sha512", append(aggregate[:], aggregate[:]...)),
	} {
		refused(t, new(list).add("ima-ng", d, path("boot_aggregate")), verdict.IMABootAggregate)
	}
	// A SHA-1 value in a SHA-256 field.
	refused(t, new(list).add("ima-ng", digest("sha256", sha[:]), path("boot_aggregate")), verdict.IMADigest)
}

func TestA123_PaddedSHA1InTheSHA256Bank(t *testing.T) {
	data := fields(content("/bin/f"), path("/bin/f"))
	recorded := sha1.Sum(data)
	var padded [32]byte
	copy(padded[:], recorded[:])
	mustPass(t, newList().addRaw(ima.PCR, recorded, sha256.Sum256(data), "ima-ng", data))
	refused(t, newList().addRaw(ima.PCR, recorded, padded, "ima-ng", data), verdict.IMAReplay)

	// The digest beside the entry is of another bank: nothing is built on it.
	mustPass(t, newList().addRaw(ima.PCR, sha1.Sum([]byte("other data")), sha256.Sum256(data), "ima-ng", data))

	mustPass(t, newList().add("ima-ng", digest("sha512", make([]byte, 64)), path("/f")))
	mustPass(t, newList().add("ima-ng", digest("sha384", make([]byte, 48)), path("/f")))
	for _, d := range [][]byte{
		digest("md5", make([]byte, 16)), digest("", make([]byte, 32)), digest("SHA256", make([]byte, 32)),
	} {
		refused(t, newList().add("ima-ng", d, path("/f")), verdict.IMADigest)
	}
	for _, n := range []int{0, 20, 31, 33} {
		refused(t, newList().add("ima-ng", digest("sha256", make([]byte, n)), path("/f")), verdict.IMADigest)
	}
	for _, d := range [][]byte{nil, []byte("sha256"), []byte("sha256:"), append([]byte("sha256:x"), make([]byte, 32)...)} {
		refused(t, newList().add("ima-ng", d, path("/f")), verdict.IMAFormat)
	}
}

func TestA124_NoListOrNoPCR10(t *testing.T) {
	l := newList().file("/bin/f")
	mustPass(t, l)
	_, err := ima.Replay(ima.State{}, nil, l.quoted(), ima.DefaultLimits)
	mustRefuse(t, err, verdict.IMAReplay)
	_, err = ima.Replay(ima.State{}, l.raw, ima.Quoted{BootAggregate: l.quoted().BootAggregate}, ima.DefaultLimits)
	mustRefuse(t, err, verdict.IMAReset)
	// A host without IMA is for the policy to judge: nothing was measured.
	s, err := ima.Replay(ima.State{}, nil, ima.Quoted{}, ima.DefaultLimits)
	if err != nil || s.Len() != 0 || s.End != (ima.State{}) {
		t.Fatalf("no list and no measurement: %+v, %v", s, err)
	}
}

// signatureV2 is a well-formed attribute over n bytes of signature.
func signatureV2(n int) []byte {
	b := []byte{3, 2, 4, 0xde, 0xad, 0xbe, 0xef}
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	return append(b, bytes.Repeat([]byte{0x5a}, n)...)
}

func TestA125_MalformedSignatureIsNotNoSignature(t *testing.T) {
	add := func(sig []byte) *list { return newList().add("ima-sig", content("f"), path("/f"), sig) }
	if e := slices.Collect(mustPass(t, add(signatureV2(64))).Entries()); len(e[1].Signature) != 73 {
		t.Errorf("signature of %d bytes", len(e[1].Signature))
	}
	mustPass(t, add(nil))
	for _, b := range []byte{5, 6} {
		sig := signatureV2(64)
		sig[0], sig[1] = b, 3
		mustPass(t, add(sig))
	}
	good := signatureV2(64)
	for i := 1; i < len(good); i++ {
		refused(t, add(good[:i]), verdict.IMASignature)
	}
	refused(t, add(append(bytes.Clone(good), 0)), verdict.IMASignature)
	for _, change := range []struct {
		at    int
		value byte
	}{{0, 0}, {0, 1}, {0, 2}, {0, 4}, {0, 7}, {1, 1}, {1, 4}, {2, 200}, {7, 1}, {8, 63}} {
		sig := bytes.Clone(good)
		sig[change.at] = change.value
		refused(t, add(sig), verdict.IMASignature)
	}
}

func TestModsig(t *testing.T) {
	add := func(d, sig []byte) *list {
		return newList().add("ima-modsig", content("m"), path("/m.ko"), nil, d, sig)
	}
	mustPass(t, add(nil, nil))
	mustPass(t, add(content("unsigned m"), []byte("pkcs7")))
	refused(t, add(content("unsigned m"), nil), verdict.IMAFormat)
	refused(t, add(nil, []byte("pkcs7")), verdict.IMAFormat)
	refused(t, add([]byte("sha256:\x00short"), []byte("pkcs7")), verdict.IMADigest)
}

func TestA130_Kexec(t *testing.T) {
	command := []byte("root=/dev/vda2 init=/bin/sh")
	sum := sha256.Sum256(command)
	l := newList().add("ima-buf", digest("sha256", sum[:]), path("kexec-cmdline"), command)
	e := slices.Collect(mustPass(t, l).Entries())[1]
	if e.Kind != ima.KindKexec || !bytes.Equal(e.Buffer, command) {
		t.Errorf("kind %v, buffer %q", e.Kind, e.Buffer)
	}
	// The twins: a buffer that is no kexec, and a file that is merely named so.
	if e := slices.Collect(mustPass(t, newList().add("ima-buf", digest("sha256", sum[:]), path(".ima"), command)).Entries()); e[1].Kind != ima.KindBuffer {
		t.Errorf("a key is %v", e[1].Kind)
	}
	if e := slices.Collect(mustPass(t, newList().file("kexec-cmdline")).Entries()); e[1].Kind != ima.KindFile {
		t.Errorf("a file is %v", e[1].Kind)
	}
	one, three, five := sha1.Sum(command), sha512.Sum384(command), sha512.Sum512(command)
	for alg, sum := range map[string][]byte{"sha1": one[:], "sha384": three[:], "sha512": five[:]} {
		mustPass(t, newList().add("ima-buf", digest(alg, sum), path("key"), command))
		refused(t, newList().add("ima-buf", digest(alg, make([]byte, len(sum))), path("key"), command), verdict.IMADigest)
	}
	refused(t, newList().add("ima-buf", content("else"), path("kexec-cmdline"), command), verdict.IMADigest)
	refused(t, newList().add("ima-buf", content(""), path("kexec-cmdline"), nil), verdict.IMADigest)
}

func TestA132_IncrementalState(t *testing.T) {
	epoch := verdict.Epoch{Reset: 4}
	l := newList().file("/bin/a")
	first, err := ima.Replay(ima.State{Epoch: epoch}, l.raw, l.quoted(), ima.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	at := len(l.raw)
	l.file("/bin/b").file("/bin/c")
	next, err := ima.Replay(first.End, l.raw[at:], l.quoted(), ima.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	if next.Start != first.End || next.End.Entries != 4 || next.End.Bytes != uint64(len(l.raw)) || next.End.Epoch != epoch {
		t.Fatalf("continued to %+v", next.End)
	}
	if e := slices.Collect(next.Entries()); len(e) != 2 || e[0].Index != 2 || e[0].Offset != uint64(at) {
		t.Fatalf("entries %+v", e)
	}
	same, err := ima.Replay(next.End, nil, l.quoted(), ima.DefaultLimits)
	if err != nil || same.Len() != 0 || same.End != next.End {
		t.Fatalf("nothing new: %+v, %v", same, err)
	}
	// The list from its start again, from too far, and from too early.
	_, err = ima.Replay(first.End, l.raw, l.quoted(), ima.DefaultLimits)
	mustRefuse(t, err, verdict.IMABootAggregate)
	_, err = ima.Replay(first.End, l.raw[l.ends[2]:], l.quoted(), ima.DefaultLimits)
	mustRefuse(t, err, verdict.IMAReplay)
	_, err = ima.Replay(first.End, l.raw[l.ends[0]:], l.quoted(), ima.DefaultLimits)
	mustRefuse(t, err, verdict.IMAReplay)
	// Another head than the one verified.
	_, err = ima.Replay(first.End, newList().file("/bin/x").file("/bin/c").raw[l.ends[0]:], l.quoted(), ima.DefaultLimits)
	mustRefuse(t, err, verdict.IMAReplay)
}

func TestA133_GiantList(t *testing.T) {
	l := newList()
	for len(l.raw) < 1<<20 {
		l.file("/usr/lib/x86_64-linux-gnu/libexample.so.1.2.3")
	}
	if allocs := testing.AllocsPerRun(3, func() { mustPass(t, l) }); allocs > 3 {
		t.Errorf("replaying %d entries allocated %v times", len(l.ends), allocs)
	}

	lim := ima.DefaultLimits
	lim.Bytes = len(l.raw) - 1
	_, err := ima.Replay(ima.State{}, l.raw, l.quoted(), lim)
	mustRefuse(t, err, verdict.IMASize)

	lim = ima.DefaultLimits
	lim.Data = 10
	_, err = ima.Replay(ima.State{}, l.raw, l.quoted(), lim)
	mustRefuse(t, err, verdict.IMASize)

	for _, at := range []int{24, 34} { // lengths of the first entry's name and data
		huge := bytes.Clone(l.raw)
		binary.LittleEndian.PutUint32(huge[at:], 0xffffffff)
		_, err = ima.Replay(ima.State{}, huge, l.quoted(), ima.DefaultLimits)
		mustRefuse(t, err, verdict.IMAFormat)
	}
}
