package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/observer"
	"github.com/headgate-io/headgate/firmware-tests/rig"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
)

// uploads puts numbered objects into a bucket, a few at a time, and keeps
// the ledger of those that were acknowledged. A function counts each and copies
// it into another bucket.
//
// An upload without an answer is not tried again: nobody could tell a second one
// from another. It is there with its effect, or neither is.
type uploads struct {
	mu           sync.Mutex
	last         int // number of the last one begun
	acknowledged map[int]bool
}

const (
	copier = `functions:
  copier:
    main: copier.js
    triggers:
      - file: uploads/{n}
    limits: {concurrency: 4, timeout: 10s}
    retry: {attempts: 20, backoff: 5ms, max_backoff: 50ms}
    permissions: {objects: {read: [uploads], write: [copies]}}
`
	copierSource = `export default (event, {state, objects, params}) => {
  const runs = (state.get("runs/" + params.n) ?? 0) + 1;
  if (runs > 1) state.set("again", (state.get("again") ?? 0) + 1);
  state.set("runs/" + params.n, runs);
  objects.put("copies", params.n, objects.get("uploads", event.data.key).bytes());
  if (event.attempt === 1 && params.n % 7 === 0) throw new Error("not at once");
};
`
)

// buckets are what a gateway's configuration needs.
const buckets = "objects: {buckets: {uploads: {quota: 1GiB}, copies: {quota: 1GiB}}}\n"

// deploy deploys the function.
func (u *uploads) deploy(ctx context.Context, g *rig.Gateway) error {
	u.acknowledged = map[int]bool{}
	dir := filepath.Join(g.Dir, "uploads")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{"headgate.yaml": copier, "copier.js": copierSource} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	_, err := g.Run(ctx, "deploy", dir)
	return err
}

// content is what the n-th upload holds: some are large.
func content(n int) []byte {
	size := 100
	if n%10 == 0 {
		size = 200 << 10
	}
	return bytes.Repeat(fmt.Appendf(nil, "upload %d\n", n), size/8)
}

// uploaders is how many uploads there are at a time.
const uploaders = 4

// run uploads until ctx ends or the gateway does.
func (u *uploads) run(ctx context.Context, g *rig.Gateway) {
	var wg sync.WaitGroup
	for range uploaders {
		wg.Go(func() { u.upload(ctx, g) })
	}
	wg.Wait()
}

func (u *uploads) upload(ctx context.Context, g *rig.Gateway) {
	for ctx.Err() == nil {
		u.mu.Lock()
		u.last++
		n := u.last
		u.mu.Unlock()
		var o api.Object
		err := g.Client.Do(ctx, http.MethodPut, "/v1/buckets/uploads/object?key="+strconv.Itoa(n), content(n), &o)
		var refused *client.Error
		switch {
		case err == nil:
			u.mu.Lock()
			u.acknowledged[n] = true
			u.mu.Unlock()
		case !errors.As(err, &refused):
			return
		}
	}
}

// present looks for what was acknowledged, which is there whatever still waits.
func (u *uploads) present(ctx context.Context, j *observer.Judge, when string) error {
	up, err := u.digests(ctx, j.Gateway, "uploads")
	if err != nil {
		return err
	}
	for n := 1; n <= u.last; n++ {
		if u.acknowledged[n] && up[strconv.Itoa(n)] == "" {
			j.Violate("%s: upload %d was acknowledged and is missing", when, n)
			return nil
		}
	}
	return u.checkBytes(ctx, j, when)
}

// check compares what is there with the ledger.
func (u *uploads) check(ctx context.Context, j *observer.Judge, when string) error {
	up, err := u.digests(ctx, j.Gateway, "uploads")
	if err != nil {
		return err
	}
	copies, err := u.digests(ctx, j.Gateway, "copies")
	if err != nil {
		return err
	}
	runs, err := u.runs(ctx, j.Gateway)
	if err != nil {
		return err
	}
	for n := 1; n <= u.last; n++ {
		key, want := strconv.Itoa(n), fmt.Sprintf("sha256:%x", sha256.Sum256(content(n)))
		switch there := up[key]; {
		case there == "" && u.acknowledged[n]:
			j.Violate("%s: upload %d was acknowledged and is missing", when, n)
		case there != "" && there != want:
			j.Violate("%s: upload %d is not what was sent", when, n)
		case (there != "") != runs[key]:
			j.Violate("%s: upload %d is there: %t, its function ran: %t", when, n, there != "", runs[key])
		case there != copies[key]:
			j.Violate("%s: upload %d has a copy %q", when, n, copies[key])
		}
		if len(j.Violations) > 0 {
			return nil
		}
	}
	again := 0
	if err := j.State(ctx, "copier", "again", &again); err != nil {
		return err
	}
	if again > 0 {
		j.Violate("%s: copier: %d uploads had their effect more than once", when, again)
	}
	return u.checkBytes(ctx, j, when)
}

// checkBytes reads the newest uploads: their rows must not be there without
// their content.
func (u *uploads) checkBytes(ctx context.Context, j *observer.Judge, when string) error {
	for n := u.last; n > max(0, u.last-20); n-- {
		if !u.acknowledged[n] {
			continue
		}
		var got bytes.Buffer
		err := j.Gateway.Client.Download(ctx, "/v1/buckets/uploads/object?key="+strconv.Itoa(n), &got)
		var refused *client.Error
		if err != nil && !errors.As(err, &refused) {
			return err
		}
		if err != nil || !bytes.Equal(got.Bytes(), content(n)) {
			j.Violate("%s: upload %d was acknowledged, and its content is not there (%v)", when, n, err)
			return nil
		}
	}
	return nil
}

// digests are what a bucket holds, by key.
func (u *uploads) digests(ctx context.Context, g *rig.Gateway, bucket string) (map[string]string, error) {
	out := map[string]string{}
	for after, more := "", true; more; {
		var page api.ObjectList
		if err := g.Client.Do(ctx, http.MethodGet, "/v1/buckets/"+bucket+"?after="+url.QueryEscape(after), nil, &page); err != nil {
			return nil, err
		}
		for _, o := range page.Objects {
			out[o.Key], after = o.Digest, o.Key
		}
		more = page.More && len(page.Objects) > 0
	}
	return out, nil
}

// runs are the uploads that the function ran for.
func (u *uploads) runs(ctx context.Context, g *rig.Gateway) (map[string]bool, error) {
	out := map[string]bool{}
	for after, more := "", true; more; {
		var page api.StateList
		if err := g.Client.Do(ctx, http.MethodGet, "/v1/state/copier?prefix=runs/&after="+url.QueryEscape(after), nil, &page); err != nil {
			return nil, err
		}
		for _, k := range page.Keys {
			out[strings.TrimPrefix(k, "runs/")], after = true, k
		}
		more = page.More && len(page.Keys) > 0
	}
	return out, nil
}

// checkSwept waits until only the content is left that a row speaks of.
func (u *uploads) checkSwept(ctx context.Context, j *observer.Judge, dir string) error {
	spoken := map[string]bool{}
	for _, bucket := range []string{"uploads", "copies"} {
		all, err := u.digests(ctx, j.Gateway, bucket)
		if err != nil {
			return err
		}
		for _, digest := range all {
			spoken[strings.TrimPrefix(digest, "sha256:")] = true
		}
	}
	var files []string
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		files = files[:0]
		err := filepath.WalkDir(filepath.Join(dir, "state", "objects"), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files = append(files, filepath.Base(path))
			}
			return err
		})
		if err == nil && len(files) == len(spoken) {
			return nil
		}
	}
	j.Violate("at the end: %d files of content, %d that a row speaks of", len(files), len(spoken))
	return nil
}
