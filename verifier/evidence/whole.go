package evidence

import "github.com/quorate/quorate/verifier/ima"

// VerifyWhole verifies the evidence in the file again, with the IMA list read
// from its first entry instead of from where the verifier had got to. What it
// returns has every entry, as learning a policy needs; it proves no less.
func (f *File) VerifyWhole() (*Verified, error) {
	v, err := f.Verify()
	if err != nil || v.ima.Start.Entries == 0 {
		return v, err
	}
	var list []byte
	for _, d := range f.Record.IMAEarlier {
		list = append(list, f.Blobs[d]...)
	}
	list = append(list, v.raw.IMA...)
	// The limit is one for each piece that a host sends. A list that arrived in
	// several may be longer, and has to be judged again all the same.
	lim := ima.DefaultLimits
	lim.Bytes = len(list)
	segment, err := ima.Replay(ima.State{Epoch: v.clock.Epoch}, list, v.quotedIMA(v.values[ima.PCR]), lim)
	if err != nil {
		return nil, err
	}
	v.raw.IMA, v.want.IMA, v.ima = list, ima.State{}, segment
	return v, nil
}
