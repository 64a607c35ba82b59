package site

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// FreeAddress returns a loopback address that is free and stays so until it is
// bound: a port that the kernel chose on a random host of 127.0.0.0/8. On
// 127.0.0.1 itself the next outgoing connection of any process may take the port.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(LoopbackHost(), "0"))
	if err != nil {
		return "", fmt.Errorf("find a free address: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// LoopbackHost returns a random host of 127.0.0.0/8 but not 127.0.0.1.
func LoopbackHost() string {
	return fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), 1+rand.IntN(254), 1+rand.IntN(254))
}
