package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/verifier/journal"
)

func (c *cli) journalCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "journal",
		Short: "Read and verify a verifier's public journal",
		Long: `The journal is a verifier's append-only log: every enrolment, verdict, approval,
policy, suspension and admission is in it before it has any effect. Read it from
the verifier, or from a copy of its folder with --dir.`,
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	cmd.AddCommand(c.journalShow(), c.journalVerify())
	return cmd
}

// journalSource is where a journal comes from: a verifier, or a folder.
type journalSource struct {
	dir   string
	start uint64
	limit uint64
}

// readJournal opens the journal and hands its checkpoint and entries on.
func (c *cli) readJournal(cmd *cobra.Command, src journalSource, use func(*admission.Consortium, admission.Verifier, []byte, iter.Seq2[journal.Entry, error]) error) error {
	if src.dir == "" {
		return c.online(cmd, "reading the journal of", func(ctx context.Context, s *session) error {
			checkpoint, entries, err := fetchJournal(ctx, s, src)
			if err != nil {
				return err
			}
			return use(s.consortium, s.verifier, checkpoint, entries)
		})
	}
	consortium, err := c.readConsortium()
	if err != nil {
		return err
	}
	v, err := c.choose(consortium, nil)
	if err != nil {
		return err
	}
	key, err := note.NewVerifier(v.LogKey)
	if err != nil {
		return err
	}
	if _, err := os.Stat(src.dir); err != nil {
		return unknown(err, "a verifier keeps its journal in the folder journal of its data folder")
	}
	reader := journal.NewReader(src.dir, key)
	checkpoint, err := reader.Checkpoint(cmd.Context())
	if err != nil {
		return err
	}
	return use(consortium, v, checkpoint, upTo(src.limit, reader.Read(cmd.Context(), src.start)))
}

func upTo(limit uint64, entries iter.Seq2[journal.Entry, error]) iter.Seq2[journal.Entry, error] {
	if limit == 0 {
		return entries
	}
	return func(yield func(journal.Entry, error) bool) {
		left := limit
		for e, err := range entries {
			if !yield(e, err) {
				return
			}
			if left--; left == 0 {
				return
			}
		}
	}
}

// fetchJournal asks the verifier for entries. They arrive as they are read.
func fetchJournal(ctx context.Context, s *session, src journalSource) ([]byte, iter.Seq2[journal.Entry, error], error) {
	stream, err := s.admin.ReadJournal(ctx, &pb.ReadJournalRequest{Start: src.start, Limit: src.limit})
	if err != nil {
		return nil, nil, err
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, nil, err
	}
	return first.GetCheckpoint(), func(yield func(journal.Entry, error) bool) {
		for {
			m, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(journal.Entry{Index: m.GetIndex(), Data: m.GetEntry()}, err) || err != nil {
				return
			}
		}
	}, nil
}

// journalView is what `journal show` prints.
type journalView struct {
	Entries []entryView `json:"entries"`
}

func (c *cli) journalShow() *cobra.Command {
	var src journalSource
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print journal entries in words",
		Long: `Show prints what a verifier wrote into its journal, in words; --json has the
entries whole. It believes the verifier; journal verify does not.`,
		Example: "  quorate journal show\n  quorate journal show --from 120 --limit 20\n  quorate journal show --dir /backup/journal --json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := journalView{Entries: []entryView{}}
			err := c.readJournal(cmd, src, func(_ *admission.Consortium, _ admission.Verifier, _ []byte, entries iter.Seq2[journal.Entry, error]) error {
				for e, err := range entries {
					if err != nil {
						return err
					}
					v.Entries = append(v.Entries, entryOf(e))
				}
				return nil
			})
			if err != nil {
				return err
			}
			return c.show(v, func() { c.printEntries(v.Entries) })
		},
	}
	cmd.Flags().StringVar(&src.dir, "dir", "", "read a copy of the journal's `folder` instead")
	cmd.Flags().Uint64Var(&src.start, "from", 0, "first `entry` to show")
	cmd.Flags().Uint64Var(&src.limit, "limit", 0, "show at most so many entries; 0: all")
	return shaped(cmd, journalView{})
}

func (c *cli) printEntries(entries []entryView) {
	var t table
	t.head("ENTRY", "TIME", "TYPE", "NODE", "WHAT")
	for _, e := range entries {
		t.add(cell{fmt.Sprint(e.Index), plain}, cell{stamp(e.At), plain}, cell{e.Type, bold}, cell{e.Node, plain}, cell{e.Text, plain})
	}
	t.print(c)
}

// auditView is what `journal verify` prints.
type auditView struct {
	Sound      bool   `json:"sound"`
	Verifier   string `json:"verifier"`
	Size       uint64 `json:"size" doc:"entries"`
	Root       string `json:"root" doc:"root hash of the Merkle tree, in hex"`
	Problem    string `json:"problem,omitempty" doc:"why it is not sound"`
	Checkpoint string `json:"checkpoint,omitempty" doc:"signed checkpoint; keep it, and a later journal must extend it"`
}

const journalVerifyLong = `Verify reads the whole journal, computes the root hash of its Merkle tree from the
entries, and compares it with the verifier's signed checkpoint: signature by the
log key that the consortium file pins, origin, and enough witnesses. Every entry
has to be well-formed. A verifier that altered, dropped or moved an entry fails.

Exit code 0: sound. 1: not.`

func (c *cli) journalVerify() *cobra.Command {
	var src journalSource
	cmd := &cobra.Command{
		Use:     "verify",
		Short:   "Recompute the whole journal and check its signed checkpoint",
		Long:    journalVerifyLong,
		Example: "  quorate journal verify\n  quorate journal verify --dir /backup/journal --json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var v auditView
			err := c.readJournal(cmd, src, func(consortium *admission.Consortium, of admission.Verifier, checkpoint []byte, entries iter.Seq2[journal.Entry, error]) error {
				policy, _ := consortium.LogPolicy(of.Name)
				tree, err := journal.Audit(policy, checkpoint, entries)
				v = auditView{Sound: err == nil, Verifier: of.Name, Size: tree.Size, Root: hex.EncodeToString(tree.Root[:]), Checkpoint: string(checkpoint)}
				return err
			})
			if v.Sound = err == nil; errors.Is(err, journal.ErrInconsistent) || errors.Is(err, journal.ErrRolledBack) {
				v.Problem = err.Error()
			} else if err != nil {
				return err
			}
			if err := c.show(v, func() { c.printAudit(v) }); err != nil {
				return err
			}
			if !v.Sound {
				return answered{exitRefused}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&src.dir, "dir", "", "verify a copy of the journal's `folder` instead")
	return shaped(cmd, auditView{})
}

func (c *cli) printAudit(v auditView) {
	if !v.Sound {
		fmt.Fprintf(c.out, "%s: the journal of %s\n", c.paint(red, "NOT SOUND"), c.paint(bold, v.Verifier))
		c.say("%s\nKeep a copy of what you were given, and ask the verifier's member about it.", v.Problem)
		return
	}
	fmt.Fprintf(c.out, "%s: the journal of %s, %s\n", c.paint(green, "SOUND"), c.paint(bold, v.Verifier), count(int(v.Size), "entry", "entries"))
	c.say("root %s, signed by its log key", v.Root)
}
