package ota

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headgate-io/headgate/internal/durable"
	"github.com/headgate-io/headgate/internal/fault"
)

// incomingDir has what is on its way in, below Config.Dir: files named by the
// digest that they have to have, with partSuffix while they are not whole.
const (
	incomingDir = "incoming"
	partSuffix  = ".part"
)

// fruitless is how many times in a row a server may send nothing new, and
// defaultPause how long is waited after the first.
const (
	fruitless    = 3
	defaultPause = 2 * time.Second
)

// sink is a file that is being written.
type sink interface {
	io.Writer
	io.Closer
	Sync() error
}

func openSink(file string) (sink, error) {
	return os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// Fetch brings a target here and returns its file, whole and with the digest
// that was signed. What of it is here already is not fetched again, across
// restarts too; a part never has the whole one's name. Drop takes it away.
func (c *Client) Fetch(ctx context.Context, t Target) (file string, err error) {
	c.fetching.Lock()
	defer c.fetching.Unlock()
	defer func() { c.counted(err) }() //nolint:errcheck // it is returned
	whole := filepath.Join(c.cfg.Dir, incomingDir, t.SHA256)
	if err := c.check(whole, t); err == nil {
		return whole, nil
	}
	if err := c.keepOnly(t); err != nil {
		return "", err
	}
	d := &download{c: c, t: t, part: whole + partSuffix}
	if err := d.run(ctx); err != nil {
		return "", fmt.Errorf("fetch %s: %w", t.Name, err)
	}
	if err := os.Rename(d.part, whole); err != nil {
		return "", fmt.Errorf("fetch %s: %w", t.Name, err)
	}
	c.statsMu.Lock()
	c.stats.Fetched++
	c.statsMu.Unlock()
	return whole, durable.SyncFolder(filepath.Dir(whole))
}

// Drop takes a fetched target away.
func (c *Client) Drop(t Target) error {
	c.fetching.Lock()
	defer c.fetching.Unlock()
	err := os.Remove(filepath.Join(c.cfg.Dir, incomingDir, t.SHA256))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// keepOnly takes away what came of other targets: one at a time is on its way.
func (c *Client) keepOnly(t Target) error {
	dir := filepath.Join(c.cfg.Dir, incomingDir)
	all, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("updates: %w", err)
	}
	for _, e := range all {
		if e.Name() == t.SHA256+partSuffix {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("updates: %w", err)
		}
	}
	return nil
}

// check reports whether a file is a target, whole.
func (c *Client) check(file string, t Target) error {
	h := sha256.New()
	n, err := hashFile(file, h)
	if err != nil {
		return err
	}
	if fault.On(fault.SkipDigest) {
		return nil
	}
	if n != t.Bytes || hex.EncodeToString(h.Sum(nil)) != t.SHA256 {
		return ErrMixed
	}
	return nil
}

func hashFile(file string, h hash.Hash) (int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return io.Copy(h, f)
}

// download is one target on its way.
type download struct {
	c    *Client
	t    Target
	part string

	have int64     // bytes in part
	hash hash.Hash // of them
	// resumed is true while part has bytes of an earlier answer.
	resumed bool
}

// run asks until the target is whole. A connection that ends early is asked
// for the rest; a part that leads to another digest is thrown away, once.
func (d *download) run(ctx context.Context) error {
	if err := d.resume(); err != nil {
		return err
	}
	for idle, again := 0, false; ; {
		before := d.have
		err := d.attempt(ctx)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.ENOSPC):
			// The gateway needs the room for what it has promised.
			return errors.Join(fmt.Errorf("%w: %w", ErrNoRoom, err), d.discard())
		case errors.Is(err, errAgain):
			if failed := d.discard(); failed != nil || again {
				return errors.Join(err, failed)
			}
			again = true
			continue
		case !errors.Is(err, ErrUnreachable) || ctx.Err() != nil:
			return err
		}
		if idle++; d.have > before {
			idle = 0
		}
		if idle == fruitless {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(d.c.pause * time.Duration(idle)):
		}
	}
}

// errAgain is an answer that does not go with the part that is here.
var errAgain = errors.New("it does not go with the part that is here")

// resume finds what is here already.
func (d *download) resume() (err error) {
	d.hash = sha256.New()
	d.have, err = hashFile(d.part, d.hash)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || d.have > d.t.Bytes {
		return errors.Join(err, d.discard())
	}
	if d.have > 0 {
		d.resumed = true
		d.c.statsMu.Lock()
		d.c.stats.Resumed++
		d.c.statsMu.Unlock()
	}
	return nil
}

func (d *download) discard() error {
	d.have, d.resumed, d.hash = 0, false, sha256.New()
	if err := os.Remove(d.part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// attempt asks for what is missing, once.
func (d *download) attempt(ctx context.Context) (err error) {
	if d.have < d.t.Bytes {
		if err := d.receive(ctx); err != nil {
			return err
		}
	}
	if hex.EncodeToString(d.hash.Sum(nil)) == d.t.SHA256 || fault.On(fault.SkipDigest) {
		return nil
	}
	if d.resumed {
		return fmt.Errorf("%w: %w", ErrMixed, errAgain)
	}
	return errors.Join(fmt.Errorf("%w: it has another digest", ErrMixed), d.discard())
}

// receive appends what one answer has.
func (d *download) receive(ctx context.Context) (err error) {
	if err := d.c.room(d.t.Bytes - d.have); err != nil {
		return err
	}
	content, err := d.c.cfg.Source.Open(ctx, d.t.Path(), d.have)
	if errors.Is(err, ErrRange) && d.have > 0 {
		return fmt.Errorf("%w: %w", errAgain, err)
	}
	if err != nil {
		return err
	}
	defer content.Body.Close()
	if content.Offset != d.have {
		if err := d.discard(); err != nil {
			return err
		}
	}
	f, err := d.c.create(d.part)
	if err != nil {
		return err
	}
	defer func() {
		if !fault.On(fault.PartNotSynced) {
			err = errors.Join(err, f.Sync())
		}
		err = errors.Join(err, f.Close())
	}()
	return d.copy(f, content.Body)
}

// copy takes what comes, up to the length that was signed and not a byte more.
func (d *download) copy(f io.Writer, body io.Reader) error {
	buffer := make([]byte, 64<<10)
	for {
		n, err := body.Read(buffer)
		if left := d.t.Bytes - d.have; int64(n) > left {
			return errors.Join(fmt.Errorf("%w: it goes on after the %d that were signed", ErrTooLarge, d.t.Bytes), d.discard())
		}
		if n > 0 {
			if _, err := f.Write(buffer[:n]); err != nil {
				return err
			}
			d.hash.Write(buffer[:n])
			d.have += int64(n)
			d.c.statsMu.Lock()
			d.c.stats.FetchedBytes += uint64(n)
			d.c.statsMu.Unlock()
		}
		if err == nil {
			continue
		}
		if d.have < d.t.Bytes {
			d.resumed = true
			return fmt.Errorf("%w: it ended after %d of %d bytes: %w", ErrUnreachable, d.have, d.t.Bytes, err)
		}
		return nil //nolint:nilerr // it is whole, however the connection ended
	}
}

// room refuses what would leave too little of the disk.
func (c *Client) room(bytes int64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(c.cfg.Dir, &s); err != nil {
		return fmt.Errorf("updates: %w", err)
	}
	free := int64(s.Bavail) * int64(s.Bsize) //nolint:unconvert // 32 bits on some boards
	if free-bytes < c.cfg.ReserveBytes {
		return fmt.Errorf("%w: %d bytes are to come, %d are free, %d are to stay so", ErrNoRoom, bytes, free, c.cfg.ReserveBytes)
	}
	return nil
}
