package host

// State is a function's view of stored keys during one invocation. The view
// records what was read, so that the settle can tell whether it still holds;
// writes never go through it. It is used by one goroutine at a time.
type State interface {
	// Get returns the value of key in namespace ns, or found false. The
	// value is read-only.
	Get(ns, key string) (value []byte, found bool, err error)
	// List returns up to limit keys of ns that start with prefix and sort
	// after the key named by after ("" starts at the beginning), in byte
	// order, and whether there are more.
	List(ns, prefix, after string, limit int) (keys []string, more bool, err error)
}
