package gate

import "testing"

func TestOpen(t *testing.T) {
	if Open(0) || !Open(2) || Open(4) { // 1 and 3 are missed
		t.Error("wrong")
	}
}

func TestLoop(t *testing.T) {
	if Loop(3) != 6 {
		t.Error("wrong")
	}
}
