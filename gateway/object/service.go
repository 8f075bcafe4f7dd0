package object

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/store"
)

// Bucket is a place for objects, as the operator declared it.
type Bucket struct {
	Name string
	// Quota bounds the sizes of its objects together, MaxObject that of one,
	// MaxObjects how many there are.
	Quota, MaxObject, MaxObjects int64
	// Keep is how long an object lives; 0 is for ever.
	Keep time.Duration
	// DropOldest makes room for new objects by deleting the oldest; without it
	// they are refused.
	DropOldest bool
	// Public lets everybody read it over HTTP.
	Public bool
}

// Config configures a Service. Zero fields take the defaults named beside them.
type Config struct {
	// Dir is the folder of the bytes.
	Dir     string
	Buckets []Bucket
	// MaxUploads bounds the uploads at once (8).
	MaxUploads int
	// MaxPartial bounds the uploads that broke off and may go on (64), and
	// KeepPartial is how long one may (24 h).
	MaxPartial  int
	KeepPartial time.Duration
	// Every is how often what has expired is looked for (30 s).
	Every time.Duration
	// Now is the wall clock (time.Now), Steady the scale of durations that
	// outlive the process (Now).
	Now, Steady func() time.Time
	Logger      *slog.Logger
}

// Dispatcher commits changes with what they start; *dispatch.Dispatcher is one.
type Dispatcher interface {
	Decide(ctx context.Context, id, source string, decide func(v *store.View) (function.Effects, error)) error
}

var _ Dispatcher = (*dispatch.Dispatcher)(nil)

// Service keeps the objects of a gateway. It may be used from any goroutine.
type Service struct {
	cfg     Config
	store   *store.Store
	blobs   *blobs
	buckets map[string]*Bucket
	uploads *uploads
	wanted  wanted
	stats   counters

	dispatcher Dispatcher
	newID      func() string

	stop  context.CancelFunc
	ended chan struct{} // closed when nothing is cleared away any more
}

// Errors of the service; others are those of the store, of the dispatcher and
// of a disk.
var (
	// ErrNoBucket is a bucket that the operator has not declared.
	ErrNoBucket = errors.New("there is no such bucket: the gateway's configuration declares them, under objects.buckets")
	// ErrNotFound is a key without an object.
	ErrNotFound = errors.New("there is no such object")
	// ErrMissing is an object whose bytes are not on this disk: its row came
	// with a backup.
	ErrMissing = errors.New("the object's bytes are not on this gateway's disk: they were not part of the backup that was restored")
	// ErrTooLarge is an object over the bucket's max_object.
	ErrTooLarge = errors.New("the object is over the bucket's max_object")
	// ErrBusy is too many uploads at once.
	ErrBusy = errors.New("too many uploads are under way")
	// ErrInvalid is a key or a type that cannot be.
	ErrInvalid = errors.New("invalid object")
	// ErrNoRoom is a bucket in which no deletion of older objects makes room.
	ErrNoRoom = errors.New("there are no older objects whose deletion would make room")
	// ErrDigest is content that does not have the digest that was said of it.
	ErrDigest = errors.New("the content does not have the digest that was sent with it")
)

// New opens the folder. Nothing changes until Start.
func New(cfg Config, s *store.Store) (*Service, error) {
	positive(&cfg.MaxUploads, 8)
	positive(&cfg.MaxPartial, 64)
	positive(&cfg.KeepPartial, 24*time.Hour)
	positive(&cfg.Every, 30*time.Second)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Steady == nil {
		cfg.Steady = cfg.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	b, err := openBlobs(cfg.Dir, cfg.Logger)
	if err != nil {
		return nil, fmt.Errorf("open the folder of the objects %s: %w", cfg.Dir, err)
	}
	v := &Service{cfg: cfg, store: s, blobs: b, buckets: map[string]*Bucket{}, wanted: newWanted(), ended: make(chan struct{})}
	for i := range cfg.Buckets {
		bucket := &cfg.Buckets[i]
		v.buckets[bucket.Name] = bucket
		s.SetBucket(bucket.Name, store.BucketBounds{Bytes: bucket.Quota, Objects: bucket.MaxObjects, Keep: bucket.Keep})
	}
	if v.uploads, err = openUploads(v); err != nil {
		return nil, fmt.Errorf("open the folder of the uploads: %w", err)
	}
	s.OnObjectsFreed(b.freed)
	return v, nil
}

func positive[T int | time.Duration](v *T, missing T) {
	if *v <= 0 {
		*v = missing
	}
}

// Start lets changes be made, and begins to clear away. newID names acts.
func (s *Service) Start(d Dispatcher, newID func() string) {
	s.dispatcher, s.newID = d, newID
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() { defer close(s.ended); s.clear(ctx) }()
}

// Close ends what clears away. It must come before the dispatcher's and the
// store's.
func (s *Service) Close() {
	if s.stop != nil {
		s.stop()
		<-s.ended
	}
}

// Has reports whether a bucket is declared.
func (s *Service) Has(bucket string) bool { return s.buckets[bucket] != nil }

// Bucket returns a bucket by name.
func (s *Service) Bucket(name string) (Bucket, error) {
	b := s.buckets[name]
	if b == nil {
		return Bucket{}, fmt.Errorf("bucket %s: %w", name, ErrNoBucket)
	}
	return *b, nil
}

// NewStage makes a stage for one event.
func (s *Service) NewStage() dispatch.Stage { return &Stage{b: s.blobs} }

// MaxObject is how large an object of a bucket may be; 0 where there is no such
// bucket.
func (s *Service) MaxObject(bucket string) int64 {
	if b := s.buckets[bucket]; b != nil {
		return b.MaxObject
	}
	return 0
}

// Stat tells what a bucket has under a key.
func (s *Service) Stat(ctx context.Context, bucket, key string) (function.Object, error) {
	if !s.Has(bucket) {
		return function.Object{}, fmt.Errorf("bucket %s: %w", bucket, ErrNoBucket)
	}
	o, found, err := s.store.GetObject(ctx, bucket, key)
	if err == nil && !found {
		err = fmt.Errorf("%s/%s: %w", bucket, key, ErrNotFound)
	}
	return o, err
}

// Open opens what a bucket has under a key for reading.
func (s *Service) Open(ctx context.Context, bucket, key string) (function.Object, *os.File, error) {
	for try := 0; ; try++ {
		o, err := s.Stat(ctx, bucket, key)
		if err != nil {
			return o, nil, err
		}
		f, err := s.blobs.open(o.Digest)
		if !errors.Is(err, fs.ErrNotExist) {
			s.stats.read.Add(1)
			return o, f, err
		}
		if try > 0 { // it was not replaced between the two
			return o, nil, fmt.Errorf("%s/%s: %w", bucket, key, ErrMissing)
		}
	}
}

// List lists up to limit objects whose keys start with prefix and sort after
// after, and whether there are more.
func (s *Service) List(ctx context.Context, bucket, prefix, after string, limit int) ([]store.ObjectRow, bool, error) {
	if !s.Has(bucket) {
		return nil, false, fmt.Errorf("bucket %s: %w", bucket, ErrNoBucket)
	}
	return s.store.ListObjects(ctx, bucket, prefix, after, limit)
}

// Condition says whether a change may be made of what is there; nil allows it.
type Condition func(o function.Object, found bool) error

// Delete deletes what a bucket has under a key, if the condition, which may be
// nil, allows it.
func (s *Service) Delete(ctx context.Context, source, bucket, key string, may Condition) error {
	if !s.Has(bucket) {
		return fmt.Errorf("bucket %s: %w", bucket, ErrNoBucket)
	}
	err := s.dispatcher.Decide(ctx, s.newID(), source, func(v *store.View) (e function.Effects, err error) {
		o, found, err := lookUp(v, bucket, key)
		if err == nil && may != nil {
			err = may(o, found)
		}
		if err == nil && !found {
			err = fmt.Errorf("%s/%s: %w", bucket, key, ErrNotFound)
		}
		if err != nil {
			return e, err
		}
		return function.Effects{Objects: []function.ObjectChange{{Bucket: bucket, Key: key, Delete: true, Object: o}}}, nil
	})
	if err == nil {
		s.stats.deleted.Add(1)
	}
	return err
}

// lookUp reads a key of a bucket through a view.
func lookUp(v *store.View, bucket, key string) (o function.Object, found bool, err error) {
	value, found, err := v.Get(function.ObjectSpace(bucket), key)
	if err != nil || !found {
		return o, false, err
	}
	o, err = function.DecodeObject(value)
	return o, err == nil, err
}

// commit puts an object whose content is placed and held. It returns when it is
// known what became of that, whether or not somebody still waits: until then the
// content is needed.
func (s *Service) commit(ctx context.Context, source, bucket, key string, o *function.Object, may Condition) (replaced bool, err error) {
	ctx = context.WithoutCancel(ctx)
	for try := 0; ; try++ {
		replaced, err = s.tryCommit(ctx, source, bucket, key, o, may)
		var more *moreRoomError
		if !errors.As(err, &more) || try == 3 {
			return replaced, err
		}
		select {
		case <-more.made:
		case <-s.ended:
			return replaced, err
		}
	}
}

func (s *Service) tryCommit(ctx context.Context, source, bucket, key string, o *function.Object, may Condition) (replaced bool, err error) {
	err = s.dispatcher.Decide(ctx, s.newID(), source, func(v *store.View) (e function.Effects, err error) {
		var old function.Object
		if old, replaced, err = lookUp(v, bucket, key); err == nil && may != nil {
			err = may(old, replaced)
		}
		if err != nil {
			return e, err
		}
		o.Modified = s.cfg.Now().UTC().Truncate(time.Millisecond)
		return function.Effects{Objects: []function.ObjectChange{{Bucket: bucket, Key: key, Object: *o}}}, nil
	})
	return replaced, err
}

// Stats are counters since the start, and what there is now.
type Stats struct {
	// Put, Deleted and Expired changed objects; Evicted made room for others;
	// Read were opened for reading.
	Put, Deleted, Expired, Evicted, Read uint64
	// PutBytes were uploaded.
	PutBytes uint64
	// UploadsRefused had no room or were too many, UploadsBroken broke off,
	// UploadsResumed went on, UploadsExpired were given up, DigestMismatches did
	// not have the digest that was said of them.
	UploadsRefused, UploadsBroken, UploadsResumed, UploadsExpired, DigestMismatches uint64
	// BlobsWritten and BlobsCollected are files of content, BlobsMissing reads
	// of one that is not there.
	BlobsWritten, BlobsCollected, BlobsMissing uint64
	// Uploads are under way, Partial broke off and may go on; PartialBytes is
	// what they have on disk.
	Uploads, Partial int
	PartialBytes     int64
	// Objects and Bytes are what all buckets hold.
	Objects, Bytes int64
}

type counters struct {
	put, deleted, expired, evicted, read, putBytes, refused, broken, resumed, uploadsExpired, mismatches atomic.Uint64
}

// Stats returns the counters.
func (s *Service) Stats() Stats {
	n := &s.stats
	out := Stats{
		Put: n.put.Load(), Deleted: n.deleted.Load(), Expired: n.expired.Load(), Evicted: n.evicted.Load(), Read: n.read.Load(),
		PutBytes: n.putBytes.Load(), UploadsRefused: n.refused.Load(), UploadsBroken: n.broken.Load(), UploadsResumed: n.resumed.Load(),
		UploadsExpired: n.uploadsExpired.Load(), DigestMismatches: n.mismatches.Load(),
		BlobsWritten: s.blobs.written.Load(), BlobsCollected: s.blobs.collected.Load(), BlobsMissing: s.blobs.missing.Load(),
	}
	out.Uploads, out.Partial, out.PartialBytes = s.uploads.count()
	for name := range s.buckets {
		use := s.store.BucketUse(name)
		out.Objects += use.Objects
		out.Bytes += use.Bytes
	}
	return out
}
