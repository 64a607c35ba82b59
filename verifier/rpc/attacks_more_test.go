package rpc

import (
	"testing"
	"time"

	"golang.org/x/net/http2"

	pb "github.com/quorate/quorate/proto/quorate/v1"
)

// A peer with a good certificate opens streams and resets them as fast as it can.
// It may lose its connection; others are served all the same, before, while and
// after.
func TestA142_StreamsOpenedAndReset(t *testing.T) {
	w := newWorld(t)
	certificate, err := w.key.Certificate()
	must(t, err)
	flood := rawHTTP2(t, w.self.Attest, clientTLS(&certificate))
	seen := flood.Drain()
	done := make(chan int, 1)
	go func() { done <- flood.Reset(20_000, "/quorate.v1.AdministrationService/GetStatus") }()
	calls, opened := 0, 0
	for opened == 0 {
		began := time.Now()
		_, err := w.admin.GetStatus(t.Context(), &pb.GetStatusRequest{})
		must(t, err)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("a healthy client waited %v", took)
		}
		calls++
		select {
		case opened = <-done:
		default:
		}
	}
	_, err = w.admin.GetStatus(t.Context(), &pb.GetStatusRequest{})
	must(t, err)
	must(t, flood.Close())
	t.Logf("%d streams, %d frames back, %d calls by others meanwhile", opened, <-seen, calls)
}

// One connection holds at most so many streams open; the next one is refused, and
// the ones that are open go on.
func TestA142_StreamsOfOneConnection(t *testing.T) {
	w := newWorld(t)
	certificate, err := w.key.Certificate()
	must(t, err)
	c := rawHTTP2(t, w.self.Attest, clientTLS(&certificate))
	var open []uint32
	for range 16 {
		open = append(open, c.headers("/quorate.v1.AdministrationService/GetStatus"))
	}
	over := c.headers("/quorate.v1.AdministrationService/GetStatus")
	if got := c.outcome(over); got != http2.ErrCodeRefusedStream.String() {
		t.Errorf("the stream over the bound: %s", got)
	}
	must(t, c.WriteData(open[0], true, []byte{0, 0, 0, 0, 0}))
	if got := c.outcome(open[0]); got != "0" {
		t.Errorf("the twin: %s", got)
	}
}
