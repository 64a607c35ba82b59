package launch

import (
	"net"
	"os"
	"strings"
	"time"
)

// notify tells systemd, where it asks to be told (sd_notify). It wants no answer
// and a lost message harms nothing, so errors are passed over.
func notify(lines ...string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = conn.Write([]byte(strings.Join(lines, "\n")))
}
