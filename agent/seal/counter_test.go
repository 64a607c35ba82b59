package seal

import (
	"testing"

	"github.com/google/go-tpm/tpm2"
)

func TestCounterNeverGoesBack(t *testing.T) {
	h := newHost(t)
	if n, err := Counted(t.Context(), h.dev); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	count := func() uint64 {
		t.Helper()
		n, err := Count(t.Context(), h.dev)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Counted(t.Context(), h.dev); again != n || err != nil {
			t.Errorf("read %d, raised to %d: %v", again, n, err)
		}
		return n
	}
	first := count()
	if second := count(); second != first+1 {
		t.Errorf("%d after %d", second, first)
	}
	h.reboot()
	last := count()
	if last != first+2 {
		t.Errorf("%d after a reboot and %d", last, first+1)
	}
	index, err := counterPublic(h.tpm)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tpm2.NVUndefineSpace{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}, NVIndex: named(index),
	}.Execute(h.tpm)
	if err != nil {
		t.Fatal(err)
	}
	if again := count(); again <= last {
		t.Errorf("a counter made anew counts %d after %d", again, last)
	}
	h.empty()
}

func TestCounterNeedsTheIndex(t *testing.T) {
	h := newHost(t)
	_, err := tpm2.NVDefineSpace{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
			NVIndex: counterIndex, NameAlg: tpm2.TPMAlgSHA256, DataSize: 8, Attributes: tpm2.TPMANV{AuthRead: true, AuthWrite: true},
		}),
	}.Execute(h.tpm)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Count(t.Context(), h.dev) // ordinary memory could be written back
	refused(t, err, Rollback)
	other := newHost(t)
	_, err = tpm2.HierarchyChangeAuth{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}, NewAuth: tpm2.TPM2BAuth{Buffer: []byte("owner")},
	}.Execute(other.tpm)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Count(t.Context(), other.dev)
	refused(t, err, OwnerAuth)
}
