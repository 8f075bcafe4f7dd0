package actuate

// NewSmallLedger returns a ledger of few records, which goes round soon.
func NewSmallLedger(path string, records uint64) *Ledger {
	return &Ledger{path: path, size: records}
}
