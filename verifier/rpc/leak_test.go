package rpc

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
)

// leak returns the form in which a secret is in a text, or "".
func leak(text string, secret []byte) string {
	for name, form := range map[string]string{
		"plain": string(secret), "hex": hex.EncodeToString(secret), "HEX": strings.ToUpper(hex.EncodeToString(secret)),
		"base64": base64.RawStdEncoding.EncodeToString(secret), "base64url": base64.RawURLEncoding.EncodeToString(secret),
		"base32": base32.StdEncoding.EncodeToString(secret), "%v": strings.Trim(fmt.Sprint(secret), "[]"), "%q": strings.Trim(fmt.Sprintf("%q", secret), `"`),
	} {
		if form != "" && strings.Contains(text, form) {
			return fmt.Sprintf("%x as %s", secret, name)
		}
	}
	return ""
}

// lockedBuffer collects a log.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
