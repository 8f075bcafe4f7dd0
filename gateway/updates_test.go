package gateway_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/sync/bundle"
	"github.com/headgate-io/headgate/sync/ota"
	"github.com/headgate-io/headgate/sync/ota/repository"
)

// owner is the owner of a fleet, with a repository on this disk.
type owner struct {
	testing.TB
	dir                   string
	root, targets, online ed25519.PrivateKey
}

func newOwner(tb testing.TB) *owner {
	tb.Helper()
	key := func(n byte) ed25519.PrivateKey {
		return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
	}
	o := &owner{TB: tb, dir: filepath.Join(tb.TempDir(), "repository"), root: key(11), targets: key(12), online: key(13)}
	public := func(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }
	r, err := repository.Create(o.dir, time.Now, repository.Plan{
		Root: []ed25519.PublicKey{public(o.root)}, Targets: []ed25519.PublicKey{public(o.targets)}, Online: public(o.online),
		RootThreshold: 1, TargetsThreshold: 1,
	})
	o.must(err)
	o.commit(r)
	return o
}

func (o *owner) must(err error) {
	o.Helper()
	if err != nil {
		o.Fatal(err)
	}
}

func (o *owner) commit(r *repository.Repository) {
	o.Helper()
	_, err := r.Sign(o.root, o.targets)
	o.must(err)
	o.must(r.Commit(o.online))
}

func (o *owner) open() *repository.Repository {
	o.Helper()
	r, err := repository.Open(o.dir, time.Now)
	o.must(err)
	return r
}

// publish signs a version of the function count, which writes what source says
// for each message on in/+.
func (o *owner) publish(source string, change ...func(*function.Spec)) ota.Target {
	o.Helper()
	return o.release([]string{ota.Live}, source, change...)
}

// release signs a version of the function count for some aliases.
func (o *owner) release(aliases []string, source string, change ...func(*function.Spec)) ota.Target {
	o.Helper()
	spec := function.Spec{Name: "count", Main: "count.js", Triggers: []function.Trigger{{MQTT: "in/+"}}}
	for _, c := range change {
		c(&spec)
	}
	spec.Limits, spec.Retry = spec.Limits.WithDefaults(), spec.Retry.WithDefaults()
	files := map[string][]byte{spec.Main: []byte(source)}
	raw, err := bundle.Pack(spec, files, authorKey)
	o.must(err)
	digest, err := bundle.Digest(spec, files)
	o.must(err)
	r := o.open()
	t, err := r.Add(bytes.NewReader(raw), ota.Release{Kind: ota.Function, Function: spec.Name, Digest: digest, Aliases: aliases})
	o.must(err)
	o.commit(r)
	return t
}

// pinned has a gateway take its updates from the owner.
func (o *owner) pinned(change ...func(*config.Updates)) func(*config.Config) {
	return func(c *config.Config) {
		c.Updates.URL, c.Updates.Root = "file://"+o.dir, filepath.Join(o.dir, "metadata/root.json")
		c.Updates.Reserve = 0
		c.Updates.Canary = config.Canary{Percent: 50, For: function.Duration(200 * time.Millisecond), Sample: 4, Within: function.Duration(time.Minute)}
		for _, f := range change {
			f(&c.Updates)
		}
	}
}

func (r *rig) updates() api.Updates {
	r.Helper()
	var u api.Updates
	r.call(http.MethodGet, "/v1/updates", nil, &u)
	return u
}

// untilStage publishes messages until the function's update of a target is at a
// stage.
func (r *rig) untilStage(t ota.Target, stage string) api.Update {
	r.Helper()
	r.call(http.MethodPost, "/v1/updates", nil, nil)
	var last api.Updates
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		last = r.updates()
		for _, u := range last.Functions {
			if u.Target == t.Name && u.Stage == stage {
				return u
			}
		}
		r.publish(api.Message{Topic: "in/x", Payload: []byte("1")})
	}
	r.Fatalf("the update of %s is not %s: %+v", t.Name, stage, last)
	return api.Update{}
}

// says is a function's source that keeps a word.
func says(word string) string {
	return fmt.Sprintf(`export default (event, {state}) => { state.set("word", %q); };`, word)
}

// word sends messages until what the function keeps is as wanted.
func (r *rig) word(want string) {
	r.Helper()
	r.until("the word "+want, func() bool {
		r.publish(api.Message{Topic: "in/x", Payload: []byte("1")})
		return r.state("count", "word") == `"`+want+`"`
	})
}

const throws = `export default () => { throw new Error("bad"); };`

// TestUpdates takes a function from its first version to a bad third one, which
// takes itself back, through a restart.
func TestUpdates(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	o, dir := newOwner(t), t.TempDir()
	first := o.publish(says("one"))
	r := start(t, dir, o.pinned())
	r.untilStage(first, "live")
	r.word("one")

	second := o.publish(says("two"))
	u := r.untilStage(second, "live")
	r.word("two")
	if u.From != 1 || u.Version != 2 {
		t.Errorf("it went from version %d to %d", u.From, u.Version)
	}
	var stages []string
	for _, s := range u.Steps {
		stages = append(stages, s.Stage)
	}
	if got := strings.Join(stages, ", "); got != "fetching, trial, canary, live, watched, live" {
		t.Errorf("its steps: %s", got)
	}

	third := o.publish(throws)
	u = r.untilStage(third, "rolled back")
	if last := u.Steps[len(u.Steps)-1].Note; !strings.Contains(last, "events failed") {
		t.Errorf("why: %s", last)
	}
	var f api.FunctionDetail
	r.until("the version before to have all of the traffic", func() bool {
		r.call(http.MethodGet, "/v1/functions/count", nil, &f)
		return f.Version == 2 && len(f.Aliases) == 1 && f.Aliases[0].Split == 0
	})
	// It is not tried again, by a restart neither.
	r.stop()
	r = start(t, dir, o.pinned())
	r.until("the repository to be asked", func() bool { return !r.updates().Checked.IsZero() })
	r.untilStage(third, "rolled back")
	r.call(http.MethodGet, "/v1/functions/count", nil, &f)
	if f.Version != 2 || len(f.Versions) != 3 {
		t.Errorf("version %d of %d is live", f.Version, len(f.Versions))
	}
	// The owner says so too, and what comes next goes through.
	fourth := o.publish(says("four"))
	r.untilStage(fourth, "live")
	r.word("four")
}

// TestUpdateIsWatchedWhenLive has a version go wrong that had no canary.
func TestUpdateIsWatchedWhenLive(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	o := newOwner(t)
	first := o.publish(says("one"))
	r := start(t, t.TempDir(), o.pinned(func(u *config.Updates) { u.Canary.Percent = 0 }))
	r.untilStage(first, "live")
	bad := o.publish(throws)
	u := r.untilStage(bad, "rolled back")
	if u.From != 1 {
		t.Errorf("back to version %d", u.From)
	}
	r.until("version 1 to be live", func() bool {
		var f api.FunctionDetail
		r.call(http.MethodGet, "/v1/functions/count", nil, &f)
		return f.Version == 1
	})
	// Somebody has another look at it.
	r.call(http.MethodPost, "/v1/updates/count/retry", nil, nil)
	r.until("it to be tried again", func() bool {
		all := r.updates().Functions
		return len(all) == 1 && all[0].Stage != "rolled back"
	})
	r.untilStage(bad, "rolled back")
}

// TestUpdateIsTriedOnRecordedEvents has code that fails on what happened before
// refused without any traffic.
func TestUpdateIsTriedOnRecordedEvents(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	o := newOwner(t)
	first := o.publish(says("one"))
	r := start(t, t.TempDir(), o.pinned())
	r.untilStage(first, "live")
	r.call(http.MethodPut, "/v1/functions/count/recording", api.RecordOrder{Count: 2}, nil)
	r.until("two events to be recorded", func() bool {
		r.publish(api.Message{Topic: "in/x", Payload: []byte("1")})
		var all []api.Recording
		r.call(http.MethodGet, "/v1/recordings", nil, &all)
		return len(all) == 2
	})
	bad := o.publish(throws)
	u := r.untilStage(bad, "refused")
	if last := u.Steps[len(u.Steps)-1].Note; !strings.Contains(last, "recorded events that ended well do not any more") || u.Version != 0 {
		t.Errorf("version %d, why: %s", u.Version, last)
	}
	good := o.publish(says("two"))
	u = r.untilStage(good, "live")
	tried := slices.ContainsFunc(u.Steps, func(s api.UpdateStep) bool {
		return s.Stage == "trial" && strings.Contains(s.Note, "2 recorded events")
	})
	if before := u.Steps[0]; !tried || before.Stage != "refused" || !strings.HasPrefix(before.Note, bad.Name+": ") {
		t.Errorf("its steps: %+v", u.Steps)
	}
}

// TestNewPermissionsWait shows what a version may do that the one before might
// not, and waits for a person.
func TestNewPermissionsWait(t *testing.T) {
	o := newOwner(t)
	first := o.publish(says("one"))
	r := start(t, t.TempDir(), o.pinned(func(u *config.Updates) { u.AskPermissions = true }))
	r.untilStage(first, "live")
	more := o.publish(says("two"), func(s *function.Spec) {
		s.Permissions.Publish = []string{"alarm/#"}
		s.Secrets = []string{"key"}
	})
	u := r.untilStage(more, "waits for allow")
	if got := strings.Join(u.NewPermissions, ", "); got != "publish alarm/#, secret key" {
		t.Errorf("new permissions: %s", got)
	}
	r.call(http.MethodPost, "/v1/updates", nil, nil)
	r.word("one")
	if text := r.refused(http.MethodPost, "/v1/updates/other/allow", nil); !strings.Contains(text, "no update of other waits") {
		t.Errorf("another: %s", text)
	}
	r.call(http.MethodPost, "/v1/updates/count/allow", nil, nil)
	r.untilStage(more, "live")
	r.word("two")
}

// TestDirectDeploysAreRefused has only the owner's signature count once a root
// is pinned, on this disk too when no repository is asked any more.
func TestDirectDeploysAreRefused(t *testing.T) {
	o, dir := newOwner(t), t.TempDir()
	first := o.publish(says("one"))
	r := start(t, dir, o.pinned())
	r.untilStage(first, "live")
	spec := function.Spec{Name: "mine", Main: "mine.js"}
	if err := r.tryDeploy(spec, says("mine")); err == nil || !strings.Contains(err.Error(), "what its owner signed") {
		t.Errorf("a direct deploy: %v", err)
	}
	r.stop()
	r = start(t, dir)
	if err := r.tryDeploy(spec, says("mine")); err == nil || !strings.Contains(err.Error(), "what its owner signed") {
		t.Errorf("without the repository: %v", err)
	}
	if u := r.updates(); !u.Pinned || u.Direct {
		t.Errorf("status %+v", u)
	}
	r.stop()
	r = start(t, dir, func(c *config.Config) { c.Updates.AllowDirect = true })
	if err := r.tryDeploy(spec, says("mine")); err != nil {
		t.Errorf("with allow_direct: %v", err)
	}
}

// TestTamperedRepositoryRunsNothing has whoever holds the server and the online
// key change what they can.
func TestTamperedRepositoryRunsNothing(t *testing.T) {
	o := newOwner(t)
	first := o.publish(says("one"))
	r := start(t, t.TempDir(), o.pinned())
	r.untilStage(first, "live")
	honest := o.targets
	o.targets = o.online // the only key that they have
	repo := o.open()
	_, err := repo.Add(strings.NewReader("evil"), ota.Release{Kind: ota.Function, Function: "count", Digest: strings.Repeat("0", 64), Aliases: []string{ota.Live}})
	o.must(err)
	if _, err := repo.Sign(o.targets); err != nil {
		t.Fatal(err)
	}
	if err := repo.Commit(o.online); err == nil {
		t.Error("targets were published without their key")
	}
	// Behind the repository's back, with every file in the place of another.
	for _, name := range []string{"timestamp.json", "2.targets.json", "2.snapshot.json"} {
		file := filepath.Join(o.dir, "metadata", name)
		kept, err := os.ReadFile(file)
		o.must(err)
		o.must(os.WriteFile(file, bytes.ReplaceAll(kept, []byte("count"), []byte("evil!")), 0o600))
		r.call(http.MethodPost, "/v1/updates", nil, nil)
		r.publish(api.Message{Topic: "in/x", Payload: []byte("1")})
		r.word("one")
		o.must(os.WriteFile(file, kept, 0o600))
	}
	o.targets = honest
	o.must(os.RemoveAll(filepath.Join(o.dir, "staged")))
	o.must(os.Mkdir(filepath.Join(o.dir, "staged"), 0o700))
	second := o.publish(says("two"))
	r.untilStage(second, "live")
	r.word("two")
}

// TestTargetThatIsNotWhatItSays is signed, and another function's bundle, or
// none.
func TestTargetThatIsNotWhatItSays(t *testing.T) {
	o := newOwner(t)
	first := o.publish(says("one"))
	r := start(t, t.TempDir(), o.pinned())
	r.untilStage(first, "live")
	repo := o.open()
	wrong, err := repo.Add(strings.NewReader("no bundle"), ota.Release{Kind: ota.Function, Function: "count", Digest: strings.Repeat("1", 64), Aliases: []string{ota.Live}})
	o.must(err)
	o.commit(repo)
	u := r.untilStage(wrong, "refused")
	if last := u.Steps[len(u.Steps)-1].Note; !strings.Contains(last, "not what was signed") {
		t.Errorf("why: %s", last)
	}
	// One that does not compile changes nothing either.
	broken := o.publish("export default () => {")
	r.untilStage(broken, "refused")
	r.word("one")
}

// TestOtherAliases points an alias without traffic to what is signed for it.
func TestOtherAliases(t *testing.T) {
	o := newOwner(t)
	first := o.publish(says("one"))
	r := start(t, t.TempDir(), o.pinned())
	r.untilStage(first, "live")
	second := o.publish(says("two"))
	repo := o.open()
	o.must(repo.Point(second.Name, "next"))
	o.must(repo.Point(first.Name, ota.Live))
	o.commit(repo)
	r.untilStage(first, "live")
	r.until("the alias to be there", func() bool {
		r.call(http.MethodPost, "/v1/updates", nil, nil)
		var f api.FunctionDetail
		r.call(http.MethodGet, "/v1/functions/count", nil, &f)
		for _, a := range f.Aliases {
			if a.Name == "next" && a.Version != f.Version {
				return true
			}
		}
		return false
	})
	if err := r.client.Do(context.Background(), http.MethodPost, "/v1/functions/count/invoke", api.Invoke{Qualifier: "next"}, nil); err != nil {
		t.Fatal(err)
	}
	r.eventually("count", "word", `"two"`)
}
