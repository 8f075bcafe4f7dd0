package periphio

// Output is a GPIO line that an actuator hangs on. It is inactive from the
// first moment on.
type Output struct{ line Line }

// Output takes the line of a name as an output.
func (h *Host) Output(name string, activeLow bool) (*Output, error) {
	l, err := h.Request(name, LineConfig{Output: true, ActiveLow: activeLow})
	if err != nil {
		return nil, err
	}
	return &Output{l}, nil
}

// Set makes it active for a value above 0.
func (o *Output) Set(value float64) error { return o.line.Set(value > 0) }

// Close gives the line back, inactive.
func (o *Output) Close() error { return o.line.Close() }
