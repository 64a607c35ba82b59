package account

import (
	"os"
	"testing"
)

func TestDifference(t *testing.T) {
	for _, row := range []struct{ text, file, want string }{
		{"a\nb\n", "a\nb\n", ""},
		{"a\nc\n", "a\nb\n", "line 2\n got c\nwant b"},
		{"a\n", "a\nb\n", "line 2\n got \nwant b"},
		{"a\nb\n\n", "a\nb\n", "4 lines, want 3"},
		{"", "a", "line 1\n got \nwant a"},
	} {
		if got := difference([]byte(row.text), []byte(row.file)); got != row.want {
			t.Errorf("%q, %q: %q", row.text, row.file, got)
		}
	}
	Hold(t, "account_test.go", read(t))
}

func read(t *testing.T) []byte {
	text, err := os.ReadFile("account_test.go")
	if err != nil {
		t.Fatal(err)
	}
	return text
}
