package config

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/headgate-io/headgate/function"
)

// Objects are the buckets, and what bounds the uploads to them.
type Objects struct {
	// MaxUploads caps the uploads at once; further ones are told to come again.
	MaxUploads int `yaml:"max_uploads"`
	// MaxPartial caps the uploads that broke off and may go on, KeepPartial is
	// how long one may.
	MaxPartial  int               `yaml:"max_partial"`
	KeepPartial function.Duration `yaml:"keep_partial"`
	// Buckets are the buckets by name.
	Buckets map[string]Bucket `yaml:"buckets"`
}

// Bucket is a place for objects. Fields that are left out take the defaults
// named beside them.
type Bucket struct {
	// Quota caps the sizes of its objects together (256MiB).
	Quota function.ByteSize `yaml:"quota"`
	// MaxObject caps one object (the quota, 64MiB at most).
	MaxObject function.ByteSize `yaml:"max_object"`
	// MaxObjects caps how many there are (100000).
	MaxObjects int `yaml:"max_objects"`
	// Keep is how long an object lives; left out it is for ever.
	Keep function.Duration `yaml:"keep"`
	// WhenFull is refuse (new objects are refused, the default) or oldest (the
	// oldest make room).
	WhenFull string `yaml:"when_full"`
	// Public lets everybody read it over HTTP, beyond loopback only with
	// http.public. Writing needs a key with the scope write:BUCKET.
	Public bool `yaml:"public"`
}

// What a full bucket does.
const (
	WhenFullRefuse = "refuse"
	WhenFullOldest = "oldest"
)

// WithDefaults fills in what is left out.
func (b Bucket) WithDefaults() Bucket {
	if b.Quota == 0 {
		b.Quota = 256 << 20
	}
	if b.MaxObject == 0 {
		b.MaxObject = min(b.Quota, 64<<20)
	}
	if b.MaxObjects == 0 {
		b.MaxObjects = 100_000
	}
	if b.WhenFull == "" {
		b.WhenFull = WhenFullRefuse
	}
	return b
}

func defaultObjects() Objects {
	return Objects{MaxUploads: 8, MaxPartial: 64, KeepPartial: function.Duration(24 * time.Hour), Buckets: map[string]Bucket{}}
}

func (o *Objects) validate(add func(string, ...any)) {
	atLeast(add, o.MaxUploads, 1, "objects", "max_uploads")
	atLeast(add, o.MaxPartial, 1, "objects", "max_partial")
	atLeast(add, o.KeepPartial, function.Duration(time.Minute), "objects", "keep_partial")
	for _, name := range slices.Sorted(maps.Keys(o.Buckets)) {
		b := o.Buckets[name].WithDefaults()
		at := func(message, field string) { add(message, "objects", "buckets", name, field) }
		if !function.ValidBucket(name) {
			add(fmt.Sprintf("%q: a bucket's name starts with a letter and has only a-z, 0-9 and -, 63 at most", name), "objects", "buckets", name)
		}
		if b.Quota < 1 || b.MaxObject < 1 {
			at("must be positive, as 512MiB", "quota")
		}
		if b.MaxObject > b.Quota {
			at(fmt.Sprintf("%v is over the bucket's quota, %v", b.MaxObject, b.Quota), "max_object")
		}
		if b.MaxObjects < 1 || b.MaxObjects > maxObjects {
			at(fmt.Sprintf("%d is outside 1 to %d", b.MaxObjects, maxObjects), "max_objects")
		}
		if b.Keep < 0 || b.Keep > 0 && b.Keep < function.Duration(time.Second) {
			at(fmt.Sprintf("%v must be at least a second; leave it out to keep objects", b.Keep), "keep")
		}
		if b.WhenFull != WhenFullRefuse && b.WhenFull != WhenFullOldest {
			at(fmt.Sprintf("%q must be %s or %s", b.WhenFull, WhenFullRefuse, WhenFullOldest), "when_full")
		}
	}
	if len(o.Buckets) > maxBuckets {
		add(fmt.Sprintf("%d buckets, more than the %d there may be", len(o.Buckets), maxBuckets), "objects", "buckets")
	}
}

const (
	maxBuckets = 256
	maxObjects = 1_000_000
)
