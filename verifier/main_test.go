package verifier

import (
	"flag"
	"log/slog"
	"os"
	"testing"

	"github.com/quorate/quorate/verifier/journal"
)

// TestMain runs more tests side by side than there are processors: they wait for
// checkpoints most of the time.
func TestMain(m *testing.M) {
	flag.Parse()
	journal.LogTo(slog.New(slog.DiscardHandler))
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
