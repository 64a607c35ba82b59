package realboot

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorate/quorate/simulator/swtpm"
	"github.com/quorate/quorate/simulator/vendorca"
)

// ManufactureTPM makes a TPM in the folder as it leaves a factory, with
// certificates of the vendor for the RSA-2048 and the ECC P-256 endorsement key
// in NV. The TPM is off afterwards.
func ManufactureTPM(ctx context.Context, dir string, vendor *vendorca.CA) error {
	t, err := swtpm.New(ctx, dir, swtpm.Options{Vendor: vendor, RSA: true})
	if err != nil {
		return fmt.Errorf("manufacture TPM: %w", err)
	}
	if err := errors.Join(t.Shutdown(), t.Close()); err != nil {
		return fmt.Errorf("manufacture TPM: %w", err)
	}
	return nil
}
