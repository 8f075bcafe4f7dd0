package server

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/enrol"
	"github.com/headgate-io/headgate/controller/label"
	"github.com/headgate-io/headgate/controller/store"
)

// GatewayPath names a gateway, by its name or its ID.
type GatewayPath struct {
	Gateway string `path:"gateway" maxLength:"64" doc:"Its name or its ID"`
}

func (s *Server) gateways() {
	read(s, op("list-gateways", http.MethodGet, "/v1/gateways", "List the gateways by name"), readGateways, s.listGateways)
	read(s, op("get-gateway", http.MethodGet, "/v1/gateways/{gateway}", "Show a gateway"), readGateways,
		func(ctx context.Context, tx *store.Tx, w *who, in *GatewayPath) (api.Gateway, error) {
			g, err := tx.GatewayOf(ctx, w.tenant(), in.Gateway)
			if err != nil {
				return api.Gateway{}, err
			}
			return withStatus(ctx, tx, apiGateway(g))
		})
	change(s, op("change-gateway", http.MethodPatch, "/v1/gateways/{gateway}", "Rename a gateway, or change its labels"), writeGateways, s.changeGateway)
	change(s, op("revoke-gateway", http.MethodPost, "/v1/gateways/{gateway}/revoke", "Keep a gateway out until it is replaced"), writeGateways,
		func(ctx context.Context, tx *store.Tx, w *who, in *GatewayPath) (api.Gateway, effect, error) {
			g, e, err := s.setGateway(ctx, tx, w, in.Gateway, "gateway.revoke", func(g *store.Gateway) error {
				if g.Revoked.IsZero() {
					g.Revoked = s.deps.Now().UTC().Truncate(time.Microsecond)
				}
				return nil
			})
			if err != nil {
				return g, e, err
			}
			w.then = func(context.Context) { s.deps.Gone(g.ID) }
			return g, e, tx.AddPutOut(ctx, g.ID, s.deps.Now())
		})
	remove(s, op("delete-gateway", http.MethodDelete, "/v1/gateways/{gateway}", "Delete a gateway with everything that is known of it"), writeGateways,
		func(ctx context.Context, tx *store.Tx, w *who, in *GatewayPath) (effect, error) {
			g, err := tx.GatewayOf(ctx, w.tenant(), in.Gateway)
			if err != nil {
				return effect{}, err
			}
			w.then = func(context.Context) { s.deps.Gone(g.ID) }
			if err := tx.AddPutOut(ctx, g.ID, s.deps.Now()); err != nil {
				return effect{}, err
			}
			return effect{"gateway.delete", "gateway/" + g.ID, apiGateway(g), nil}, tx.RemoveGateway(ctx, g.ID)
		})
}

// listGateways reads pages until enough gateways match the selector.
func (s *Server) listGateways(ctx context.Context, tx *store.Tx, w *who, in *struct {
	Paging
	Selector string `query:"selector" maxLength:"1024" doc:"As site=north,batch!=7,!retired"`
},
) (api.Page[api.Gateway], error) {
	out := api.Page[api.Gateway]{Items: []api.Gateway{}}
	p, err := in.page()
	if err != nil {
		return out, err
	}
	selector, err := label.Parse(in.Selector)
	if err != nil {
		return out, refusal(err.Error())
	}
	matching, after, err := matchGateways(ctx, tx, w.tenant(), in.Paging, p, func(g store.Gateway) bool { return selector.Match(g.Labels) })
	if err != nil {
		return out, err
	}
	out.Next = after
	statuses, err := statusesOf(ctx, tx, w.tenant(), matching)
	if err != nil {
		return out, err
	}
	for _, g := range matching {
		item := apiGateway(g)
		item.Status = statuses[g.ID]
		out.Items = append(out.Items, item)
	}
	return out, nil
}

// statusesOf is what gateways, which are in the order of their names, said last.
func statusesOf(ctx context.Context, tx *store.Tx, tenant string, list []store.Gateway) (map[string]*api.GatewayStatus, error) {
	if len(list) == 0 {
		return nil, nil
	}
	said, err := tx.StatusesBetween(ctx, tenant, list[0].Name, list[len(list)-1].Name)
	statuses := make(map[string]*api.GatewayStatus, len(said))
	for i := range said {
		statuses[said[i].Gateway] = apiStatus(&said[i])
	}
	return statuses, err
}

// withStatus adds what a gateway said last, if anything.
func withStatus(ctx context.Context, tx *store.Tx, out api.Gateway) (api.Gateway, error) {
	status, err := tx.Status(ctx, out.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return out, nil
	case err != nil:
		return out, err
	}
	out.Status = apiStatus(&status)
	return out, nil
}

var trusts = [...]string{"unknown", "estimated", "synchronised"}

func apiStatus(s *store.Status) *api.GatewayStatus {
	out := &api.GatewayStatus{Connected: s.Hello, Seen: s.Seen, ClockAhead: s.Skew / 1000, ClockTrust: trusts[0], FixedBinary: s.Fixed}
	if s.Trust > 0 && s.Trust < len(trusts) {
		out.ClockTrust = trusts[s.Trust]
	}
	if s.Health != "" && s.Health != "{}" {
		out.Health = raw(s.Health)
	}
	return out
}

func (s *Server) changeGateway(ctx context.Context, tx *store.Tx, w *who, in *struct {
	GatewayPath
	Body api.GatewayChange
},
) (api.Gateway, effect, error) {
	g, e, err := s.setGateway(ctx, tx, w, in.Gateway, "gateway.change", func(g *store.Gateway) error {
		if in.Body.Name != "" {
			if err := enrol.CheckName(in.Body.Name); err != nil {
				return err
			}
			g.Name = in.Body.Name
		}
		g.Labels = maps.Clone(g.Labels)
		for k, v := range in.Body.Labels {
			if v == nil {
				delete(g.Labels, k)
			} else {
				g.Labels[k] = *v
			}
		}
		return enrol.CheckLabels(g.Labels)
	})
	if err != nil {
		return g, e, err
	}
	if g, err = withStatus(ctx, tx, g); err != nil || len(in.Body.Labels) == 0 {
		return g, e, err
	}
	w.then = s.kick // other deployments and settings may choose it now
	return g, e, tx.TouchDesired(ctx, g.ID)
}

func (s *Server) setGateway(ctx context.Context, tx *store.Tx, w *who, name, action string, fn func(*store.Gateway) error) (api.Gateway, effect, error) {
	g, err := tx.GatewayOf(ctx, w.tenant(), name)
	if err != nil {
		return api.Gateway{}, effect{}, err
	}
	before := apiGateway(g)
	// A renewal meanwhile must not be undone.
	if err := tx.Lock(ctx, "gateway", g.ID); err != nil {
		return api.Gateway{}, effect{}, err
	}
	if g, err = tx.Gateway(ctx, g.ID); err != nil {
		return api.Gateway{}, effect{}, err
	}
	if err := fn(&g); err != nil {
		return api.Gateway{}, effect{}, err
	}
	return apiGateway(g), effect{action, "gateway/" + g.ID, before, apiGateway(g)}, tx.SetGateway(ctx, g)
}

func apiGateway(g store.Gateway) api.Gateway {
	return api.Gateway{
		ID: g.ID, Name: g.Name, Labels: g.Labels, Hardware: g.Hardware, Arch: g.Arch, Version: g.Version, EnrolmentToken: g.Token,
		Enrolled: g.Enrolled, Renewed: g.Renewed, CertificateExpires: g.Expires, Revoked: g.Revoked,
	}
}

// EnrolmentTokenPath names an enrolment token.
type EnrolmentTokenPath struct {
	Token string `path:"token" maxLength:"64"`
}

func (s *Server) enrolmentTokens() {
	read(s, op("list-enrolment-tokens", http.MethodGet, "/v1/enrolment-tokens", "List the enrolment tokens"), readEnrolment,
		func(ctx context.Context, tx *store.Tx, w *who, in *Paging) (api.Page[api.EnrolmentToken], error) {
			return listed(*in, func(p store.Page) ([]store.EnrolmentToken, error) {
				return tx.EnrolmentTokens(ctx, w.tenant(), p)
			}, func(t store.EnrolmentToken) string { return t.ID }, shown(apiEnrolmentToken))
		})
	create := op("create-enrolment-token", http.MethodPost, "/v1/enrolment-tokens", "Make an enrolment token; it is shown this once")
	create.DefaultStatus = http.StatusCreated
	change(s, create, writeEnrolment,
		func(ctx context.Context, tx *store.Tx, w *who, in *struct{ Body api.NewEnrolmentToken }) (api.EnrolmentSecret, effect, error) {
			n := enrol.NewToken{Uses: in.Body.Uses, Life: seconds(in.Body.Seconds), Labels: in.Body.Labels, Replace: in.Body.Replace, By: w.Account.Name}
			t, secret, err := s.deps.Enrol.Token(ctx, tx, w.tenant(), n)
			out := api.EnrolmentSecret{EnrolmentToken: apiEnrolmentToken(t), Token: secret}
			return out, effect{"enrolment-token.create", "enrolment-token/" + t.ID, nil, out.EnrolmentToken}, err
		})
	read(s, op("get-enrolment-token", http.MethodGet, "/v1/enrolment-tokens/{token}", "Show an enrolment token"), readEnrolment,
		func(ctx context.Context, tx *store.Tx, w *who, in *EnrolmentTokenPath) (api.EnrolmentToken, error) {
			t, err := tx.EnrolmentTokenOf(ctx, w.tenant(), in.Token)
			return apiEnrolmentToken(t), err
		})
	remove(s, op("revoke-enrolment-token", http.MethodDelete, "/v1/enrolment-tokens/{token}", "Revoke an enrolment token; its gateways stay"), writeEnrolment,
		func(ctx context.Context, tx *store.Tx, w *who, in *EnrolmentTokenPath) (effect, error) {
			t, err := tx.EnrolmentTokenOf(ctx, w.tenant(), in.Token)
			if err != nil {
				return effect{}, err
			}
			return effect{"enrolment-token.revoke", "enrolment-token/" + t.ID, apiEnrolmentToken(t), nil},
				tx.RevokeEnrolmentToken(ctx, w.tenant(), t.ID, s.deps.Now())
		})
}

// seconds is a lifetime; one that does not fit is longer than any that is
// allowed.
func seconds(n int64) time.Duration {
	return time.Duration(min(n, 1<<32)) * time.Second
}

func apiEnrolmentToken(t store.EnrolmentToken) api.EnrolmentToken {
	labels := t.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	return api.EnrolmentToken{
		ID: t.ID, Uses: t.Uses, Used: t.Used, Labels: labels, Replaces: t.Replaces, Created: t.Created.UTC(), CreatedBy: t.CreatedBy,
		Expires: t.Expires.UTC(), Revoked: t.Revoked,
	}
}
