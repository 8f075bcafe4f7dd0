package object

import (
	"context"
	"crypto/sha256"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
)

// Upload is content on its way into a bucket.
type Upload struct {
	Bucket, Key string
	// Type is its media type; empty is by the key's ending. Source is where its
	// event comes from.
	Type, Source string
	// Body is the content, Length its size, -1 where that is not known.
	Body   io.Reader
	Length int64
	// Ranged is true where Body is the part of the object from From on, of
	// Total bytes.
	Ranged      bool
	From, Total int64
	// Digest is the SHA-256 that the whole must have, BodyDigest that of Body;
	// nil is any.
	Digest, BodyDigest []byte
	// May, where not nil, says whether it may be put.
	May Condition
}

// Stored is what became of an upload.
type Stored struct {
	function.Object
	// Replaced is true where another object had the key.
	Replaced bool
	// Complete is false where the rest is still to come, from Offset on.
	Complete bool
	Offset   int64
}

// OffsetError is an upload that goes on from elsewhere than what is there.
type OffsetError struct {
	// Offset is from where it can go on.
	Offset int64
}

// Error says from where.
func (e *OffsetError) Error() string {
	return fmt.Sprintf("the upload can go on from byte %d", e.Offset)
}

// BodyError is a body that did not arrive as a whole.
type BodyError struct {
	Err error
	// Offset is from where it can go on; 0 is the start.
	Offset int64
}

// Error says what went wrong.
func (e *BodyError) Error() string { return fmt.Sprintf("the content did not arrive: %v", e.Err) }

// Unwrap returns the cause.
func (e *BodyError) Unwrap() error { return e.Err }

const (
	// checkpointBytes is how much of an upload may have to be sent again when
	// the gateway ends under it. Smaller ones begin anew.
	checkpointBytes = 8 << 20
	copyBytes       = 64 << 10
	// stepBytes is how often an upload looks whether it can go on.
	stepBytes = 1 << 20
)

// Put takes an upload, and returns once its object is committed or its part is
// on disk.
func (s *Service) Put(ctx context.Context, u Upload) (Stored, error) {
	stored, err := s.put(ctx, u)
	var quota *store.QuotaError
	switch {
	case err == nil && stored.Complete:
		s.stats.put.Add(1)
	case errors.As(err, &quota), errors.Is(err, ErrBusy), errors.Is(err, ErrTooLarge):
		s.stats.refused.Add(1)
	case errors.Is(err, ErrDigest):
		s.stats.mismatches.Add(1)
	}
	return stored, err
}

func (s *Service) put(ctx context.Context, u Upload) (out Stored, err error) {
	b, err := s.Bucket(u.Bucket)
	if err != nil {
		return out, err
	}
	spare, err := s.admit(ctx, &u, &b)
	if err != nil {
		return out, err
	}
	if !s.uploads.enter(u.Source) {
		return out, ErrBusy
	}
	defer s.uploads.leave(u.Source)
	in, err := s.uploads.begin(&u, &b, spare)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, in.end()) }()
	before, saved := in.about, in.saved
	if err := in.copy(&u); err != nil {
		return out, err
	}
	if u.BodyDigest != nil && string(u.BodyDigest) != string(in.body.Sum(nil)) {
		return out, in.takeBack(&u, before, saved)
	}
	if u.Ranged && in.offset < u.Total {
		if err := in.keep(); err != nil {
			return out, err
		}
		return Stored{Offset: in.offset}, nil
	}
	return in.finish(ctx, &u)
}

// admit refuses what can be refused before anything was sent, and says how
// much of the bucket will be free once it is there.
func (s *Service) admit(ctx context.Context, u *Upload, b *Bucket) (spare int64, err error) {
	if err := function.CheckObjectKey(u.Key); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if u.Type, err = function.ObjectType(u.Type, u.Key); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if max(u.Length, u.Total) > min(b.MaxObject, b.Quota) {
		return 0, ErrTooLarge
	}
	if err := s.store.CheckSpace(store.Blobs); err != nil {
		return 0, err
	}
	old, found, err := s.store.GetObject(ctx, u.Bucket, u.Key)
	if err == nil && u.May != nil {
		err = u.May(old, found)
	}
	if b.DropOldest {
		return b.Quota, err
	}
	return old.Size, err
}

// incoming is an upload whose content is being written to a file.
type incoming struct {
	s      *Service
	bucket *Bucket
	// id is that of the partial upload that it is; empty is none, and then it
	// cannot go on after this.
	id       string
	about    partial
	file     *os.File
	hash     hash.Hash
	body     hash.Hash // of this part alone; nil where nobody asks
	offset   int64
	saved    int64 // of offset, on disk
	reserved int64
	// spare is what is free once it is there: what it replaces, or the oldest.
	spare int64
	done  bool // nothing is left of it, or all that there is is kept
}

// reserve makes what is kept free for it that many bytes.
func (in *incoming) reserve(bytes int64) error {
	if err := in.s.store.Reserve(in.bucket.Name, bytes-in.reserved, in.spare); err != nil {
		return err
	}
	in.reserved = bytes
	return nil
}

// copy takes the body in.
func (in *incoming) copy(u *Upload) error {
	limit := min(in.bucket.MaxObject, in.bucket.Quota)
	buf := make([]byte, copyBytes)
	for next := in.offset + stepBytes; ; {
		n, err := u.Body.Read(buf)
		if n > 0 {
			if in.offset+int64(n) > limit {
				return ErrTooLarge
			}
			if err := in.write(buf[:n]); err != nil {
				return err
			}
			if in.offset >= next {
				next += stepBytes
				if err := in.step(); err != nil {
					return err
				}
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			in.s.stats.broken.Add(1)
			broken := &BodyError{Err: err}
			if in.id != "" && in.offset > 0 {
				if err := in.keep(); err != nil {
					return err
				}
				broken.Offset = in.offset
			}
			return broken
		}
	}
}

func (in *incoming) write(p []byte) error {
	if in.about.Total <= 0 && in.offset+int64(len(p)) > in.reserved {
		if err := in.reserve(in.offset + int64(len(p))); err != nil {
			return err
		}
	}
	if _, err := in.file.Write(p); err != nil {
		return in.noRoom(fmt.Errorf("keep an upload: %w", err))
	}
	in.hash.Write(p)
	if in.body != nil {
		in.body.Write(p)
	}
	in.offset += int64(len(p))
	in.s.stats.putBytes.Add(uint64(len(p)))
	return nil
}

// noRoom turns an error of a full disk into what callers know.
func (in *incoming) noRoom(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return &store.QuotaError{What: "disk", Namespace: "new objects", Slot: -1, Limit: in.about.Total, Unit: "bytes"}
	}
	return err
}

// step looks, from time to time, whether it can go on.
func (in *incoming) step() error {
	if err := in.s.store.CheckSpace(store.Blobs); err != nil {
		return err
	}
	if in.id != "" && in.offset-in.saved >= checkpointBytes {
		return in.save()
	}
	return nil
}

// finish makes an object of what has arrived.
func (in *incoming) finish(ctx context.Context, u *Upload) (Stored, error) {
	sum := in.hash.Sum(nil)
	if u.Digest != nil && string(u.Digest) != string(sum) {
		return Stored{}, ErrDigest
	}
	out := Stored{Object: function.Object{Digest: function.DigestOf(sum), Size: in.offset, Type: in.about.Type}, Complete: true, Offset: in.offset}
	in.s.blobs.hold(out.Digest)
	defer in.s.blobs.release(out.Digest)
	if err := in.file.Close(); err != nil {
		return out, in.noRoom(err)
	}
	if err := in.s.blobs.place(in.file.Name(), out.Digest); err != nil {
		return out, in.noRoom(err)
	}
	if err := in.reserve(0); err != nil {
		return out, err
	}
	replaced, err := in.s.commit(ctx, u.Source, u.Bucket, u.Key, &out.Object, u.May)
	out.Replaced = replaced
	return out, err
}

// end lets go of what is left of it.
func (in *incoming) end() error {
	_ = in.file.Close() // closed already, unless it went wrong
	if in.done {
		in.s.uploads.release(in, true)
		return nil
	}
	err := errors.Join(in.reserve(0), removeIfThere(in.file.Name()))
	in.s.uploads.release(in, false)
	return err
}

// takeBack makes an upload what it was before a part whose digest is not what
// was said of it, so that the part can be sent again.
func (in *incoming) takeBack(u *Upload, before partial, saved int64) error {
	if !u.Ranged || saved == 0 {
		return ErrDigest
	}
	in.about, in.offset, in.saved = before, saved, saved
	// What is known of it goes back first: content behind its end is cut off.
	if err := in.s.uploads.write(in.id, &in.about); err != nil {
		return in.noRoom(err)
	}
	if err := in.file.Truncate(saved); err != nil {
		return err
	}
	in.done = true
	return errors.Join(in.reserve(saved), ErrDigest)
}

// keep puts what has arrived on disk, for the rest to follow.
func (in *incoming) keep() error {
	if err := in.save(); err != nil {
		return err
	}
	in.done = true
	return in.reserve(in.offset)
}

// save puts what has arrived on disk.
func (in *incoming) save() error {
	state, err := in.hash.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return err
	}
	if err := in.file.Sync(); err != nil {
		return in.noRoom(err)
	}
	in.about.Offset, in.about.Hash, in.about.Updated = in.offset, state, in.s.cfg.Steady().UnixMilli()
	if err := in.s.uploads.write(in.id, &in.about); err != nil {
		return in.noRoom(err)
	}
	in.saved = in.offset
	return nil
}

func newHash(state []byte) (hash.Hash, error) {
	h := sha256.New()
	if len(state) == 0 {
		return h, nil
	}
	return h, h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state)
}

// age is how long ago a steady time was.
func age(now time.Time, millis int64) time.Duration {
	return time.Duration(now.UnixMilli()-millis) * time.Millisecond
}
