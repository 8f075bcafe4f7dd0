package store

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Durability says what a commit waits for.
type Durability string

const (
	// Full waits until the commit is synced to the disk.
	Full Durability = "full"
	// Relaxed lets a power cut take back the last moments; the process may
	// still be killed without losing a commit.
	Relaxed Durability = "relaxed"
)

// Work is told when a loop works. Its methods are called from that loop.
type Work interface {
	Begin()
	End()
}

type nobody struct{}

func (nobody) Begin() {}
func (nobody) End()   {}

// Config configures a Store. Zero fields take the defaults named beside them.
type Config struct {
	// Path is the database file.
	Path string
	// Durability is Full by default.
	Durability Durability
	Logger     *slog.Logger

	// CacheBytes bounds the committed state kept in memory (4 MiB).
	CacheBytes int64
	// MaxPendingUnits and MaxPendingBytes bound what is sealed and waits for
	// its commit; Seal waits beyond (4096 units, 8 MiB).
	MaxPendingUnits int
	MaxPendingBytes int64
	// StateBytes is the quota of a namespace that SetStateQuota does not
	// name (1 MiB); TotalStateBytes bounds all together (256 MiB).
	StateBytes      int64
	TotalStateBytes int64
	// MaxQueueRows and MaxQueueBytes bound the queue (100 000, 64 MiB).
	MaxQueueRows  int64
	MaxQueueBytes int64
	// MaxDeadLetters bounds the dead letters (10 000) and MaxDeadLetterBytes
	// their events (32 MiB): the oldest go. MaxDeadLetterAge is how long one is
	// kept; 0 is no bound.
	MaxDeadLetters     int64
	MaxDeadLetterBytes int64
	MaxDeadLetterAge   time.Duration
	// MaxVersions bounds the versions kept per function (20): the oldest that
	// no alias points to go.
	MaxVersions int
	// MaxFunctions bounds the names of functions, removed ones included
	// (10 000), MaxBundleBytes all versions together (256 MiB).
	MaxFunctions   int64
	MaxBundleBytes int64
	// MaxUsageRows bounds the rollups (200 000): the oldest go, counted.
	MaxUsageRows int64
	// Gateway is the id that a controller gave; empty is the one that the database
	// knows, and where it knows none nothing is kept for a controller. MaxOutboxBytes bounds the batches of usage that
	// wait for it (64 MiB): from half of it on usage is counted by the hour, from
	// three quarters on by the day, so that nothing is lost.
	Gateway        string
	MaxOutboxBytes int64
	// UsageGrain is how many minutes share a row that is kept for a controller
	// (1), while the outbox has room.
	UsageGrain int64
	// DedupeWindow is how many CloudEvents ids are remembered (8192).
	DedupeWindow int
	// SweepEvery is how often expired keys are deleted (30 s).
	SweepEvery time.Duration
	// LazyEvery is how long a change that nobody waits for (an acknowledged
	// message, a retained one of QoS 0) may wait for a commit that is made
	// anyway (5 s).
	LazyEvery time.Duration
	// MinFreeBytes is the free space below which new events are refused
	// (16 MiB); other classes stop at multiples of it, see Class. Negative
	// turns the check off.
	MinFreeBytes int64
	// BallastBytes is the size of a file that is given up when the disk is
	// full (4 MiB); negative is none.
	BallastBytes int64
	// DiskEvery is how often the free space is looked at (1 s).
	DiskEvery time.Duration
	// Now is the wall clock (time.Now). Steady is the scale of durations that
	// outlive the process (Now): lives of keys, ages, waits; Wall is the wall
	// time of one of its moments (the same).
	Now    func() time.Time
	Steady func() time.Time
	Wall   func(steady time.Time) time.Time
	// Work is told when the committer begins a commit, or another try of one,
	// and when it has nothing to do; nil is nobody.
	Work Work
	// Inject, where set, is called before each step of a commit; what it
	// returns is taken for an error of the disk. For tests.
	Inject func(Step) error

	freeSpace func(dir string) (free, total int64, err error)
}

// Step is a step of a commit, for Config.Inject.
type Step string

// The steps of a commit. AfterCommit comes when the transaction is on disk.
const (
	StepBegin       Step = "begin"
	StepWrite       Step = "write"
	StepCommit      Step = "commit"
	StepAfterCommit Step = "after_commit"
	StepReopen      Step = "reopen"
	// These are on the way of a database that is put in the place of another.
	StepSalvaged Step = "salvaged"
	StepPutAside Step = "put-aside"
	StepReplaced Step = "replaced"
	StepIdentify Step = "identify"
)

func (c Config) withDefaults() (Config, error) {
	if c.Path == "" {
		return c, errors.New("open store: path is empty: name the database file")
	}
	c.Durability = cmp.Or(c.Durability, Full)
	if c.Durability != Full && c.Durability != Relaxed {
		return c, fmt.Errorf("open store: durability %q: use %q or %q", c.Durability, Full, Relaxed)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Work == nil {
		c.Work = nobody{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Steady == nil {
		c.Steady = c.Now
	}
	if c.Wall == nil {
		c.Wall = func(steady time.Time) time.Time { return steady }
	}
	c.CacheBytes = cmp.Or(c.CacheBytes, 4<<20)
	c.MaxPendingUnits = cmp.Or(c.MaxPendingUnits, 4096)
	c.MaxPendingBytes = cmp.Or(c.MaxPendingBytes, 8<<20)
	c.StateBytes = cmp.Or(c.StateBytes, 1<<20)
	c.TotalStateBytes = cmp.Or(c.TotalStateBytes, 256<<20)
	c.MaxQueueRows = cmp.Or(c.MaxQueueRows, 100_000)
	c.MaxQueueBytes = cmp.Or(c.MaxQueueBytes, 64<<20)
	c.MaxDeadLetters = cmp.Or(c.MaxDeadLetters, 10_000)
	c.MaxDeadLetterBytes = cmp.Or(c.MaxDeadLetterBytes, 32<<20)
	c.MaxVersions = cmp.Or(c.MaxVersions, 20)
	c.MaxFunctions = cmp.Or(c.MaxFunctions, 10_000)
	c.MaxBundleBytes = cmp.Or(c.MaxBundleBytes, 256<<20)
	c.MaxUsageRows = cmp.Or(c.MaxUsageRows, 200_000)
	c.UsageGrain = cmp.Or(c.UsageGrain, grainMinute)
	c.MaxOutboxBytes = cmp.Or(c.MaxOutboxBytes, 64<<20)
	c.DedupeWindow = cmp.Or(c.DedupeWindow, 8192)
	c.SweepEvery = cmp.Or(c.SweepEvery, 30*time.Second)
	c.LazyEvery = cmp.Or(c.LazyEvery, 5*time.Second)
	c.MinFreeBytes = cmp.Or(c.MinFreeBytes, 16<<20)
	c.BallastBytes = cmp.Or(c.BallastBytes, 4<<20)
	c.DiskEvery = cmp.Or(c.DiskEvery, time.Second)
	if c.freeSpace == nil {
		c.freeSpace = freeSpace
	}
	return c, nil
}
