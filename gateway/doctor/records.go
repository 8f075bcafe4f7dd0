package doctor

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/headgate-io/headgate/gateway/store"
)

// Records is what the probes ask of a store.
type Records interface {
	Check(ctx context.Context) error
	Recovery() *store.Recovery
	Identity() store.Identity
	Space() store.Space
	Stats() store.Stats
}

var _ Records = (*store.Store)(nil)

// Database reads all of it, and says whether records were lost.
func Database(s Records) Probe {
	return Probe{"database", func(ctx context.Context) Check {
		began := time.Now()
		if err := s.Check(ctx); err != nil {
			return fail("restart the gateway: it puts the file aside and keeps what can be read; then 'headgate restore' a backup", "%v", err)
		}
		st := s.Stats()
		sound := fmt.Sprintf("%s, every page is sound (read in %v), usage epoch %d", bytes(st.DatabaseBytes), time.Since(began).Round(time.Millisecond), s.Identity().Epoch)
		r := s.Recovery()
		if r == nil {
			return ok("%s", sound)
		}
		if r.Kept != "" {
			if _, err := os.Stat(r.Kept); err != nil {
				return ok("%s; on %s: %s", sound, r.At.Format(time.DateOnly), r.Reason)
			}
		}
		return warn(recoveryAdvice(r), "%s; on %s: %s%s", sound, r.At.Format(time.DateTime), r.Reason, incomplete(r))
	}}
}

func recoveryAdvice(r *store.Recovery) string {
	if r.Kept == "" {
		return "look whether functions, devices and state are complete; 'headgate restore' puts a backup back"
	}
	return "look whether functions, devices and state are complete; 'headgate restore' puts a backup back; remove " + r.Kept + " when you no longer need it"
}

// incomplete names the tables that could not be read to their end.
func incomplete(r *store.Recovery) string {
	var names []string
	for _, t := range r.Tables {
		if t.Error != "" {
			names = append(names, t.Table)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "; not all could be read of: " + strings.Join(names, ", ")
}

// Disk says what is left of the disk, and what has stopped for it.
func Disk(s Records) Probe {
	return Probe{"disk", func(context.Context) Check {
		sp := s.Space()
		detail := fmt.Sprintf("%s free of %s", bytes(sp.Free), bytes(sp.Total))
		if len(sp.Stopped) == 0 {
			return ok("%s; the first writing stops at %s", detail, bytes(sp.Marks[0]))
		}
		names := make([]string, len(sp.Stopped))
		for i, c := range sp.Stopped {
			names[i] = c.String()
		}
		detail += "; stopped: " + strings.Join(names, ", ")
		last := sp.Stopped[len(sp.Stopped)-1]
		const advice = "remove what else is on this disk, or the folders damaged and replaced in the state folder; it goes on by itself"
		if last == store.Events {
			return fail(advice, "%s: publishers are refused", detail)
		}
		return warn(advice, "%s", detail)
	}}
}

// Buckets says how full the buckets are, and whether content is missing.
func Buckets(list func() []Bucket, missing func() uint64) Probe {
	return Probe{"buckets", func(context.Context) Check {
		var objects, size int64
		var full []string
		all := list()
		for _, b := range all {
			objects, size = objects+b.Objects, size+b.Bytes
			if b.Refuses && b.Bytes > b.Quota-b.Quota/10 {
				full = append(full, b.Name)
			}
		}
		detail := fmt.Sprintf("%d buckets with %d objects (%s)", len(all), objects, bytes(size))
		switch n := missing(); {
		case n > 0:
			return warn("they came with a backup, which holds no bytes of objects: copy the folder objects/blobs that belongs to it into the state folder", "%s; %d reads of objects whose bytes are not on this disk", detail, n)
		case len(full) > 0:
			return warn("delete objects, raise their quota, or let the oldest make room with when_full: oldest", "%s; nearly full: %s", detail, strings.Join(full, ", "))
		}
		return ok("%s", detail)
	}}
}

// Bucket is a bucket as Buckets looks at it. Refuses is true where a full one
// refuses new objects.
type Bucket struct {
	Name                  string
	Bytes, Objects, Quota int64
	Refuses               bool
}

// Queue says what waits and what was given up.
func Queue(s Records) Probe {
	return Probe{"queue", func(context.Context) Check {
		st := s.Stats()
		detail := fmt.Sprintf("%d events wait (%s), %d dead letters", st.QueueRows, bytes(st.QueueBytes), st.DeadLetters)
		if st.DeadLetters > 0 {
			return warn("'headgate dlq list' shows why; 'headgate dlq redrive --all' tries again, 'headgate dlq drop --all' lets go", "%s", detail)
		}
		return ok("%s", detail)
	}}
}
