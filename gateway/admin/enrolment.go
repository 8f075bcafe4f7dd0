package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

// Enrolment is the gateway's membership of a controller's fleet.
type Enrolment interface {
	Enrol(ctx context.Context, in api.Enrol) (api.Enrolment, error)
	Enrolment() api.Enrolment
	// Send sends what was metered, without waiting for its time.
	Send()
}

func (s *Server) enrolment(a huma.API) {
	huma.Register(a, op("get-enrolment", http.MethodGet, "/v1/enrolment", "Show the controller that the gateway belongs to, and the uplink"),
		func(context.Context, *struct{}) (*body[api.Enrolment], error) {
			return answer(s.deps.Enrolment.Enrolment(), nil)
		})
	huma.Register(a, op("enrol", http.MethodPost, "/v1/enrolment", "Enrol the gateway at a controller"),
		func(ctx context.Context, in *struct{ Body api.Enrol }) (*body[api.Enrolment], error) {
			return answer(s.deps.Enrolment.Enrol(ctx, in.Body))
		})
	huma.Register(a, op("send-usage", http.MethodPost, "/v1/enrolment/send", "Send what was metered now"),
		func(context.Context, *struct{}) (*struct{}, error) {
			s.deps.Enrolment.Send()
			return nil, nil
		})
}
