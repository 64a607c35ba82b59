package signer

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/libs/protoio"
	p2pconn "github.com/cometbft/cometbft/p2p/conn"
	"github.com/cometbft/cometbft/privval"
	privvalproto "github.com/cometbft/cometbft/proto/tendermint/privval"
	"github.com/cometbft/cometbft/types"
	"golang.org/x/sys/unix"
)

// Times and sizes of the link with the node.
const (
	dialTimeout = 3 * time.Second
	idleTimeout = 10 * time.Second // a node pings every 3 to 4 seconds
	redialAfter = 200 * time.Millisecond
	maxMessage  = 10 << 10 // as CometBFT's own signer has it
)

// ErrCaller reports a node that may not use the key.
var ErrCaller = errors.New("signer: the other side may not use this key")

// Link is how the signer reaches its node: the node listens at
// priv_validator_laddr and the signer dials it.
type Link struct {
	Address string   // "unix:///path" or "tcp://host:port"
	Callers []string // who may be there: users (unix), node ids (tcp); empty: our own user
}

// check refuses a link that could let anybody in.
func (l Link) check() error {
	network, address, ok := strings.Cut(l.Address, "://")
	switch {
	case !ok || address == "" || network != "unix" && network != "tcp":
		return fmt.Errorf("signer: address %q is neither unix:///path nor tcp://host:port", l.Address)
	case network == "tcp" && len(l.Callers) == 0:
		return errors.New("signer: over tcp the node ids that may use the key must be named")
	case network == "unix":
		_, err := l.users()
		return err
	}
	for _, id := range l.Callers {
		if raw, err := hex.DecodeString(id); err != nil || len(raw) != 20 || strings.ToLower(id) != id {
			return fmt.Errorf("signer: %q is not a node id of 40 hex digits", id)
		}
	}
	return nil
}

// users returns the user ids that may be at the other end of a unix socket.
func (l Link) users() ([]uint32, error) {
	if len(l.Callers) == 0 {
		return []uint32{uint32(os.Geteuid())}, nil
	}
	var ids []uint32
	for _, name := range l.Callers {
		text := name
		if u, err := user.Lookup(name); err == nil {
			text = u.Uid
		}
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("signer: no user %q", name)
		}
		ids = append(ids, uint32(id))
	}
	return ids, nil
}

// dial connects and finds out who is there before anything is answered.
func (l Link) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	network, address, _ := strings.Cut(l.Address, "://")
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	known := conn
	if network == "unix" {
		err = l.checkUser(conn)
	} else {
		known, err = l.checkNode(conn)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return known, nil
}

// checkUser asks the kernel who made the socket.
func (l Link) checkUser(conn net.Conn) error {
	id, err := peerUser(conn)
	if err != nil {
		return err
	}
	allowed, err := l.users()
	if err != nil {
		return err
	}
	if !slices.Contains(allowed, id) {
		return fmt.Errorf("%w: %s is served by user %d, allowed are %v", ErrCaller, l.Address, id, allowed)
	}
	return nil
}

func peerUser(conn net.Conn) (uint32, error) {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	if ctl := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); ctl != nil {
		return 0, ctl
	}
	if err != nil {
		return 0, fmt.Errorf("signer: peer credentials: %w", err)
	}
	return cred.Uid, nil
}

// checkNode makes a SecretConnection, which proves the other side's key.
func (l Link) checkNode(conn net.Conn) (net.Conn, error) {
	secret, err := p2pconn.MakeSecretConnection(conn, cmted25519.GenPrivKey())
	if err != nil {
		return nil, fmt.Errorf("signer: secret connection: %w", err)
	}
	if id := hex.EncodeToString(secret.RemotePubKey().Address()); !slices.Contains(l.Callers, id) {
		return nil, fmt.Errorf("%w: node %s at %s", ErrCaller, id, l.Address)
	}
	return secret, nil
}

// serve answers the node until ctx ends. It never hangs up by itself on a
// request that it refuses: a node whose signer is gone waits and stalls, one that
// is refused goes on without its vote.
func (l Link) serve(ctx context.Context, chainID string, pv types.PrivValidator, log *slog.Logger) {
	said := ""
	for ctx.Err() == nil {
		conn, err := l.dial(ctx)
		if err == nil {
			log.Info("connected with the node", "address", l.Address)
			said = ""
			err = answer(ctx, conn, chainID, pv, log)
		}
		if ctx.Err() == nil && err != nil && err.Error() != said {
			said = err.Error()
			log.Warn("no link with the node", "address", l.Address, "error", err)
		}
		pause(ctx, redialAfter)
	}
}

// answer serves one connection.
func answer(ctx context.Context, conn net.Conn, chainID string, pv types.PrivValidator, log *slog.Logger) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	in, out := protoio.NewDelimitedReader(conn, maxMessage), protoio.NewDelimitedWriter(conn)
	for {
		var request privvalproto.Message
		if err := conn.SetDeadline(time.Now().Add(idleTimeout)); err != nil {
			return err
		}
		if _, err := in.ReadMsg(&request); err != nil {
			if errors.Is(err, io.EOF) {
				return errors.New("signer: the node hung up")
			}
			return err
		}
		response, err := privval.DefaultValidationRequestHandler(pv, request, chainID)
		if response.Sum == nil {
			return fmt.Errorf("signer: a request that this signer does not know: %w", err)
		}
		if err != nil {
			log.Debug("refused", "error", err)
		}
		if _, err := out.WriteMsg(&response); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
