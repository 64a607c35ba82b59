package admission_test

import (
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
)

// A ledger's check is the whole check, for the party that the bundle names.
func TestVerifyNamed(t *testing.T) {
	n := twoOfTwo(t)
	b := n.bundle(nil)
	a, err := n.VerifyNamed(b, now)
	if err != nil || a.Node() != n.statement(0).Node || len(a.Statements()) != 2 {
		t.Fatalf("%+v %v", a, err)
	}
	for check, bad := range map[admission.CheckID][]byte{
		admission.Malformed: append([]byte("x"), b...),
		admission.Threshold: marshal(t, n.item(0, nil)),
		admission.NotMember: n.bundle(func(s *admission.Statement) { s.Node = "org-x/validator-1" }),
		admission.NotYet:    n.bundle(func(s *admission.Statement) { s.NotBefore = now.Add(time.Hour) }),
		admission.Disagree:  marshal(t, n.item(0, nil), n.item(1, func(s *admission.Statement) { s.Role = "observer" })),
	} {
		_, err := n.VerifyNamed(bad, now)
		if check == admission.Disagree { // the second is not for whom the first names
			check = admission.OtherRole
		}
		wantRefusal(t, err, check)
	}
	var none *admission.Consortium
	_, err = none.VerifyNamed(b, now)
	wantRefusal(t, err, admission.Unpinned)
}

// What was verified before answers for the same bytes, by the same file, from then
// on, until its end; for anything else it is no answer, and the whole check is made.
func TestNamedBefore(t *testing.T) {
	n := twoOfTwo(t)
	b := n.bundle(nil)
	a, err := n.Named(b, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	bearer, err := n.VerifyBundle(b, n.want(), now)
	if err != nil {
		t.Fatal(err)
	}
	other := newNetwork(t, options{verifiers: 2, k: 2, witnesses: 2, w: 1}) // the same keys, another file
	for name, c := range map[string]struct {
		by     *admission.Consortium
		bundle []byte
		before *admission.Admission
		now    time.Time
		same   bool
	}{
		"the same":             {n.Consortium, b, a, now, true},
		"later":                {n.Consortium, b, a, a.NotAfter().Add(-time.Second), true},
		"nothing":              {n.Consortium, b, nil, now, false},
		"the zero one":         {n.Consortium, b, &admission.Admission{}, now, false},
		"checked for a bearer": {n.Consortium, b, bearer, now, false},
		"other bytes":          {n.Consortium, n.bundle(func(s *admission.Statement) { s.Epoch.Restart++ }), a, now, false},
		"another file":         {other.Consortium, b, a, now, false},
		"earlier":              {n.Consortium, b, a, now.Add(-time.Second), false},
	} {
		got, err := c.by.Named(c.bundle, c.before, c.now)
		if err != nil || (got == c.before) != c.same {
			t.Errorf("%s: the same %t, %v", name, got == c.before, err)
		}
	}
	_, err = n.Named(b, a, a.NotAfter())
	wantRefusal(t, err, admission.Expired)
	_, err = n.Named(b[:len(b)-1], a, now)
	wantRefusal(t, err, admission.Malformed)
}
