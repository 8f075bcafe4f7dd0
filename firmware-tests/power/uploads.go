package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/headgate-io/headgate/firmware-tests/rig"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
)

// bucket is where objects are put while events are published.
const bucket = "photos"

// uploaders is how many uploads there are at a time.
const uploaders = 2

// uploads puts numbered objects, by HTTP.
type uploads struct {
	url, key string
	last     atomic.Int64
}

// declareBucket opens an HTTP listener with a bucket in the configuration of a
// gateway that does not run.
func declareBucket(g *rig.Gateway) (*uploads, error) {
	address, err := rig.FreeAddress()
	if err != nil {
		return nil, err
	}
	return &uploads{url: "http://" + address + "/buckets/" + bucket + "/"},
		g.Configure(fmt.Sprintf("http: {listen: %q}\nobjects: {buckets: {%s: {quota: 1GiB}}}\n", address, bucket))
}

// addKey makes the key that uploads need.
func (u *uploads) addKey(ctx context.Context, g *rig.Gateway) error {
	out, err := g.Run(ctx, "token", "add", "camera", "--scope", "write:"+bucket)
	if err != nil {
		return err
	}
	if u.key = regexp.MustCompile(`headgate_\S+`).FindString(out); u.key == "" {
		return fmt.Errorf("there is no token in %q", out)
	}
	return nil
}

// run uploads until ctx ends.
func (u *uploads) run(ctx context.Context) {
	var wg sync.WaitGroup
	for range uploaders {
		wg.Go(func() {
			for ctx.Err() == nil {
				u.put(ctx, int(u.last.Add(1)))
			}
		})
	}
	wg.Wait()
}

// put uploads one object. Whether it was acknowledged the trace tells.
func (u *uploads) put(ctx context.Context, n int) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, u.url+strconv.Itoa(n), bytes.NewReader(content(n)))
	if err != nil {
		return
	}
	r.Header.Set("Authorization", "Bearer "+u.key)
	if answer, err := http.DefaultClient.Do(r); err == nil {
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
	}
}

// content is what the n-th object holds: from a few bytes to several pages.
func content(n int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "object %d\n", n), 1+n*n%4000)
}

var stored = regexp.MustCompile(`(?s)^HTTP/1\.1 201 .*"key":"(\d+)"`)

// storedIn is the number of the object that an answer says is stored.
func storedIn(c *call) (n int, ok bool) {
	m := stored.FindSubmatch(c.data)
	if m == nil {
		return 0, false
	}
	n, err := strconv.Atoi(string(m[1]))
	return n, err == nil
}

// lostObject looks for an acknowledged object that is gone, and for one that is
// there without its content.
func lostObject(ctx context.Context, s *store.Store, dir string, acknowledged []int) (found string, err error) {
	there := map[string]function.Object{}
	for after, more := "", true; more; {
		var rows []store.ObjectRow
		if rows, more, err = s.ListObjects(ctx, bucket, "", after, 1000); err != nil {
			return "", err
		}
		for _, row := range rows {
			there[row.Key], after = row.Object, row.Key
		}
	}
	for _, n := range acknowledged {
		if _, ok := there[strconv.Itoa(n)]; !ok {
			return fmt.Sprintf("object %d was acknowledged and is gone", n), nil
		}
	}
	for key, o := range there {
		n, err := strconv.Atoi(key)
		if err != nil {
			return "", err
		}
		hash := strings.TrimPrefix(o.Digest, function.DigestPrefix)
		b, err := os.ReadFile(filepath.Join(dir, "objects", "blobs", hash[:2], hash))
		if err != nil {
			return fmt.Sprintf("object %d is there without its content: %v", n, err), nil
		}
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != hash || !bytes.Equal(b, content(n)) {
			return fmt.Sprintf("object %d has %d bytes that are not its content", n, len(b)), nil
		}
	}
	return "", nil
}
