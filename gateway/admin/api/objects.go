package api

import "time"

// Bucket is a place for objects.
type Bucket struct {
	Name string `json:"name"`
	// Bytes and Objects are what it holds, Reserved what uploads under way take.
	Bytes    int64 `json:"bytes"`
	Objects  int64 `json:"objects"`
	Reserved int64 `json:"reserved,omitempty"`
	// Quota, MaxObject and MaxObjects are its bounds.
	Quota      int64 `json:"quota"`
	MaxObject  int64 `json:"max_object"`
	MaxObjects int64 `json:"max_objects"`
	// Keep is how long an object lives; 0 is for ever.
	Keep     time.Duration `json:"keep_ns,omitempty"`
	WhenFull string        `json:"when_full" enum:"refuse,oldest"`
	Public   bool          `json:"public,omitempty"`
}

// Object is what a bucket has under a key.
type Object struct {
	Bucket   string    `json:"bucket"`
	Key      string    `json:"key"`
	Digest   string    `json:"digest"`
	Size     int64     `json:"size"`
	Type     string    `json:"type"`
	Modified time.Time `json:"modified"`
}

// ObjectList is a page of a bucket's objects; with More there is another after
// the last.
type ObjectList struct {
	Objects []Object `json:"objects"`
	More    bool     `json:"more,omitempty"`
}
