package dispatch

// FunctionStats returns the counters of one function; zero for one that is not
// known.
func (d *Dispatcher) FunctionStats(name string) FunctionStats {
	f := d.lookup(name)
	if f == nil {
		return FunctionStats{Name: name}
	}
	return f.snapshot()
}
