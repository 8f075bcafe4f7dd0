package doctor

import "context"

// Desired is what is looked at of the desired state.
type Desired struct {
	// Revision is what the gateway follows; 0 is nothing. Error says why it does
	// not.
	Revision uint64
	Error    string
}

// DesiredState says whether the gateway can be what its controller wants.
func DesiredState(look func() Desired) Probe {
	return Probe{"desired", func(context.Context) Check {
		switch m := look(); {
		case m.Error != "":
			return warn("what runs goes on; 'headgate update status' shows what waits, 'headgate fleet' at the controller changes what is wanted", "revision %d: %s", m.Revision, m.Error)
		case m.Revision == 0:
			return ok("no controller wants anything")
		default:
			return ok("follows revision %d", m.Revision)
		}
	}}
}
