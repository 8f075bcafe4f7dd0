package sandbox

// SetInitFuel sets the fuel of what runs before the first event.
func (e *Engine) SetInitFuel(n int64) { e.initFuel = n }
