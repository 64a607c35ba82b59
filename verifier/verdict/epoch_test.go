package verdict_test

import (
	"encoding/json"
	"testing"

	"github.com/quorate/quorate/verifier/verdict"
)

func TestEpochText(t *testing.T) {
	for text, want := range map[string]verdict.Epoch{
		"0/0": {}, "4/0": {Reset: 4}, "1/2": {Reset: 1, Restart: 2}, "4294967295/4294967295": {Reset: 1<<32 - 1, Restart: 1<<32 - 1},
	} {
		got, err := verdict.ParseEpoch(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "4", "/", "4/", "/0", "04/0", "4/00", "+4/0", "-1/0", "4/0/0", "4 /0", "4294967296/0", "0x4/0", "4/0\n"} {
		if e, err := verdict.ParseEpoch(text); err == nil {
			t.Errorf("%q is epoch %v", text, e)
		}
	}
}

func TestEpochJSON(t *testing.T) {
	b, err := json.Marshal(verdict.Epoch{Reset: 4, Restart: 1})
	if err != nil || string(b) != `"4/1"` {
		t.Fatalf("%s, %v", b, err)
	}
	var e verdict.Epoch
	if err := json.Unmarshal(b, &e); err != nil || e != (verdict.Epoch{Reset: 4, Restart: 1}) {
		t.Errorf("%v, %v", e, err)
	}
	if err := json.Unmarshal([]byte(`"x"`), &e); err == nil {
		t.Error("x is an epoch")
	}
}

func TestEpochOrder(t *testing.T) {
	inOrder := []verdict.Epoch{{}, {Restart: 1}, {Reset: 1}, {Reset: 1, Restart: 1<<32 - 1}, {Reset: 2}}
	for i, a := range inOrder {
		for j, b := range inOrder {
			if got := a.Compare(b); got > 0 != (i > j) || got < 0 != (i < j) {
				t.Errorf("%v against %v: %d", a, b, got)
			}
		}
	}
}
