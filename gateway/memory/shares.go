package memory

// Shares are the bounds of those who take memory: none of them more than was
// configured, and all together less than the budget.
type Shares struct {
	// Instances bounds the functions' instances and images.
	Instances int64
	// Queued bounds the messages that wait for MQTT sessions, Buffered the
	// connections' buffers, Retained the retained messages, Pending what
	// clients have published and is not settled.
	Queued, Buffered, Retained, Pending int64
	// Loaded bounds the events under way in the dispatcher.
	Loaded int64
	// Heap is the soft limit of Go's own heap: what it may take before the
	// collector works harder (runtime/debug.SetMemoryLimit). Buffers, queues
	// and events are in it, instances are not.
	Heap int64
}

// percent of the budget are the shares. What is left is for the program
// itself, its threads, the database's page cache and compiled code.
var percent = Shares{Instances: 40, Queued: 10, Buffered: 8, Retained: 5, Pending: 4, Loaded: 8, Heap: 50}

// Divide shares the budget out. A share that asked for less keeps to that;
// 0 asks for all it can have.
func Divide(budget int64, asked Shares) Shares {
	share := func(asked, percent int64) int64 {
		most := budget / 100 * percent
		if asked > 0 && asked < most {
			return asked
		}
		return most
	}
	return Shares{
		Instances: share(asked.Instances, percent.Instances),
		Queued:    share(asked.Queued, percent.Queued),
		Buffered:  share(asked.Buffered, percent.Buffered),
		Retained:  share(asked.Retained, percent.Retained),
		Pending:   share(asked.Pending, percent.Pending),
		Loaded:    share(asked.Loaded, percent.Loaded),
		Heap:      share(asked.Heap, percent.Heap),
	}
}
