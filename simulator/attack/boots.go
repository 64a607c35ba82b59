package attack

import (
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/verdict"
)

// defectiveLogs are boots whose log is defective while the TPM agrees with it.
func (l *liar) defectiveLogs() []attempt {
	var list []attempt
	for _, m := range bootlog.Mutations() {
		list = append(list, l.mutated("boot logs", m))
	}
	return list
}

// foreignBoots are boots that are complete and not what the policy lists.
func (l *liar) foreignBoots() []attempt {
	var list []attempt
	for _, m := range bootlog.WellFormedMutations() {
		list = append(list, l.mutated("boots", m))
	}
	return list
}

func (l *liar) mutated(group string, m bootlog.Mutation) attempt {
	return l.attempt(group, telling{name: string(m), want: []verdict.CheckID{m.Check()}}, func() error {
		log := bootlog.Debian().Log()
		err := log.Mutate(m)
		l.reboot(log)
		return err
	})
}

// defectiveLists are good boots with defective IMA lists.
func (l *liar) defectiveLists() []attempt {
	var list []attempt
	for _, m := range bootlog.ListMutations() {
		list = append(list, l.attempt("IMA lists", telling{name: string(m), want: []verdict.CheckID{bootlog.ListCheck(m)}}, func() error {
			l.reboot(bootlog.Debian().Log())
			err := l.List.Mutate(m)
			l.PCRs = l.Log.PCRs()
			l.List.Replay(&l.PCRs)
			return err
		}))
	}
	return list
}
