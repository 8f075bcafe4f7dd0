//go:build !linux

package periphio

// Linux returns the kernel's own chips: on this system there are none.
func Linux() Kernel { return noKernel{} }

type noKernel struct{}

func (noKernel) OpenChip(string) (ChipDevice, error) { return nil, ErrNoGPIO }
