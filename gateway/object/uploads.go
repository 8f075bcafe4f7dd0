package object

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/headgate-io/headgate/internal/durable"
)

// partial is what is known of an upload that may go on. It lies beside the
// content that has arrived, as JSON.
type partial struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
	Type   string `json:"type"`
	// Total is how long it will be, Offset how much is on disk, and Hash the
	// state of its digest there.
	Total  int64  `json:"total"`
	Offset int64  `json:"offset"`
	Hash   []byte `json:"hash"`
	// Updated is when it last went on, in milliseconds of the steady scale.
	Updated int64 `json:"updated"`
}

// uploads are those under way and those that may go on.
type uploads struct {
	s     *Service
	dir   string
	slots chan struct{}

	mu   sync.Mutex // guards what follows
	busy map[string]bool
	kept map[string]partial
	// by counts the uploads under way by where they come from.
	by map[string]int
}

func openUploads(s *Service) (*uploads, error) {
	u := &uploads{
		s: s, dir: filepath.Join(s.cfg.Dir, uploadFolder), slots: make(chan struct{}, s.cfg.MaxUploads),
		busy: map[string]bool{}, kept: map[string]partial{}, by: map[string]int{},
	}
	entries, err := os.ReadDir(u.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		id, isAbout := strings.CutSuffix(e.Name(), aboutSuffix)
		if !isAbout {
			continue
		}
		if p, ok := u.load(id); ok {
			u.kept[id] = p
			_ = s.store.Reserve(p.Bucket, p.Offset, math.MaxInt64/2) // what is on disk is on disk
		}
	}
	for _, e := range entries {
		id, _, _ := strings.Cut(e.Name(), ".")
		if _, ok := u.kept[id]; ok && !strings.HasSuffix(e.Name(), ".new") {
			continue
		}
		if err := removeIfThere(filepath.Join(u.dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return u, nil
}

const (
	aboutSuffix   = ".json"
	contentSuffix = ".part"
)

// load reads what lies there of an upload; false is that it cannot go on.
func (u *uploads) load(id string) (p partial, ok bool) {
	text, err := os.ReadFile(u.path(id, aboutSuffix))
	if err != nil || json.Unmarshal(text, &p) != nil || uploadID(p.Bucket, p.Key) != id || !u.s.Has(p.Bucket) {
		return p, false
	}
	info, err := os.Stat(u.path(id, contentSuffix))
	return p, err == nil && info.Size() >= p.Offset && p.Offset >= 0
}

func (u *uploads) path(id, suffix string) string { return filepath.Join(u.dir, id+suffix) }

func (u *uploads) write(id string, p *partial) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return durable.Replace(u.path(id, aboutSuffix), text)
}

func uploadID(bucket, key string) string {
	sum := sha256.Sum256([]byte(bucket + "/" + key))
	return hex.EncodeToString(sum[:16])
}

// enter takes one of the places for uploads, leave gives it back. The last one
// is not for whoever has all the others: slow ones hold a place for hours.
func (u *uploads) enter(source string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if most := cap(u.slots); most > 1 && u.by[source] >= most-1 {
		return false
	}
	select {
	case u.slots <- struct{}{}:
		u.by[source]++
		return true
	default:
		return false
	}
}

func (u *uploads) leave(source string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.by[source]--; u.by[source] == 0 {
		delete(u.by, source)
	}
	<-u.slots
}

// begin opens the file that an upload goes to.
func (u *uploads) begin(up *Upload, b *Bucket, spare int64) (*incoming, error) {
	in := &incoming{s: u.s, bucket: b, spare: spare, about: partial{Bucket: up.Bucket, Key: up.Key, Type: up.Type, Total: up.Length}}
	if up.BodyDigest != nil {
		in.body = sha256.New()
	}
	if up.Ranged {
		in.about.Total = up.Total
	}
	if up.Ranged || up.Length >= checkpointBytes {
		u.makePlace(up)
		if err := u.claim(up, in); err != nil {
			return nil, err
		}
	}
	err := u.open(in)
	if err == nil {
		err = in.reserve(max(in.about.Total, in.offset))
	}
	if err != nil {
		if in.file != nil {
			in.done = in.offset > 0 // it may go on once there is room
			return nil, errors.Join(err, in.end())
		}
		err = errors.Join(err, in.reserve(0))
		if in.id != "" {
			err = errors.Join(err, removeIfThere(u.path(in.id, contentSuffix)))
		}
		u.release(in, false)
		return nil, err
	}
	return in, nil
}

// claim makes in the one upload to its key that may go on. An upload that
// begins anew takes the place of what lies there.
func (u *uploads) claim(up *Upload, in *incoming) error {
	id := uploadID(up.Bucket, up.Key)
	u.mu.Lock()
	defer u.mu.Unlock()
	old, there := u.kept[id]
	switch {
	case u.busy[id] && up.Ranged:
		return fmt.Errorf("%w to this key", ErrBusy)
	case u.busy[id], !there && !up.Ranged && len(u.kept)+len(u.busy) >= u.s.cfg.MaxPartial:
		return nil // it cannot go on, but it need not
	case !there && len(u.kept)+len(u.busy) >= u.s.cfg.MaxPartial:
		return fmt.Errorf("%w that may go on", ErrBusy)
	case up.Ranged && up.From > 0 && (!there || old.Offset != up.From || old.Total != up.Total):
		if there && old.Total != up.Total {
			return &OffsetError{} // it is another
		}
		return &OffsetError{Offset: old.Offset}
	}
	if there {
		delete(u.kept, id)
		in.reserved = old.Offset
		if up.Ranged && up.From > 0 {
			in.about, in.offset, in.saved = old, old.Offset, old.Offset
			u.s.stats.resumed.Add(1)
		}
	}
	u.busy[id] = true
	in.id = id
	return nil
}

func (u *uploads) open(in *incoming) (err error) {
	if in.hash, err = newHash(in.about.Hash); err != nil {
		return err
	}
	if in.id == "" {
		in.file, err = u.s.blobs.temporary()
		return err
	}
	if in.offset == 0 { // what was known of another goes first
		if err := removeIfThere(u.path(in.id, aboutSuffix)); err != nil {
			return err
		}
	}
	if in.file, err = os.OpenFile(u.path(in.id, contentSuffix), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if err := in.file.Truncate(in.offset); err != nil {
		return err
	}
	_, err = in.file.Seek(in.offset, io.SeekStart)
	return err
}

// release ends an upload's claim; kept is true where it may go on.
func (u *uploads) release(in *incoming, kept bool) {
	if in.id == "" {
		return
	}
	if !kept {
		if err := removeIfThere(u.path(in.id, aboutSuffix)); err != nil {
			u.s.cfg.Logger.Warn("remove what is left of an upload", "error", err)
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.busy, in.id)
	if kept {
		u.kept[in.id] = in.about
	}
}

// Offset is how much of an upload of that many bytes is there.
func (s *Service) Offset(bucket, key string, total int64) int64 {
	u := s.uploads
	u.mu.Lock()
	defer u.mu.Unlock()
	if p, there := u.kept[uploadID(bucket, key)]; there && p.Total == total {
		return p.Offset
	}
	return 0
}

// expire gives up uploads that have not gone on for long.
func (u *uploads) expire() {
	now := u.s.cfg.Steady()
	var gone []string
	u.mu.Lock()
	for id, p := range u.kept {
		if age(now, p.Updated) >= u.s.cfg.KeepPartial {
			gone = append(gone, id)
			u.giveUpLocked(id)
		}
	}
	u.mu.Unlock()
	u.remove(gone)
}

// makePlace gives up an upload where no further one may be kept to go on: the
// one that has not gone on for longest, of the bucket that has most. So who may
// write to one bucket does not keep those out who write to others.
func (u *uploads) makePlace(up *Upload) {
	u.mu.Lock()
	if _, there := u.kept[uploadID(up.Bucket, up.Key)]; there || len(u.kept)+len(u.busy) < u.s.cfg.MaxPartial {
		u.mu.Unlock()
		return
	}
	has := map[string]int{}
	for _, p := range u.kept {
		has[p.Bucket]++
	}
	most := up.Bucket
	for bucket, n := range has {
		if n > has[most] {
			most = bucket
		}
	}
	var oldest string
	if has[most] > has[up.Bucket]+1 {
		for id, p := range u.kept {
			if p.Bucket == most && (oldest == "" || p.Updated < u.kept[oldest].Updated) {
				oldest = id
			}
		}
		u.giveUpLocked(oldest)
	}
	u.mu.Unlock()
	if oldest != "" {
		u.remove([]string{oldest})
	}
}

// giveUpLocked makes a kept upload one that nobody can go on with; remove
// follows.
func (u *uploads) giveUpLocked(id string) {
	p := u.kept[id]
	delete(u.kept, id)
	u.busy[id] = true
	_ = u.s.store.Reserve(p.Bucket, -p.Offset, math.MaxInt64/2) // giving back cannot fail
}

// remove removes what lies there of uploads that were given up.
func (u *uploads) remove(gone []string) {
	for _, id := range gone {
		for _, suffix := range []string{aboutSuffix, contentSuffix} {
			if err := removeIfThere(u.path(id, suffix)); err != nil {
				u.s.cfg.Logger.Warn("remove an upload that was given up", "error", err)
			}
		}
		u.s.stats.uploadsExpired.Add(1)
		u.mu.Lock()
		delete(u.busy, id)
		u.mu.Unlock()
	}
}

// count is how many are under way, how many may go on, and the bytes of these.
func (u *uploads) count() (active, kept int, bytes int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range u.kept {
		bytes += p.Offset
	}
	return len(u.slots), len(u.kept), bytes
}
