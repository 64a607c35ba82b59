package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/operator"
	pb "github.com/quorate/quorate/proto/quorate/v1"
)

const defaultTimeout = timeout(time.Minute)

// timeout is a positive duration as a flag.
type timeout time.Duration

func (t *timeout) String() string { return time.Duration(*t).String() }

// Type names the flag's value in help texts.
func (t *timeout) Type() string { return "duration" }

func (t *timeout) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err == nil && d <= 0 {
		err = errors.New("must be positive")
	}
	*t = timeout(d)
	return err
}

// session is a connection to one verifier, as an operator.
type session struct {
	consortium *admission.Consortium
	verifier   admission.Verifier
	key        *operator.Key
	conn       *grpc.ClientConn
	admin      pb.AdministrationServiceClient
	admissions pb.AdmissionServiceClient
}

// readConsortium reads the consortium file.
func (c *cli) readConsortium() (*admission.Consortium, error) {
	if c.consortium == "" {
		return nil, usagef("give --consortium FILE or set QUORATE_CONSORTIUM; quorate-verifier init wrote the file, every member has the same copy",
			"no consortium file")
	}
	raw, err := os.ReadFile(c.consortium)
	if err != nil {
		return nil, unknown(fmt.Errorf("consortium file: %w", err), "--consortium or QUORATE_CONSORTIUM says where it is")
	}
	parsed, err := admission.ParseConsortium(raw)
	if err != nil {
		return nil, refused(fmt.Errorf("%s: %w", c.consortium, err), "get the current consortium file from another member")
	}
	return parsed, nil
}

func (c *cli) readKey() (*operator.Key, error) {
	if c.key == "" {
		return nil, usagef("give --key FILE or set QUORATE_KEY; quorate-verifier init wrote the first one to keys/operator.key", "no operator key")
	}
	key, err := operator.ReadKey(c.key)
	if err != nil {
		return nil, unknown(err, "--key or QUORATE_KEY says which key file is used")
	}
	return key, nil
}

// choose picks the verifier to ask: the named one, the only one, or that of the
// operator's own member.
func (c *cli) choose(consortium *admission.Consortium, key *operator.Key) (admission.Verifier, error) {
	if c.verifier != "" {
		v, ok := consortium.Verifier(c.verifier)
		if !ok {
			return v, usagef("its verifiers are: "+verifierNames(consortium), "the consortium file has no verifier %q", c.verifier)
		}
		return v, nil
	}
	if len(consortium.Verifiers) == 1 {
		return consortium.Verifiers[0], nil
	}
	for _, v := range consortium.Verifiers {
		if key != nil && admission.NodeMember(key.Name()) == v.Member {
			return v, nil
		}
	}
	return admission.Verifier{}, usagef("name one with --verifier: "+verifierNames(consortium), "which verifier?")
}

func verifierNames(consortium *admission.Consortium) string {
	names := ""
	for i, v := range consortium.Verifiers {
		if i > 0 {
			names += ", "
		}
		names += v.Name
	}
	return names
}

// connect opens a session; close its conn.
func (c *cli) connect() (*session, error) {
	consortium, err := c.readConsortium()
	if err != nil {
		return nil, err
	}
	key, err := c.readKey()
	if err != nil {
		return nil, err
	}
	v, err := c.choose(consortium, key)
	if err != nil {
		return nil, err
	}
	conn, err := key.Dial(v)
	if err != nil {
		return nil, unknown(err, "")
	}
	return &session{
		consortium: consortium, verifier: v, key: key, conn: conn,
		admin: pb.NewAdministrationServiceClient(conn), admissions: pb.NewAdmissionServiceClient(conn),
	}, nil
}

// online runs f with a session, the timeout running and progress shown.
func (c *cli) online(cmd *cobra.Command, doing string, f func(context.Context, *session) error) error {
	s, err := c.connect()
	if err != nil {
		return err
	}
	defer s.conn.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Duration(c.timeout))
	defer cancel()
	done := c.progress(doing + " " + s.verifier.Name)
	err = f(ctx, s)
	done()
	if err != nil && cmd.Context().Err() != nil {
		return context.Canceled
	}
	return err
}
