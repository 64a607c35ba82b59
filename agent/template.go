package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/agent/key"
)

// chooseTemplate picks the EK template for this TPM. The consortium names one
// per class; which class a TPM has, its vendor's root decides at the verifier.
// Here a configured class is taken as it is. Otherwise the maker's name gives a
// first guess, and a certificate in NV decides.
func chooseTemplate(ctx context.Context, dev *device.Device, class string, templates map[string]string) (key.Template, error) {
	if class != "" {
		t, ok := templates[class]
		if !ok {
			return "", fmt.Errorf("agent: the consortium admits no %s TPMs", class)
		}
		return key.Template(t), nil
	}
	tpm := dev.With(ctx)
	maker, err := key.ReadMaker(tpm)
	if err != nil {
		return "", err
	}
	list := candidates(maker.Class(), templates)
	for _, t := range list {
		_, err := key.CertificateOf(tpm, t)
		if err == nil {
			return t, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	if len(list) == 0 {
		return "", errors.New("agent: the consortium names no EK template")
	}
	return list[0], nil
}

// candidates lists the consortium's templates without repetition, that of the
// guessed class first.
func candidates(guess string, templates map[string]string) []key.Template {
	var list []key.Template
	seen := map[string]bool{"": true}
	for _, class := range []string{guess, "discrete", "firmware", "virtual"} {
		if t := templates[class]; !seen[t] {
			seen[t] = true
			list = append(list, key.Template(t))
		}
	}
	return list
}
