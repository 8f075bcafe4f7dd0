package content_test

import (
	"crypto/ed25519"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/sync/ota"
	"github.com/headgate-io/headgate/sync/ota/repository"
)

// Who signs again what is published signs nothing else: a controller in a thief's
// hands may stage what it likes, for nobody has signed that yet.
func TestRecoverySignsNothingElse(t *testing.T) {
	r := newRig(t)
	r.begin()
	add := func(repo *repository.Repository) {
		_, err := repo.Add(strings.NewReader("evil"), ota.Release{Kind: ota.Function, Function: "evil", Digest: strings.Repeat("e", 64), Aliases: []string{ota.Live}})
		r.must(err)
	}
	const seen = 7
	staged := map[string]struct {
		stage func(*repository.Repository)
		edit  func(signed map[string]any)
		fine  bool
	}{
		"nothing":         {fine: true},
		"another version": {stage: add},
		"one that leads":  {stage: add, edit: func(m map[string]any) { m["version"] = seen + 1 }},
		"a key": {stage: func(repo *repository.Repository) {
			r.must(repo.ChangeKeys(repository.Change{Role: repository.Targets, Add: []ed25519.PublicKey{publicOf(seeded(66))}}))
		}},
		"the same, as another holder has it": {stage: func(repo *repository.Repository) { r.must(repo.Lead(seen)) }, fine: true},
		"the same, too early":                {stage: func(repo *repository.Repository) { r.must(repo.Lead(seen)) }, edit: func(m map[string]any) { m["version"] = seen }},
		"the same, after which nothing can come": {
			stage: func(repo *repository.Repository) { r.must(repo.Lead(seen)) }, edit: func(m map[string]any) { m["version"] = int64(math.MaxInt32) },
		},
		"the same, for ever": {
			stage: func(repo *repository.Repository) { r.must(repo.Lead(seen)) },
			edit:  func(m map[string]any) { m["expires"] = time.Now().AddDate(100, 0, 0).UTC().Format(time.RFC3339) },
		},
	}
	for name, c := range staged {
		thiefs, _ := r.download()
		if c.stage != nil {
			c.stage(thiefs)
		}
		files, err := thiefs.Files()
		r.must(err)
		if c.edit != nil {
			files.StagedTargets = edited(t, files.StagedTargets, func(m map[string]any) { c.edit(m["signed"].(map[string]any)) })
		}
		dir := t.TempDir()
		r.must(files.Write(dir))
		repo, err := repository.Open(dir, r.clock)
		r.must(err)
		switch err := repo.Lead(seen); {
		case c.fine && err != nil, !c.fine && !errors.Is(err, repository.ErrWaiting):
			t.Errorf("%s: %v", name, err)
		case !c.fine:
		default:
			got, err := repo.Published(true)
			if w := repo.Waiting(); err != nil || len(got) != 0 || len(w) != 1 || w[0].Version <= seen {
				t.Errorf("%s: %v, %v, %v", name, got, w, err)
			}
		}
	}
}
