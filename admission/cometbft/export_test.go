package cometbft

// ReadRecord reads a stored or a foreign record and writes it again.
func ReadRecord(b []byte) ([]byte, error) {
	r, err := parseRecord(b)
	if err != nil {
		return nil, err
	}
	return r.marshal(), nil
}
