package host

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
)

type stateKey struct{ ns, key string }

// manyWrites is from where on the writes of an invocation are indexed.
const manyWrites = 16

// address splits "ns:key". Without a colon the key is the function's own.
func (c *Calls) address(raw []byte) (ns, key string) {
	if before, after, found := bytes.Cut(raw, []byte{':'}); found {
		return string(before), string(after)
	}
	return c.grant.name, string(raw)
}

func (c *Calls) checkName(what string, name []byte) abi.Errno {
	switch {
	case len(name) == 0:
		return c.refuse(abi.Invalid, "%s: the name is empty", what)
	case len(name) > abi.MaxNameBytes:
		return c.refuse(abi.Limit, "%s: name of %d bytes is over %d", what, len(name), abi.MaxNameBytes)
	case !utf8.Valid(name) || bytes.IndexByte(name, 0) >= 0:
		return c.refuse(abi.Invalid, "%s: the name is not UTF-8 or holds a NUL", what)
	}
	return 0
}

func (c *Calls) stateKey(call string, raw []byte) (ns, key string, e abi.Errno) {
	if e := c.checkName(call, raw); e != 0 {
		return "", "", e
	}
	ns, key = c.address(raw)
	if key == "" {
		return "", "", c.refuse(abi.Invalid, "%s %s: the key behind the colon is empty", call, raw)
	}
	return ns, key, 0
}

func (c *Calls) denyState(call, ns, access string) abi.Errno {
	return c.refuse(abi.Denied, "%s: %q is not a namespace that this function may %s: a colon in a key separates another function's namespace; add it to permissions.state.%s if that is meant",
		call, ns, access, access)
}

// pendingWrite returns the invocation's own latest write of a key.
func (c *Calls) pendingWrite(ns, key string) (int, bool) {
	if len(c.effects.Writes) > manyWrites {
		i, ok := c.written[stateKey{ns, key}]
		return i, ok
	}
	for i := range c.effects.Writes {
		if w := &c.effects.Writes[i]; w.Key == key && w.Namespace == ns {
			return i, true
		}
	}
	return 0, false
}

// KVGet answers kv_get.
func (c *Calls) KVGet(raw []byte) ([]byte, abi.Errno) {
	ns, key, e := c.stateKey("kv_get", raw)
	if e != 0 {
		return nil, e
	}
	if !c.grant.mayRead(ns) {
		return nil, c.denyState("kv_get", ns, "read")
	}
	if i, ok := c.pendingWrite(ns, key); ok {
		if c.effects.Writes[i].Delete {
			return nil, abi.NotFound
		}
		return c.effects.Writes[i].Value, 0
	}
	value, found, err := c.state().Get(ns, key)
	if err != nil {
		c.stateFailed("kv_get", err)
		return nil, abi.Unavailable
	}
	if !found {
		return nil, abi.NotFound
	}
	return value, 0
}

// stateFailed ends the invocation: a guest that goes on without what it
// stored would decide on nothing.
func (c *Calls) stateFailed(call string, err error) {
	var a *Abort
	if errors.As(err, &a) {
		c.fail(a.Outcome, "%s", a.Reason)
		return
	}
	c.fail(function.Failed, "%s: %v", call, err)
}

func (c *Calls) state() State {
	if c.in.State == nil {
		return noState{}
	}
	return c.in.State
}

// noState is the view of an invocation that brought none.
type noState struct{}

func (noState) Get(string, string) ([]byte, bool, error) { return nil, false, errNoState }
func (noState) List(string, string, string, int) ([]string, bool, error) {
	return nil, false, errNoState
}

// KVSet answers kv_set.
func (c *Calls) KVSet(raw, value []byte, ttl time.Duration) abi.Errno {
	ns, key, e := c.stateKey("kv_set", raw)
	if e != 0 {
		return e
	}
	if !c.grant.mayWrite(ns) {
		return c.denyState("kv_set", ns, "write")
	}
	if limit := int64(c.grant.limits.State); int64(len(key)+len(value)) > limit {
		return c.refuse(abi.Limit, "kv_set %s: %d bytes are over the %d that the function may store (limits.state)", key, len(key)+len(value), limit)
	}
	return c.write("kv_set", function.Write{Namespace: ns, Key: key, TTL: ttl}, value)
}

// KVDel answers kv_del. Deleting what does not exist succeeds.
func (c *Calls) KVDel(raw []byte) abi.Errno {
	ns, key, e := c.stateKey("kv_del", raw)
	if e != 0 {
		return e
	}
	if !c.grant.mayWrite(ns) {
		return c.denyState("kv_del", ns, "write")
	}
	return c.write("kv_del", function.Write{Namespace: ns, Key: key, Delete: true}, nil)
}

// write adds a write; a later one of the same key takes the earlier's place.
func (c *Calls) write(call string, w function.Write, value []byte) abi.Errno {
	if i, ok := c.pendingWrite(w.Namespace, w.Key); ok {
		old := &c.effects.Writes[i]
		if e := c.chargeBytes(call, len(value)-len(old.Value)); e != 0 {
			return e
		}
		w.Value = bytes.Clone(value)
		*old = w
		return 0
	}
	if e := c.charge(call, len(w.Key)+len(value)); e != 0 {
		return e
	}
	if !w.Delete {
		w.Value = append(make([]byte, 0, len(value)), value...)
	}
	c.effects.Writes = append(c.effects.Writes, w)
	c.index()
	return 0
}

// index keeps written in step once there are many writes.
func (c *Calls) index() {
	n := len(c.effects.Writes)
	if n <= manyWrites {
		return
	}
	if c.written == nil {
		c.written = map[stateKey]int{}
	}
	first := n - 1
	if n == manyWrites+1 {
		first = 0
	}
	for i := first; i < n; i++ {
		w := &c.effects.Writes[i]
		c.written[stateKey{w.Namespace, w.Key}] = i
	}
}

// KVList answers kv_list: one page of keys that start with prefix. Cursor 0
// begins; the page names the next cursor, 0 after the last.
//
// The page is little-endian: u32 next cursor, then for each key u32 length
// and bytes. Keys of another namespace come without its name.
func (c *Calls) KVList(rawPrefix []byte, cursor uint32) ([]byte, abi.Errno) {
	if len(rawPrefix) > abi.MaxNameBytes || !utf8.Valid(rawPrefix) {
		return nil, c.refuse(abi.Invalid, "kv_list: the prefix is not UTF-8 or over %d bytes", abi.MaxNameBytes)
	}
	ns, prefix := c.address(rawPrefix)
	if !c.grant.mayRead(ns) {
		return nil, c.denyState("kv_list", ns, "read")
	}
	after := ""
	if cursor > 0 {
		if int64(cursor) > int64(len(c.cursors)) {
			return nil, c.refuse(abi.Invalid, "kv_list: cursor %d was never given out", cursor)
		}
		after = c.cursors[cursor-1]
	}
	keys, more, err := c.listMerged(ns, prefix, after)
	if err != nil {
		c.stateFailed("kv_list", err)
		return nil, abi.Unavailable
	}
	return c.listPage("kv_list", keys, more)
}

// cursorFor returns the cursor behind key; asking again for the same page
// gives the same one.
func (c *Calls) cursorFor(key string) uint32 {
	if i := slices.Index(c.cursors, key); i >= 0 {
		return uint32(i) + 1
	}
	if len(c.cursors) == abi.MaxListCursors {
		return 0
	}
	c.cursors = append(c.cursors, key)
	return uint32(len(c.cursors))
}

// listMerged merges stored keys with the invocation's own writes.
func (c *Calls) listMerged(ns, prefix, after string) (keys []string, more bool, err error) {
	var own []string
	for i := range c.effects.Writes {
		w := &c.effects.Writes[i]
		if w.Namespace == ns && !w.Delete && w.Key > after && strings.HasPrefix(w.Key, prefix) {
			own = append(own, w.Key)
		}
	}
	return c.mergeKeys(ns, prefix, after, own, func(key string) (there, changed bool) {
		i, changed := c.pendingWrite(ns, key)
		return changed && !c.effects.Writes[i].Delete, changed
	})
}

// mergeKeys merges stored keys with those that the invocation writes. change
// says whether it changes a key, and whether that is there then.
func (c *Calls) mergeKeys(ns, prefix, after string, own []string, change func(key string) (there, changed bool)) (keys []string, more bool, err error) {
	slices.Sort(own)
	from, moreStored := after, true
	for moreStored {
		var stored []string
		stored, moreStored, err = c.state().List(ns, prefix, from, abi.MaxListKeys)
		if err != nil {
			return nil, false, err
		}
		for _, k := range stored {
			from = k
			for len(own) > 0 && own[0] < k {
				keys, own = append(keys, own[0]), own[1:]
			}
			if there, changed := change(k); changed {
				if !there {
					continue
				}
				own = own[1:] // the same key, not listed twice
			}
			keys = append(keys, k)
		}
		if len(stored) == 0 {
			break
		}
		if len(keys) > abi.MaxListKeys {
			return keys[:abi.MaxListKeys], true, nil
		}
	}
	keys = append(keys, own...)
	if len(keys) > abi.MaxListKeys {
		return keys[:abi.MaxListKeys], true, nil
	}
	return keys, false, nil
}
