package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/content"
	"github.com/headgate-io/headgate/controller/store"
)

// The bounds of uploads: how many at once, and of one tenant, how long one may
// send nothing, how many bytes it sends in a second at least, and how much
// metadata one change has, in base64.
const (
	maxUploading  = 8
	maxOfTenant   = 3
	uploadStall   = time.Minute
	uploadSlowest = 1 << 10
	maxRepository = 8 << 20
)

// places are those of uploads under way.
type places struct {
	mu       sync.Mutex
	all      int
	ofTenant map[string]int
}

func (p *places) enter(tenant string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all >= maxUploading || p.ofTenant[tenant] >= maxOfTenant {
		return false
	}
	p.all++
	p.ofTenant[tenant]++
	return true
}

func (p *places) leave(tenant string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	if p.ofTenant[tenant]--; p.ofTenant[tenant] == 0 {
		delete(p.ofTenant, tenant)
	}
}

// repository is what owners change of the tenant's repository of signed updates.
// The controller verifies it, and can sign none of it.
func (s *Server) repository() {
	read(s, op("get-repository", http.MethodGet, "/v1/repository", "Show the metadata of the repository of signed updates"), readContent, s.getRepository)
	key := op("make-online-key", http.MethodPost, "/v1/repository/online-key", "Make the key with which the controller says how new the repository is")
	change(s, key, initContent, s.makeOnlineKey)
	commit := op("change-repository", http.MethodPost, "/v1/repository/commit", "Stage metadata that owners have signed, and publish what has all of its signatures")
	commit.MaxBodyBytes = maxRepository
	change(s, commit, writeContent, s.changeRepository)
	remove(s, op("discard-staged", http.MethodDelete, "/v1/repository/staged", "Throw away what waits for signatures"), writeContent,
		func(_ context.Context, _ *store.Tx, w *who, _ *struct{}) (effect, error) {
			return effect{action: "repository.discard", object: "repository"}, s.deps.Content.Discard(w.tenant())
		})
	s.uploads()
}

func (s *Server) getRepository(_ context.Context, _ *store.Tx, w *who, in *struct {
	After int64 `query:"after" minimum:"0" default:"0" doc:"Have the roots after this version too"`
},
) (api.Repository, error) {
	v, err := s.deps.Content.View(w.tenant(), in.After)
	return api.Repository{
		State: v.State(), Root: v.Root, Timestamp: v.Timestamp, Snapshot: v.Snapshot, Targets: v.Targets,
		StagedRoot: v.StagedRoot, StagedTargets: v.StagedTargets, Roots: v.Roots,
	}, err
}

func (s *Server) makeOnlineKey(_ context.Context, _ *store.Tx, w *who, _ *struct{}) (api.OnlineKey, effect, error) {
	public, err := s.deps.Content.OnlineKey(w.tenant())
	out := api.OnlineKey{Public: public}
	return out, effect{"repository.online-key", "repository", nil, out}, err
}

func (s *Server) changeRepository(_ context.Context, _ *store.Tx, w *who, in *struct{ Body api.RepositoryChange }) (api.RepositoryChanged, effect, error) {
	c := content.Change{Base: in.Body.Base, Root: in.Body.Root, Targets: in.Body.Targets, Init: within(initContent, w.scopes)}
	got, err := s.deps.Content.Take(w.tenant(), c)
	out := api.RepositoryChanged{Published: got.Published, Root: got.Root, Targets: got.Targets, Waiting: []api.WaitingMetadata{}}
	for _, x := range got.Waiting {
		out.Waiting = append(out.Waiting, api.WaitingMetadata{Role: string(x.Role), Version: x.Version, Signed: x.Signed, Missing: x.Missing})
	}
	action := "repository.stage"
	if out.Published {
		action = "repository.publish"
	}
	return out, effect{action, "repository", nil, out}, err
}

// uploads take the content of targets, which is too long for a body that is
// held in memory.
func (s *Server) uploads() {
	o := op("upload-target", http.MethodPut, "/v1/repository/targets/{sha256}", "Upload the content of a target, before the metadata that names it")
	o.MaxBodyBytes = 0
	o.Description = "Needs the scope " + string(writeContent) + ". What is there already is not read."
	o.Parameters = []*huma.Param{{Name: "sha256", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}, Description: "The SHA-256 of the content, in hex"}}
	o.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/octet-stream": {}}}
	o.Responses = map[string]*huma.Response{"204": {Description: "It is there, whole"}}
	o.Security = []map[string][]string{{"bearer": {}}}
	s.api.OpenAPI().AddOperation(&o)
	at := &places{ofTenant: map[string]int{}}
	s.mux.HandleFunc("PUT /v1/repository/targets/{sha256}", func(w http.ResponseWriter, r *http.Request) {
		who, err := s.bearer(r.Context(), r.Header.Get("Authorization"), r.RemoteAddr)
		switch {
		case errors.Is(err, errToken):
			w.Header().Set("WWW-Authenticate", "Bearer")
			problem(w, http.StatusUnauthorized, errToken.Error())
			return
		case err != nil:
			problemOf(w, s.problem(err))
			return
		case !within(writeContent, who.scopes):
			problem(w, http.StatusForbidden, lacks(writeContent))
			return
		}
		if !at.enter(who.tenant()) {
			w.Header().Set("Retry-After", "5")
			problem(w, http.StatusServiceUnavailable, "enough is being uploaded at once: try again in a moment")
			return
		}
		defer at.leave(who.tenant())
		body := &patient{Reader: r.Body, control: http.NewResponseController(w), now: s.deps.Now, began: s.deps.Now()}
		if err := s.deps.Content.Upload(who.tenant(), r.PathValue("sha256"), body); err != nil {
			problemOf(w, s.problem(err))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// patient is a body that may take as long as it moves.
type patient struct {
	io.Reader
	control *http.ResponseController
	now     func() time.Time
	began   time.Time
	n       int64
}

// errSlow is an upload that takes a place from others for nothing.
var errSlow = huma.NewError(http.StatusRequestTimeout, fmt.Sprintf("an upload has %d bytes a second at least: send it again over a faster link", uploadSlowest))

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	if err := p.control.SetReadDeadline(p.now().Add(uploadStall)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	if took := p.now().Sub(p.began); took > uploadStall && float64(p.n) < uploadSlowest*took.Seconds() {
		return 0, errSlow
	}
	n, err := p.Reader.Read(b)
	p.n += int64(n)
	return n, err
}

func problemOf(w http.ResponseWriter, err error) {
	var status huma.StatusError
	if errors.As(err, &status) {
		problem(w, status.GetStatus(), status.Error())
	}
}
