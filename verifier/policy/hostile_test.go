package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A text within the limits may be as repetitive as its author likes. Reading it
// must not take the square of its length.
func TestRefusesLongListsQuickly(t *testing.T) {
	var names strings.Builder
	for i := 0; names.Len() < MaxPolicy-2048; i++ {
		fmt.Fprintf(&names, "r%d,", i)
	}
	for name, text := range map[string]string{
		"roles":     edit(t, minimal, "roles: [validator]", "roles: ["+names.String()+"x]"),
		"manifests": edit(t, minimal, "images: {manifests: [boot]}", "images: {manifests: ["+names.String()+"boot]}"),
		"nested":    strings.Repeat("[", MaxPolicy),
		"keys":      strings.Repeat("a: b\n", MaxPolicy/5),
	} {
		began := time.Now()
		if p, err := Parse([]byte(text)); err == nil {
			_, _ = NewSet(p, nil)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: %v", name, took)
		}
	}
}
