package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

// Actuators shows what the gateway moves, and moves it for an operator.
type Actuators interface {
	Actuators() []api.Actuator
	// Actuate returns when the actuator is what was asked for.
	Actuate(ctx context.Context, who, name string, c api.ActuatorCommand) (api.ActuatorGrant, error)
	// Records are the newest entries of the safety ledger, at most n, the newest
	// last; of one actuator, or of all where name is empty.
	Records(name string, n int) ([]api.ActuatorRecord, error)
}

// ActuatorName is the name of an actuator in a path.
type ActuatorName struct {
	Name string `path:"name" maxLength:"64"`
}

func (s *Server) actuators(a huma.API) {
	huma.Register(a, op("list-actuators", http.MethodGet, "/v1/actuators", "List the actuators and what they are"),
		func(context.Context, *struct{}) (*body[[]api.Actuator], error) {
			return answer(s.deps.Actuators.Actuators(), nil)
		})
	huma.Register(a, op("switch-actuator", http.MethodPost, "/v1/actuators/{name}", "Switch an actuator on for a time, or off"),
		func(ctx context.Context, in *struct {
			ActuatorName
			Body api.ActuatorCommand
		},
		) (*body[api.ActuatorGrant], error) {
			return answer(s.deps.Actuators.Actuate(ctx, "operator", in.Name, in.Body))
		})
	huma.Register(a, op("list-actuator-records", http.MethodGet, "/v1/actuator-records", "List the newest entries of the safety ledger"),
		func(_ context.Context, in *struct {
			Actuator string `query:"actuator" maxLength:"64"`
			Limit    int    `query:"limit" default:"50" minimum:"1" maximum:"4096"`
		},
		) (*body[[]api.ActuatorRecord], error) {
			return answer(s.deps.Actuators.Records(in.Actuator, in.Limit))
		})
}
