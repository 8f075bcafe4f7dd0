//go:build e2e

package examples

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestCamera(t *testing.T) {
	files := t.TempDir()
	example{
		folder: "camera",
		scopes: []string{"write:camera", "read:camera", "read:pictures", "call:metadata"},
		check:  func(ctx context.Context, s *site) error { return checkCamera(ctx, s, files) },
		without: map[string]string{
			"metadata":  "GET /pictures: answered 404",
			"thumbnail": "pictures/thumbnails/front/1.jpg: answered 404",
			"watermark": "pictures/marked/front/1.jpg: answered 404",
		},
	}.run(t)
}

// upload is a picture as a camera sends it; picture is nil for what is none.
type upload struct {
	key     string
	raw     []byte
	picture image.Image
}

func checkCamera(ctx context.Context, s *site, files string) error {
	large, small, tall := painted(1280, 853, 1), painted(120, 90, 2), painted(300, 801, 3)
	uploads := []upload{
		{"front/1.jpg", asJPEG(large), large},
		{"front/2.jpg", withNotes(asJPEG(tall)), tall}, // its header comes late
		{"back/1.png", asPNG(tall), tall},
		{"back/2.png", asPNG(small), small},
		{"back/3.jpg", []byte("the lens is dirty"), nil},
		{"back/4.png", asPNG(large)[:5000], nil},
		{"back/notes.txt", []byte("not a picture, and not said to be one"), nil},
	}
	for _, u := range uploads {
		if err := s.upload(ctx, files, u, 201); err != nil {
			return err
		}
	}
	for _, u := range uploads {
		if err := s.processed(ctx, u); err != nil {
			return err
		}
	}
	if err := s.Drain(ctx, patient); err != nil {
		return err
	}
	// The header of the broken PNG is there: its row is, and no picture.
	if err := s.rows(ctx, append(uploads[:4:4], upload{key: "back/4.png", raw: uploads[5].raw, picture: large})); err != nil {
		return err
	}
	if err := s.none(ctx, "back/3.jpg", "back/4.png", "back/notes.txt"); err != nil {
		return err
	}

	// Another picture under a key, and one that is deleted.
	again := upload{"front/1.jpg", asJPEG(tall), tall}
	if err := s.upload(ctx, files, again, 200); err != nil {
		return err
	}
	a, err := s.call(ctx, "/buckets/camera/back/1.png", "-X", "DELETE")
	if err == nil {
		err = a.demand("DELETE back/1.png", 204, nil)
	}
	if err == nil {
		err = s.until(ctx, func() error { return s.none(ctx, "back/1.png") })
	}
	if err == nil {
		err = s.processed(ctx, again)
	}
	if err != nil {
		return err
	}
	s.say("%d uploads: thumbnails, marks and rows as worked out; the time is written in each", len(uploads)+1)
	return nil
}

// upload sends a file as curl -T does.
func (s *site) upload(ctx context.Context, files string, u upload, status int) error {
	path := filepath.Join(files, filepath.Base(u.key))
	if err := os.WriteFile(path, u.raw, 0o600); err != nil {
		return err
	}
	a, err := s.call(ctx, "/buckets/camera/"+u.key, "-T", path)
	if err != nil {
		return err
	}
	return a.demand("PUT "+u.key, status, nil)
}

// row is what metadata keeps of a picture.
type row struct {
	Key, Camera, Type, Digest string
	Width, Height, Bytes      int
	Modified                  time.Time
}

func (s *site) list(ctx context.Context) (map[string]row, error) {
	a, err := s.call(ctx, "/pictures")
	if err != nil {
		return nil, err
	}
	if err := a.demand("GET /pictures", 200, nil); err != nil {
		return nil, err
	}
	var list []row
	if err := json.Unmarshal(a.body, &list); err != nil {
		return nil, fmt.Errorf("GET /pictures: %w in %v", err, a)
	}
	rows := map[string]row{}
	for _, r := range list {
		rows[r.Key] = r
	}
	return rows, nil
}

// rows compares all rows.
func (s *site) rows(ctx context.Context, want []upload) error {
	rows, err := s.list(ctx)
	if err != nil {
		return err
	}
	for _, u := range want {
		r, b := rows[u.key], u.picture.Bounds()
		if r.Width != b.Dx() || r.Height != b.Dy() || r.Bytes != len(u.raw) || r.Camera != filepath.Dir(u.key) || r.Digest == "" {
			return fmt.Errorf("the row of %s is %+v, want %d x %d in %d bytes", u.key, r, b.Dx(), b.Dy(), len(u.raw))
		}
	}
	if len(rows) != len(want) {
		return fmt.Errorf("there are rows of %d pictures, want %d: %v", len(rows), len(want), rows)
	}
	return nil
}

// processed waits until a picture has its row, its thumbnail and its mark.
func (s *site) processed(ctx context.Context, u upload) error {
	if u.picture == nil {
		return nil
	}
	var r row
	err := s.until(ctx, func() error {
		rows, err := s.list(ctx)
		if r = rows[u.key]; err == nil && (r.Width != u.picture.Bounds().Dx() || r.Bytes != len(u.raw)) {
			err = fmt.Errorf("the row of %s is %+v", u.key, r)
		}
		return err
	})
	if err == nil {
		err = s.until(ctx, func() error {
			small, err := s.picture(ctx, "thumbnails/"+u.key)
			if err != nil {
				return err
			}
			return isThumbnail(small, u.picture)
		})
	}
	if err == nil {
		err = s.until(ctx, func() error {
			marked, err := s.picture(ctx, "marked/"+u.key)
			if err != nil {
				return err
			}
			return isMarked(marked, u.picture, r.Modified.UTC().Format(time.DateTime))
		})
	}
	return err
}

// picture gets and decodes a picture that a function has made.
func (s *site) picture(ctx context.Context, key string) (image.Image, error) {
	a, err := s.call(ctx, "/buckets/pictures/"+key)
	if err == nil {
		err = a.demand("pictures/"+key, 200, nil)
	}
	if err != nil {
		return nil, err
	}
	p, format, err := image.Decode(bytes.NewReader(a.body))
	if err == nil && a.contentType != "image/"+format {
		err = fmt.Errorf("is said to be %s, and is %s", a.contentType, format)
	}
	if err != nil {
		return nil, fmt.Errorf("pictures/%s: %w", key, err)
	}
	return p, nil
}

// none demands that there is nothing of these pictures but what was uploaded.
func (s *site) none(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		for _, folder := range []string{"thumbnails/", "marked/"} {
			a, err := s.call(ctx, "/buckets/pictures/"+folder+key)
			if err == nil {
				err = a.demand("pictures/"+folder+key, 404, nil)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
